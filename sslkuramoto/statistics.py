"""Intervals and tests: of proportions (Wilson, Clopper-Pearson) and means, the sign test, Holm's correction, ranks.

Shapes: n values, m columns.
"""

from collections.abc import Sequence
from functools import cache
from math import sqrt
from statistics import NormalDist, fmean, median, stdev

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def wilson(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Args:
        share: observed proportion in [0,1]. A mean over draws is allowed; the interval is then conservative, since the
            variance of a mean over draws never exceeds that of a Bernoulli variable.
        n: independent trials (images), at least 1.
        confidence: coverage in (0,1).

    Returns:
        Lower and upper end, in [0,1].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    assert n >= 1, f"n={n}"
    assert 0.0 <= share <= 1.0, f"share={share}"
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at 0 and 1, rounding may put an end beyond the observed proportion
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def mean_interval(values: Sequence[float], least: float, most: float) -> tuple[float, float] | tuple[None, None]:
    """Return the 95 % interval of a mean, by the normal approximation: mean +- 1.96 s / sqrt(n).

    Args:
        values: one of each image.
        least, most: the range of the values, which the interval does not leave.

    Returns:
        Lower and upper end; None, None for fewer than two values.
    """
    if len(values) < 2:
        return None, None
    middle, half = fmean(values), NormalDist().inv_cdf(0.975) * stdev(values) / sqrt(len(values))
    return max(least, middle - half), min(most, middle + half)


def clopper_pearson(count: int, n: int, alpha: float) -> tuple[float, float]:
    """Return the exact one-sided bounds of a binomial probability, each of level 1 - alpha.

    For every p, the lower bound is p or more with probability at most alpha; the upper bound is p or less with
    probability at most alpha.

    Args:
        count: successes, 0 to n.
        n: independent trials, at least 1.
        alpha: probability of an error of one bound, in (0,1).

    Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934).
    """
    from scipy.special import betaincinv  # here and below: slow to load, and scipy.stats slower still

    assert 0 <= count <= n, f"count={count}, n={n}"
    assert n >= 1, f"n={n}"
    low = float(betaincinv(count, n - count + 1, alpha)) if count else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - alpha)) if count < n else 1.0
    return low, high


def median_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median and its 95 % interval, two order statistics whose ranks are those of a fair coin.

    No distribution of the values is assumed, and a largest value that stands for "at least this" is allowed.

    Args:
        values: one of each image, at least one.

    Returns:
        Median, lower and upper end; the ends are the extremes for fewer than six values, which cover less than 95 %.

    Source: H. A. David and H. N. Nagaraja, "Order Statistics", 3rd edition (2003), section 7.1.
    """
    from scipy.special import bdtr

    ordered, n = sorted(values), len(values)
    rank = max(int((bdtr(range(n), n, 0.5) < 0.025).sum()), 1)  # the 2.5 % quantile of a fair coin's heads
    return median(ordered), ordered[rank - 1], ordered[n - rank]


def spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1), or 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def spread_steps(steps: int, limit: int) -> list[int]:
    """Return at most ``limit`` of so many steps, counted from 0, evenly spread with the first and the last."""
    count = min(steps, limit)
    return [round(place * (steps - 1) / max(count - 1, 1)) for place in range(count)]


def chance_above(values: Float[Tensor, "n m"], first: Bool[Tensor, "n m"]) -> Float[Tensor, " m"]:
    """Return for each column the probability that a value of the first kind lies above one of the other; ties half.

    This is the area under the ROC curve: 1 or 0 where the two are separated, 0.5 where nothing distinguishes them.

    Args:
        values: of both kinds.
        first: which ones are of the first kind.

    Returns:
        In [0, 1]; nan for a column that lacks a kind.

    Source: H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is stochastically larger
        than the other", Ann. Math. Stat. 18 (1947): U / (a b), by ranks.
    """
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(values.double().numpy(), axis=0))
    own, others = first.sum(dim=0), (~first).sum(dim=0)
    above = (ranks * first).sum(dim=0) - own * (own + 1) / 2
    return above / (own * others)  # 0 / 0 is nan


@cache
def sign_test(more: int, less: int) -> float:
    """Return the probability that at least ``more`` of ``more + less`` fair coins show heads (one-sided, exact)."""
    return at_least(more, more + less, 0.5)


def at_least(count: int, n: int, share: float) -> float:
    """Return the binomial probability of ``count`` or more of n images, each with probability ``share``."""
    from scipy.special import bdtrc

    assert 0 <= count <= n + 1, f"count={count}, n={n}"
    return float(bdtrc(count - 1, n, share))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple testing, in the same order.

    If those below a level are called significant, the probability of any false positive is at most that level.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
