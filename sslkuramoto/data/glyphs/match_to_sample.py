"""Relational match-to-sample: which of two pairs has the relation, same or different, of a source pair?

The second task of the poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz,
Altabaa and Lafferty), as in ESBN (Webb et al. 2021, arXiv 2012.14601). Shapes: n examples, m icons.
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

LEAST = 5
"""Icons that an example with a source of two different ones needs."""


@small(pairs=24, pairs_test=20, size=16)
@checked
class MatchToSample(GlyphSet):
    """Six pictures of glyphs, a source pair and two target pairs: 0 if the first target has its relation, else 1.

    One target shows one icon twice, the other two different ones. No icon is in two of the pairs. Half of the sources
    are the same, and half of the right targets come first. The splits are those of same-different.

    Args:
        split: "train", "val" or "test".
        glyphs: "font" (100 characters of DejaVu Sans, or of ``font``) or "strokes" (100 made of strokes on a lattice).
        font: font file to be used in place of DejaVu Sans (null: the bitmaps that the package brings).
        characters: characters to be taken from ``font`` (null: the same as of DejaVu Sans).
        size: side of the pictures in pixels.
        train_icons: m, number of icons that training shows; the poster has 95, 50 and 15.
        icon_split: seed of which icons these are; a larger m adds icons.
        pairs: number of training examples (null: 4 m (m - 1)(m - 2)(m - 3), at most 10,000; m = 5: 480).
        pairs_test: number of examples in the val split and in the test split (null: as ``pairs``, for its icons).
        scale: smallest and largest longer side of a glyph, as shares of the side of the picture; whole pixels.
        jitter: share of the free room in which a glyph is placed: 0 is the centre, 1 anywhere.
        pair_seed: seed of the examples, sizes and places.

    Raises:
        UserError: an option is out of range, a split has fewer than five icons, or the font is not readable or lacks a
            character.
    """

    classes = ("first", "second")

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
        look.check("match-to-sample", LEAST)
        own = look.icons(split)
        stated = pairs if split == "train" else pairs_test
        m = len(own)
        count = min(4 * m * (m - 1) * (m - 2) * (m - 3), LARGEST) if stated is None else stated
        draw = generator("cpu", pair_seed, "match-to-sample", split)
        icons = trials_of(own, count, draw)
        super().__init__("match-to-sample", split, look.pictures(icons, draw), icons, torch.arange(count) % 2)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Pairs:
        Look(**{key: options[key] for key in Look.__dataclass_fields__}).check("match-to-sample", LEAST)
        return Pairs(Images(options["size"]), 6)


def trials_of(icons: Int64[Tensor, " m"], count: int, draw: torch.Generator) -> Int64[Tensor, "n 6"]:
    """Return examples of random icons: source, first target, second target.

    Example i has the right target first if i is even, and a source of two equal icons if i // 2 is even.

    Args:
        icons: five or more.
        count: n.
        draw: of the icons.
    """
    number = torch.arange(count)
    one, two, three, four, five = torch.rand(count, len(icons), generator=draw).argsort(dim=1)[:, :5].unbind(1)
    alike = number // 2 % 2 == 0
    source = torch.stack([one, torch.where(alike, one, two)], dim=1)
    same = torch.where(alike, two, five)[:, None].expand(-1, 2)
    different = torch.stack([three, four], dim=1)
    right = torch.where(alike[:, None], same, different)
    wrong = torch.where(alike[:, None], different, same)
    first_is_right = (number % 2 == 0)[:, None]
    first = torch.where(first_is_right, right, wrong)
    second = torch.where(first_is_right, wrong, right)
    return icons[torch.cat([source, first, second], dim=1)]
