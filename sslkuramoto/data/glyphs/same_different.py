"""Same or different: do two pictures show the same icon, at whatever size and place?

The task of the poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz,
Altabaa and Lafferty); numbers of pairs as in ESBN (Webb et al. 2021, arXiv 2012.14601). Shapes: n examples, m icons.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.data.glyphs.bitmaps import Family
from sslkuramoto.data.glyphs.glyph_set import LARGEST, GlyphSet, Look, Number, Side
from sslkuramoto.examples import Images, Pairs
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.values import Count, Place, Share, ShareAboveZero, Whole, checked, small

LEAST = 2
"""Icons that a pair of different ones needs."""


@small(pairs=24, pairs_test=20, size=16)
@checked
class SameDifferent(GlyphSet):
    """Pairs of pictures of glyphs: 0 if both show the same icon, 1 if not; half of them are the same.

    The test split shows icons that training never showed, val those of training in other sizes and places.

    Args:
        split: "train", "val" or "test".
        glyphs: "font" (100 characters of DejaVu Sans, or of ``font``) or "strokes" (100 made of strokes on a lattice).
        font: font file to be used in place of DejaVu Sans (null: the bitmaps that the package brings).
        characters: characters to be taken from ``font`` (null: the same as of DejaVu Sans).
        size: side of the pictures in pixels.
        train_icons: m, number of icons that training shows; the poster has 95, 50 and 15.
        icon_split: seed of which icons these are; a larger m adds icons.
        pairs: number of training pairs (null: each ordered pair of different icons once and as many same ones, m = 15:
            420, m = 50: 4,900, at most 10,000).
        pairs_test: number of pairs in the val split and in the test split (null: as ``pairs``, for its icons).
        scale: smallest and largest longer side of a glyph, as shares of the side of the picture; whole pixels.
        jitter: share of the free room in which a glyph is placed: 0 is the centre, 1 anywhere.
        pair_seed: seed of the pairs, sizes and places.

    Raises:
        UserError: an option is out of range, a split has fewer than two icons, or the font is not readable or lacks a
            character.
    """

    classes = ("same", "different")

    def __init__(
        self,
        split: str,
        *,
        glyphs: Family = "font",
        font: Place | None = None,
        characters: str | None = None,
        size: Side = 32,
        train_icons: Count = 95,
        icon_split: Whole = 0,
        pairs: Number | None = None,
        pairs_test: Number | None = None,
        scale: tuple[ShareAboveZero, ShareAboveZero] = (0.5, 0.9),
        jitter: Share = 1.0,
        pair_seed: Whole = 0,
    ) -> None:
        options = {key: value for key, value in options_of(locals()).items() if key in Look.__dataclass_fields__}
        look = Look(**options)
        look.check("same-different", LEAST)
        own = look.icons(split)
        stated = pairs if split == "train" else pairs_test
        count = min(2 * len(own) * (len(own) - 1), LARGEST) if stated is None else stated
        draw = generator("cpu", pair_seed, "same-different", split)
        icons = pairs_of(own, count, draw)
        super().__init__("same-different", split, look.pictures(icons, draw), icons, torch.arange(count) % 2)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Pairs:
        Look(**{key: options[key] for key in Look.__dataclass_fields__}).check("same-different", LEAST)
        return Pairs(Images(options["size"]), 2)


def pairs_of(icons: Int64[Tensor, " m"], count: int, draw: torch.Generator) -> Int64[Tensor, "n 2"]:
    """Return pairs that are the same and different in turn, no pair repeated before all others have come.

    Args:
        icons: to be paired.
        count: n.
        draw: of their order.
    """
    m = len(icons)
    same = _in_rounds(m, (count + 1) // 2, draw)
    different = _in_rounds(m * (m - 1), count // 2, draw)
    first, rest = different // (m - 1), different % (m - 1)
    places = torch.empty(count, 2, dtype=torch.int64)
    places[::2] = same[:, None]
    places[1::2] = torch.stack([first, rest + (rest >= first)], dim=1)
    return icons[places]


def _in_rounds(kinds: int, count: int, draw: torch.Generator) -> Int64[Tensor, " n"]:
    """Return ``count`` numbers below ``kinds``: all of them in random order, then in another one, and so on."""
    rounds = [torch.randperm(kinds, generator=draw) for _ in range(-(-count // kinds))]
    return torch.cat([*rounds, torch.empty(0, dtype=torch.int64)])[:count]
