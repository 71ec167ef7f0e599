"""Same or different: do two pictures show the same icon, at whatever size and place?

The task of the poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz,
Altabaa and Lafferty); numbers of pairs as in ESBN (Webb et al. 2021, arXiv 2012.14601). Shapes: n examples, m icons.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.data.glyphs.glyph_set import GlyphTask
from sslkuramoto.values import small


@small(pairs=24, pairs_test=20, size=16)
class SameDifferent(GlyphTask):
    """Pairs of pictures of glyphs: 0 if both show the same icon, 1 if not; half of them are the same.

    The test split shows icons that training never showed, val those of training in other sizes and places.

    Args:
        pairs: number of training pairs (null: each ordered pair of different icons once and as many same ones, m = 15:
            420, m = 50: 4,900, at most 10,000).
        pairs_test: number of pairs in the val split and in the test split (null: as ``pairs``, for its icons).
    """

    task = "same-different"
    classes = ("same", "different")
    least = 2
    per_example = 2

    @classmethod
    def usual(cls, m: int) -> int:
        return 2 * m * (m - 1)

    @staticmethod
    def drawn(icons: Int64[Tensor, " m"], count: int, draw: torch.Generator) -> Int64[Tensor, "n 2"]:
        return pairs_of(icons, count, draw)


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
