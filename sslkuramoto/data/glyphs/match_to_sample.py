"""Relational match-to-sample: which of two pairs has the relation, same or different, of a source pair?

The second task of the poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz,
Altabaa and Lafferty), as in ESBN (Webb et al. 2021, arXiv 2012.14601). Shapes: n examples, m icons.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.data.glyphs.glyph_set import GlyphTask
from sslkuramoto.values import small


@small(pairs=24, pairs_test=20, size=16)
class MatchToSample(GlyphTask):
    """Six pictures of glyphs, a source pair and two target pairs: 0 if the first target has its relation, else 1.

    One target shows one icon twice, the other two different ones. No icon is in two of the pairs, so that a source of
    two different icons needs five. Half of the sources are the same, and half of the right targets come first. The
    splits are those of same-different.

    Args:
        pairs: number of training examples (null: 4 m (m - 1)(m - 2)(m - 3), at most 10,000; m = 5: 480).
        pairs_test: number of examples in the val split and in the test split (null: as ``pairs``, for its icons).
    """

    task = "match-to-sample"
    classes = ("first", "second")
    least = 5
    per_example = 6

    @classmethod
    def usual(cls, m: int) -> int:
        return 4 * m * (m - 1) * (m - 2) * (m - 3)

    @staticmethod
    def drawn(icons: Int64[Tensor, " m"], count: int, draw: torch.Generator) -> Int64[Tensor, "n 6"]:
        return trials_of(icons, count, draw)


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
