"""A measured number and how far it can be trusted.

Wilson (1927) score interval for a share of n images; images are the sampling unit, draws of the oscillators are not.

Shapes: k draws, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean, stdev

from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """One number of a result.

    Attributes:
        value: the number, the mean over draws (and seeds) where there are several.
        low: lower end of the 95 % interval over images, or None where no interval is known.
        high: upper end of it.
        n: images behind the number.
        draws: independent draws of the initial oscillators behind it; 1 for a deterministic network.
        std_over_draws: standard deviation of the value from draw to draw (0 for one draw); None where the value belongs
            to all draws together: a vote, a mixture, a fitted temperature.
        unit: ``"fraction"`` for shares in [0,1], otherwise a word.
        seeds: repetitions of a randomised protocol (k-means), or None.
        std_over_seeds: standard deviation from seed to seed, or None.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    draws: int
    std_over_draws: float | None = None
    unit: str = "fraction"
    seeds: int | None = None
    std_over_seeds: float | None = None


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


def share_over_draws(correct: Bool[Tensor, "k n"]) -> Metric:
    """Return the share of right answers, averaged over draws, with the Wilson interval over images."""
    draws, n = correct.shape
    per_draw = correct.double().mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, n)
    return Metric(value, low, high, n, draws, spread(per_draw))
