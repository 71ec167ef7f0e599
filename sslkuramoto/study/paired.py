"""Do two rows differ on the same images? Exact McNemar tests, corrected for how many are made.

McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages"; Holm 1979,
"A simple sequentially rejective multiple test procedure". Images are the sampling unit: a small p says that these two
networks (or these two groups of seeds) would differ on other images of the same kind, not that other seeds would.

Shapes: n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from scipy.stats import binomtest

from sslkuramoto.study.table import SeedValue, StudyTable


@dataclass(frozen=True)
class McNemar:
    """An exact McNemar test.

    Attributes:
        b: images that the first row has right and the second wrong.
        c: the other way round.
        n: images compared.
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
        pooled: test over images after averaging each image's share of right draws over the common seeds, so that an
            image counts once however many seeds saw it; None without a common seed.
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
        correct_a, correct_b: share of draws that are right, one an image, the same images; >= 0.5 counts as right.
    """
    assert len(correct_a) == len(correct_b) > 0, (len(correct_a), len(correct_b))
    right = [(a >= 0.5, b >= 0.5) for a, b in zip(correct_a, correct_b, strict=True)]
    b, c = right.count((True, False)), right.count((False, True))
    p = float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    return McNemar(b, c, len(right), p)


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
    if any(_places(value) != _places(first[seeds[0]]) for seed in seeds for value in (first[seed], second[seed])):
        return Comparison(pair, column, reason="measured on different images")
    shares = [(first[seed].correct or [], second[seed].correct or []) for seed in seeds]
    per_seed = {seed: mcnemar(a, b) for seed, (a, b) in zip(seeds, shares, strict=True)}
    mean_a, mean_b = (
        [sum(image) / len(seeds) for image in zip(*rows, strict=True)] for rows in zip(*shares, strict=True)
    )
    return Comparison(pair, column, per_seed, mcnemar(mean_a, mean_b))


def _places(value: SeedValue) -> list[int]:
    return value.index or list(range(len(value.correct or [])))
