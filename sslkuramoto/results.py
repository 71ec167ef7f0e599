"""A measured number and how far it can be trusted.

Images are the sampling unit of its interval, draws of the oscillators are not.
"""

from dataclasses import dataclass


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
