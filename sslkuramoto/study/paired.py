"""Do two rows differ on the same images? The difference of their cells, tested by exchanging the rows at images.

Fisher 1935, "The design of experiments", section 21: the exchange of the members of pairs; where every share is 0 or 1
this is the exact test of McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
percentages". The p of several comparisons are corrected by Holm's rule. Over several seeds an image is a cluster:
Obuchowski 1998, "On the comparison of correlated proportions for clustered data".

Where each seed has images of its own, as data split by the seed give them, every image counts at its seed alone.

A result may say that images depend on each other (:meth:`~sslkuramoto.results.Result.groups`), as pairs of the same two
icons do: the images of a group are exchanged together.

Images are the sampling unit: a small p says that these two networks (or these two groups of seeds) would differ on
other images of the same kind, not that other seeds would.

Shapes: s seeds, n images.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from sslkuramoto.exchange import exchange_p
from sslkuramoto.statistics import holm
from sslkuramoto.study.table import StudyTable


@dataclass(frozen=True)
class McNemar:
    """An exact McNemar test: an image counts as right when most draws are, else as wrong.

    Attributes:
        b: images that the first row has right (most draws) and the second wrong; times seeds where several are pooled.
        c: images that the second row has right and the first wrong.
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
class PairedTest:
    """The difference of two rows on the same images.

    Attributes:
        difference: mean share of correct draws of the first row minus that of the second, in [-1,1].
        low, high: its 95 % interval over images, an image being a cluster of its seeds.
        n: images, or groups of images that depend on each other.
        p: two-sided, of exchanging the rows at images or groups; 1 when they agree on every one.
        mcnemar: the test of majority votes over draws; None where shares lie between 0 and 1 and the
            majority of draws is the same for both rows at every image.
    """

    difference: float
    low: float
    high: float
    n: int
    p: float
    mcnemar: McNemar | None


@dataclass(frozen=True)
class Comparison:
    """Two rows in one column.

    Attributes:
        rows, column: which.
        per_seed: seed -> test of the two networks of that seed; their p are not corrected.
        pooled: test over the images of all common seeds, those of one image together; None where ``reason`` says why.
        holm: p of ``pooled`` corrected over all comparisons of the study.
        reason: why there is no test, or None.
    """

    rows: tuple[str, str]
    column: str
    per_seed: dict[int, PairedTest] = field(default_factory=dict)
    pooled: PairedTest | None = None
    holm: float | None = None
    reason: str | None = None


Shares = Sequence[tuple[Sequence[float], Sequence[float]]]
"""One pair per seed: shares of correct draws of the first and of the second row, the same images in each."""
Groups = Sequence[Hashable]
"""The group of each image; images of a group depend on each other."""


def paired_test(seeds: Shares, groups: Groups | None = None) -> PairedTest:
    """Test two rows on the images of one or more seeds.

    If the rows did not differ, exchanging them at any image would be as likely: p is the share of all such exchanges
    whose mean difference is at least as large as the measured one. An image is exchanged at all seeds together, because
    images that are hard for one network are hard for the next: as independent pairs they would make p too small.

    Args:
        seeds: the shares.
        groups: of the images; None: images are independent.
    """
    first, second = _arrays(seeds)
    ahead = _by_group((first - second).mean(axis=0), groups)
    low, high = _interval(ahead * (len(ahead) / first.shape[1]))  # its mean is that over images
    votes = _mcnemar(first > 0.5, second > 0.5, groups)
    between = bool(((first % 1) != 0).any() or ((second % 1) != 0).any())
    by_votes = None if between and votes.b == votes.c == 0 else votes
    p = exchange_p(_by_group((first - second).sum(axis=0), groups))
    return PairedTest(float((first - second).mean()), low, high, len(ahead), p, by_votes)


def mcnemar(correct_a: Sequence[float], correct_b: Sequence[float]) -> McNemar:
    """Test whether two rows are right on equally many images.

    Args:
        correct_a, correct_b: share of correct draws per image, of the same images. An image is correct when most
            draws are (> 0.5); one that half of the draws miss is wrong, as attacks count it broken.
    """
    first, second = _arrays([(correct_a, correct_b)])
    return _mcnemar(first > 0.5, second > 0.5)


def _arrays(seeds: Shares) -> tuple[Float[np.ndarray, "s n"], Float[np.ndarray, "s n"]]:
    assert len({len(shares) for pair in seeds for shares in pair}) == 1, "rows of unlike length"
    first, second = (np.asarray(rows, dtype=float) for rows in zip(*seeds, strict=True))
    return first, second


def _by_group(values: Float[np.ndarray, " n"], groups: Groups | None) -> Float[np.ndarray, " g"]:
    """Return the sum of the values of each group, or the values themselves."""
    if groups is None:
        return values
    assert len(groups) == len(values), f"{len(groups)} groups of {len(values)} images"
    number = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.bincount([number[group] for group in groups], weights=values)


def _mcnemar(first: np.ndarray, second: np.ndarray, groups: Groups | None = None) -> McNemar:
    """Source: Obuchowski 1998. Differs: exact, where hers is a normal approximation."""
    p = exchange_p(_by_group(first.sum(axis=0, dtype=float) - second.sum(axis=0), groups))
    return McNemar(int((first & ~second).sum()), int((second & ~first).sum()), first.size, p)


def _interval(ahead: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of ``ahead`` over images.

    Two images are added, one won and one lost by as much as any was, so that it has a width where all images agree.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data", to whose interval this one comes down where every difference is 0 or 1.
    Differs: shares between; where no image differs the two are won and lost outright.
    """
    n, largest = len(ahead), float(abs(ahead).max()) or 1.0
    middle = float(ahead.sum()) / (n + 2)
    variance = (float(np.square(ahead).sum()) + 2 * largest**2) / (n + 2) - middle**2
    reach, mean = NormalDist().inv_cdf(0.975) * sqrt(max(variance, 0.0) / (n + 2)), float(ahead.mean())
    return max(-1.0, min(mean, middle - reach)), min(1.0, max(mean, middle + reach))


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
    measured = [[(value.images, len(value.correct or [])) for value in (first[seed], second[seed])] for seed in seeds]
    if any(images != other for images, other in measured):
        return Comparison(pair, column, reason="measured on different images")
    shares = [(first[seed].correct or [], second[seed].correct or []) for seed in seeds]
    groups = [first[seed].groups for seed in seeds]
    per_seed = {seed: paired_test([pair_of], of) for seed, pair_of, of in zip(seeds, shares, groups, strict=True)}
    sets = [images for place, (images, _) in enumerate(measured) if images not in [one for one, _ in measured[:place]]]
    if len(sets) == 1:
        return Comparison(pair, column, per_seed, paired_test(shares, groups[0]))
    if len(sets) < len(seeds):
        return Comparison(pair, column, per_seed, reason="some seeds were measured on the same images, others not")
    joined = [[share for row in rows for share in row] for rows in zip(*shares, strict=True)]
    apart = [
        (seed, group)
        for seed, of, (_, n) in zip(seeds, groups, (both[0] for both in measured), strict=True)
        for group in (range(n) if of is None else of)
    ]
    return Comparison(pair, column, per_seed, paired_test([(joined[0], joined[1])], apart))
