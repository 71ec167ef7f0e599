"""Whether one attack got further than another on the same images, beyond what chance explains.

Two attacks meet on the same images, so they are compared image by image: a difference counts when it is large enough to
matter and when an exact sign test over images finds it unlikely by chance. For a deterministic network that test is
McNemar's (1947).

Whether an attack has converged is asked the other way round: there a missed gain is the costly error, so less must be
seen, and what could not be seen is said: the upper end of the interval of the gain.

Shapes: n images.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.statistics import sign_test, wilson

ALPHA = 0.01
"""One-sided level of the sign test: an audit asks some twenty such questions, of which 0.2 may err by chance."""

TOLERANCE = 0.05
"""Differences of this share of the images are never called masking: on adversarially trained networks, which hide
nothing, single attacks of AutoAttack differ by up to so much (Croce and Hein 2020, 2003.01690, table 2)."""

SETTLED = 0.01
"""Gain of the last rung of a ladder that still counts as none: the last digit that robust accuracies are quoted to."""

SETTLED_ALPHA = 0.05
"""One-sided level at which a gain is seen and the upper end of its interval is taken: four such comparisons are made,
and a false alarm costs a longer run, where a missed gain leaves a bound loose."""

FEWEST_RIGHT = 20
"""Images that are right when clean, which attacks can break, below which an audit has no word of confidence: the 7 that
must fall one way to be told from chance are then a third of them."""

STANDS, BROKEN = 0.75, 0.5
"""Share of draws above which an image clearly stands, and from which it counts as broken (most draws err)."""


@dataclass(frozen=True)
class Comparison:
    """How a second attack did beside a first.

    Attributes:
        first: accuracy that the first attack leaves.
        second: accuracy that the second leaves.
        gain: first - second, mean over images: what the second adds.
        further: images on which the second got further.
        less_far: images on which it did not get as far.
        p: chance of so many ``further`` or more if both were equally strong (one-sided exact sign test).
        tolerance: difference that matters.
    """

    first: float
    second: float
    gain: float
    further: int
    less_far: int
    p: float
    tolerance: float

    @property
    def stronger(self) -> bool:
        """Whether the second attack is stronger: by more than the tolerance, and not by chance."""
        return self.gain > self.tolerance and self.p < ALPHA

    def figures(self) -> dict[str, float]:
        """Return the numbers as a result holds them."""
        return {
            "first": round(self.first, 6),
            "second": round(self.second, 6),
            "gain": round(self.gain, 6),
            "images_further": self.further,
            "images_less_far": self.less_far,
            "p": round(self.p, 6),
        }


def compare(first: Float[Tensor, " n"], second: Float[Tensor, " n"], tolerance: float = TOLERANCE) -> Comparison:
    """Compare two attacks.

    Args:
        first: for each image the share of draws that get the first attack's candidate right.
        second: the same for the second attack, over the same draws.
        tolerance: a share of the images.
    """
    gain = (first - second).double()
    further, less_far = int((gain > 0).sum()), int((gain < 0).sum())
    return Comparison(
        first.double().mean().item(),
        second.double().mean().item(),
        gain.mean().item(),
        further,
        less_far,
        sign_test(further, less_far),
        tolerance,
    )


@dataclass(frozen=True)
class Convergence:
    """Whether the last rung of a ladder still gained.

    Attributes:
        comparison: the last rung but one against the last.
        n: images.
        at_most: upper end of the one-sided 95 % interval of the gain over images.
    """

    comparison: Comparison
    n: int
    at_most: float

    @property
    def gains(self) -> bool:
        """Whether a gain is seen: above 1 % of the images, and not by chance."""
        return self.comparison.gain > SETTLED and self.comparison.p < SETTLED_ALPHA

    @property
    def proven(self) -> bool:
        """Whether these images rule out that more than 1 % is left to gain; without it no gain seen is no proof."""
        return not self.gains and self.at_most <= SETTLED

    def remark(self) -> str:
        """Return what was found, in words."""
        if self.gains:
            return f"still gaining {percent(self.comparison.gain)}"
        if self.proven:
            return f"converged: a gain above {percent(SETTLED)} is ruled out"
        gain = f", seen {percent(self.comparison.gain)}" if self.comparison.gain > 0 else ""
        return (
            f"no gain beyond chance, but with {self.n} images gains below {percent(self.at_most)} cannot be told{gain}"
        )

    def figures(self) -> dict[str, float]:
        """Return the numbers as a result holds them."""
        return self.comparison.figures() | {"gain_at_most": round(self.at_most, 6), "proven": self.proven}


def convergence(before: Float[Tensor, " n"], last: Float[Tensor, " n"]) -> Convergence:
    """Ask whether the last rung of a ladder gained on the rung before it.

    Args:
        before: for each image the share of draws that get the candidate of the last rung but one right.
        last: the same for the last rung, over the same draws.

    The interval is that of Bonett and Price 2012 (J. Educ. Behav. Stat. 37, 479) for paired shares, which for single
    yes or no stays right where nothing differs: two images are added, one won and one lost.
    """
    gains = (before - last).double()
    n, total, squares = len(gains), gains.sum().item(), gains.square().sum().item()
    middle = total / (n + 2)
    deviation = sqrt(max((squares + 2) / (n + 2) - middle**2, 0.0) / (n + 2))
    upper = middle + NormalDist().inv_cdf(1 - SETTLED_ALPHA) * deviation
    return Convergence(compare(before, last, SETTLED), n, max(upper, total / n))


def newly_broken(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> int:
    """Return how many images clearly stand under the first attack and are broken by the second."""
    return int(((first >= STANDS) & (second <= BROKEN)).sum())


def more_than(count: int, n: int, share: float) -> bool:
    """Return whether ``count`` of ``n`` images are more than ``share``, the interval over images respected."""
    return wilson(count / n, n)[0] > share


def smallest_visible(n: int, tolerance: float = TOLERANCE) -> float:
    """Return the smallest one-sided difference that n images can show as a share of them."""
    images = next(k for k in range(1, n + 64) if sign_test(k, 0) < ALPHA)
    return max(images / n, tolerance)


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.1f} %"
