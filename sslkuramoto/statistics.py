"""Intervals and tests over images: the Wilson (1927) score interval of a share."""

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist, stdev


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
