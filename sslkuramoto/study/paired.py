"""Do two rows differ on the same images? Exact McNemar tests, corrected for how many are made.

McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages"; Holm 1979,
"A simple sequentially rejective multiple test procedure". Over several seeds: the b and c of Obuchowski 1998, "On the
comparison of correlated proportions for clustered data", an image being a cluster.

Images are the sampling unit: a small p says that these two networks (or these two groups of seeds) would differ on
other images of the same kind, not that other seeds would.

Shapes: n images.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import binom

from sslkuramoto.study.table import SeedValue, StudyTable


@dataclass(frozen=True)
class McNemar:
    """An exact McNemar test.

    Attributes:
        b: images that the first row has right (most draws) and the second wrong; times seeds where several are pooled.
        c: the other way round.
        n: images compared, times seeds.
        p: two-sided; 1 when the rows agree on every image.
    """

    b: int
    c: int
    n: int
    p: float

    @property
    def difference(self) -> float:
        """Share of images right in the first row minus that in the second."""
        return (self.b - self.c) / self.n


@dataclass(frozen=True)
class Comparison:
    """Two rows in one column.

    Attributes:
        rows, column: which.
        per_seed: seed -> test of the two networks of that seed; their p are not corrected.
        pooled: test over the images of all common seeds, those of one image kept together; None without such a seed.
        holm: p of ``pooled`` corrected over all comparisons of the study.
        reason: why there is no test, or None.
    """

    rows: tuple[str, str]
    column: str
    per_seed: dict[int, McNemar] = field(default_factory=dict)
    pooled: McNemar | None = None
    holm: float | None = None
    reason: str | None = None


def mcnemar(correct_a: Sequence[float], correct_b: Sequence[float]) -> McNemar:
    """Test whether two rows are right on equally many images.

    Args:
        correct_a, correct_b: share of draws that are right, one an image, the same images. An image is right when most
            draws are (> 0.5); one that half of the draws miss is wrong, as attacks count it broken.
    """
    return _tested([(correct_a, correct_b)])


def _tested(seeds: Sequence[tuple[Sequence[float], Sequence[float]]]) -> McNemar:
    """Test two rows on the images of one or more seeds.

    Each seed's image is right or wrong by itself. If the rows were alike, exchanging them at any image would be as
    likely: p is the share of all such exchanges with a b - c as large as the one seen. An image is exchanged at all
    seeds together, for those that are hard to one network are hard to the next: images and seeds as so many
    independent pairs would make p too small. With one seed this is McNemar's binomial test.

    Source: Obuchowski 1998.
    Differs: exact, where hers is a normal approximation.

    Args:
        seeds: shares of right draws of the first and of the second row, the same images in each.
    """
    assert len({len(shares) for pair in seeds for shares in pair}) == 1, "rows of unlike length"
    first, second = (np.asarray(rows, dtype=float) > 0.5 for rows in zip(*seeds, strict=True))
    more = (first.astype(int) - second.astype(int)).sum(axis=0)  # seeds by which the first row is ahead, an image
    chances = np.ones(1)  # of each sum of the images' steps that falls to the first row
    for step, count in Counter(abs(more[more != 0]).tolist()).items():
        spread = np.zeros(step * count + 1)
        spread[::step] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    differences = 2 * np.arange(len(chances)) - (len(chances) - 1)
    p = float(chances[abs(differences) >= abs(more.sum())].sum())
    return McNemar(int((first & ~second).sum()), int((second & ~first).sum()), first.size, min(1.0, p))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected by Holm's rule, in the same order."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected


def comparisons(table: StudyTable) -> list[Comparison]:
    """Return the tests that a study asks for: each pair of ``compare`` in each column with per-image results."""
    found = [
        _compared(table, pair, column.key)
        for pair in table.study.compare
        for column in table.study.columns.values()
        if column.per_image and set(pair) <= set(column.rows)
    ]
    tested = [item.pooled.p for item in found if item.pooled is not None]
    corrected = iter(holm(tested))
    return [item if item.pooled is None else replace(item, holm=next(corrected)) for item in found]


def _compared(table: StudyTable, pair: tuple[str, str], column: str) -> Comparison:
    first, second = ({value.seed: value for value in table.cells[row, column].values} for row in pair)
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return Comparison(pair, column, reason="no seed that both rows have")
    if any(_images(value) != _images(first[seeds[0]]) for seed in seeds for value in (first[seed], second[seed])):
        return Comparison(pair, column, reason="measured on different images")
    shares = [(first[seed].correct or [], second[seed].correct or []) for seed in seeds]
    per_seed = {seed: mcnemar(a, b) for seed, (a, b) in zip(seeds, shares, strict=True)}
    return Comparison(pair, column, per_seed, _tested(shares))


def _images(value: SeedValue) -> tuple[tuple[str | None, str | None], list[int]]:
    """Which images they are: data and split, places therein."""
    return value.data, value.index or list(range(len(value.correct or [])))
