"""Whether one attack got further than another on the same images, beyond what chance explains.

Two attacks meet on the same images, so they are compared image by image: a difference counts when it is large enough to
matter and when an exact sign test over images finds it unlikely by chance. For a deterministic network that test is
McNemar's (1947).

Shapes: n images.
"""

from dataclasses import dataclass
from math import comb

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.intervals import wilson

ALPHA = 0.01
"""One-sided level of the sign test: an audit asks some twenty such questions, of which 0.2 may err by chance."""

TOLERANCE = 0.05
"""Differences of this share of the images are never called masking: on adversarially trained networks, which hide
nothing, single attacks of AutoAttack differ by up to so much (Croce and Hein 2020, 2003.01690, table 2)."""

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


def sign_test(more: int, less: int) -> float:
    """Return the chance that at least ``more`` of ``more + less`` fair coins show heads."""
    n = more + less
    return sum(comb(n, k) for k in range(more, n + 1)) / 2**n


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
