"""Intervals and tests over images: Wilson's interval of a share, the sign test, Holm's correction."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, stdev

from scipy.stats import binom, binomtest


def wilson(share: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Args:
        share: observed share in [0,1]; a mean over draws is allowed and makes the interval conservative, since the
            variance of a mean of shares is never above that of a single yes or no.
        n: independent trials (images), at least 1.
        confidence: coverage in (0,1).

    Returns:
        Both ends, in [0,1].

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    assert n >= 1, f"n={n}"
    assert 0.0 <= share <= 1.0, f"share={share}"
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # rounding may push the ends past the observed share at 0 and 1
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation (n - 1), or 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0


def sign_test(more: int, less: int) -> float:
    """Return the probability that at least ``more`` of ``more + less`` fair coins show heads (one-sided, exact)."""
    return float(binomtest(more, more + less, alternative="greater").pvalue) if more + less else 1.0


def at_least(count: int, n: int, share: float) -> float:
    """Return the probability of ``count`` or more of n images if each comes with the probability ``share``."""
    return float(binom.sf(count - 1, n, share))


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number, in the same order.

    Those below a level are significant together: the probability that any of them is so falsely stays below it.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 6 (1979).
    """
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
