"""The exchange test of paired numbers: are two things equally good on the same images?

Fisher 1935, "The design of experiments", section 21. Where every difference is 1, 0 or -1 it is the exact test of
McNemar 1947.

Shapes: n images.
"""

from collections import Counter
from functools import lru_cache
from math import gcd, log

import numpy as np
from jaxtyping import Float

FLIPS = 99_999  # of a test by chance: the least p is 1 / 100,000
EXACT_WORK = 2e8  # products that an exact test may take
FINEST_LATTICE = 2000  # largest common denominator of shares that is looked for
ROUNDING = 2e-6  # of shares that went through 32 bit floats or six digits


def exchange_p(differences: Float[np.ndarray, " n"]) -> float:
    """Return the chance that random signs of ``differences`` give a sum as far from 0 as theirs.

    Exact where they are whole numbers (every share 0 or 1: McNemar's test), and where they are multiples of one step,
    as shares of draws are, and not too many; else from ``FLIPS`` draws of the signs by a fixed generator, the signs
    seen counted as one of them (never 0).
    """
    return _p_of(tuple(differences[abs(differences) > ROUNDING].tolist()))


def exchange_p_above(differences: Float[np.ndarray, " n"]) -> float:
    """Return the chance that random signs of ``differences`` give a sum at least as large as theirs (one-sided).

    Above 0 it is half of :func:`exchange_p`, since a sum and its opposite are equally likely. At 0 and below it is
    given as 1, which nobody calls significant.
    """
    return exchange_p(differences) / 2 if differences[abs(differences) > ROUNDING].sum() > 0 else 1.0


@lru_cache(maxsize=4096)
def _p_of(differences: tuple[float, ...]) -> float:
    given = np.asarray(differences)
    steps = _on_lattice(given)
    if steps is None:
        return _by_chance(given)
    counts, length, work = Counter(abs(steps).tolist()), 1, 0
    for step, count in counts.items():
        work += length * (step * count + 1)
        length += step * count
    return _exact(counts, abs(int(steps.sum()))) if work <= EXACT_WORK or not (given % 1).any() else _by_chance(steps)


def _on_lattice(differences: Float[np.ndarray, " n"]) -> np.ndarray | None:
    """Return them as whole multiples of a common step, or None where they have none."""
    for parts in range(1, FINEST_LATTICE + 1):
        whole = np.rint(differences * parts)
        if abs(differences * parts - whole).max(initial=0.0) <= max(1e-5, ROUNDING * parts) and whole.all():
            return whole.astype(int) // max(1, gcd(*whole.astype(int).tolist()))
    return None


def _exact(counts: Counter[int], seen: int) -> float:
    from scipy.special import gammaln  # slow to load: only where a test is made

    chances = np.ones(1)  # of each sum of the images' steps that goes to the first row
    for step, count in counts.items():
        spread = np.zeros(step * count + 1)
        heads = np.arange(count + 1)
        ways = gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1)  # logarithms of n over k
        spread[::step] = np.exp(ways - count * log(2))
        chances = np.convolve(chances, spread)
    sums = 2 * np.arange(len(chances)) - (len(chances) - 1)
    return min(1.0, float(chances[abs(sums) >= seen].sum()))


def _by_chance(differences: np.ndarray) -> float:
    rng, count, left = np.random.default_rng(0), 0, FLIPS
    seen, rounding = abs(differences.sum()), 1e-9 * abs(differences).sum()
    while left:
        rows = min(left, max(1, 2_000_000 // len(differences)))
        signs = 2.0 * rng.integers(0, 2, (rows, len(differences)), dtype=np.int8) - 1
        count += int((abs(signs @ differences) >= seen - rounding).sum())
        left -= rows
    return (1 + count) / (1 + FLIPS)
