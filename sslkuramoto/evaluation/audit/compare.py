"""Is one attack significantly stronger than another on the same images?

Two attacks are run on the same images, so they are compared image by image. A difference counts if it exceeds a
tolerance and is significant when the two are exchanged at images (Fisher 1935). For a deterministic network that test
is McNemar's (1947). For a network that draws it weighs an image by how much its share of correct draws differs: a sign
test would count a loss of one draw in twenty as much as that of the whole image.

For convergence the costly error is the opposite one, to overlook a gain. The tolerance is therefore smaller there, and
the upper end of the gain's confidence interval is reported.

Shapes: n images.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from jaxtyping import Float
from torch import Tensor

from sslkuramoto.exchange import exchange_p_above
from sslkuramoto.statistics import sign_test, wilson

ALPHA = 0.01
"""One-sided level of the test: an audit makes about twenty such tests, of which 0.2 fail by chance on average."""

TOLERANCE = 0.05
"""Differences up to this share of the images are not called masking: on adversarially trained networks, whose gradients
are not masked, single attacks of AutoAttack differ by as much (Croce and Hein 2020, 2003.01690, table 2)."""

SETTLED = 0.01
"""Gain of the last increase of a budget that counts as none: one unit of the last digit usually reported."""

SETTLED_ALPHA = 0.05
"""One-sided level for gains and for the upper end of their intervals. An audit makes four such comparisons. A false
alarm costs a longer run, a missed gain leaves the bound loose."""

FEWEST_RIGHT = 20
"""Images correct without an attack that a favourable verdict requires. Only these can be broken, and 7 broken images
are the fewest that are significant: a third of 20."""

ROBUST, BROKEN = 0.75, 0.5
"""Share of correct draws from which an image counts as clearly robust, and up to which it counts as broken."""


@dataclass(frozen=True)
class Comparison:
    """A second attack compared with a first.

    Attributes:
        first: accuracy under the first attack.
        second: accuracy under the second attack.
        gain: first - second, mean over images.
        further: images of which fewer draws are correct under the second attack.
        less_far: images of which more draws are correct under it.
        p: probability of a gain as large if both were equally strong (one-sided exchange test).
        tolerance: smallest difference that counts.
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
        """Whether the second attack is stronger, by more than the tolerance and significantly."""
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
        first: for each image the share of draws that classify the first attack's candidate correctly.
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
        sign_test(further, less_far) if bool((gain == gain.round()).all()) else exchange_p_above(gain.cpu().numpy()),
        tolerance,
    )


@dataclass(frozen=True)
class Convergence:
    """Whether the last increase of a budget (steps, restarts, draws) still made an attack stronger.

    Attributes:
        comparison: the second largest budget against the largest.
        n: number of images.
        at_most: upper end of the one-sided 95 % interval of the gain over images.
    """

    comparison: Comparison
    n: int
    at_most: float

    @property
    def gains(self) -> bool:
        """Whether there is a significant gain of more than 1 % of the images."""
        return self.comparison.gain > SETTLED and self.comparison.p < SETTLED_ALPHA

    @property
    def may_gain(self) -> bool:
        """Whether there is a gain of more than 1 % of the images, or a significant smaller one."""
        return self.comparison.gain > SETTLED or self.comparison.p < SETTLED_ALPHA

    @property
    def proven(self) -> bool:
        """Whether these images rule out a gain of more than 1 %. Without it, the absence of a gain is no proof."""
        return not self.gains and self.at_most <= SETTLED

    def remark(self) -> str:
        """Return the finding in words."""
        if self.gains:
            return f"not converged: the last increase gained {percent(self.comparison.gain)}"
        if self.proven:
            return f"converged: a gain above {percent(SETTLED)} is ruled out"
        gain = f" (observed: {percent(self.comparison.gain)})" if self.comparison.gain > 0 else ""
        return f"no significant gain, but {self.n} images cannot rule out gains below {percent(self.at_most)}{gain}"

    def figures(self) -> dict[str, float]:
        """Return the numbers as a result holds them."""
        return self.comparison.figures() | {"gain_at_most": round(self.at_most, 6), "proven": self.proven}


def convergence(before: Float[Tensor, " n"], last: Float[Tensor, " n"]) -> Convergence:
    """Return whether an attack with its largest budget is stronger than with the second largest.

    Args:
        before: for each image the share of draws that are correct under the second largest budget.
        last: the same for the largest budget, over the same draws.

    The interval is that of Bonett and Price 2012 (J. Educ. Behav. Stat. 37, 479) for paired shares. It adds two images,
    one gained and one lost, so that it does not shrink to a point if no image differs.
    """
    gains = (before - last).double()
    n, total, squares = len(gains), gains.sum().item(), gains.square().sum().item()
    middle = total / (n + 2)
    deviation = sqrt(max((squares + 2) / (n + 2) - middle**2, 0.0) / (n + 2))
    upper = middle + NormalDist().inv_cdf(1 - SETTLED_ALPHA) * deviation
    return Convergence(compare(before, last, SETTLED), n, max(upper, total / n))


def newly_broken(first: Float[Tensor, " n"], second: Float[Tensor, " n"]) -> int:
    """Return how many images are clearly robust under the first attack and broken by the second."""
    return int(((first >= ROBUST) & (second <= BROKEN)).sum())


def more_than(count: int, n: int, share: float) -> bool:
    """Return whether ``count`` of ``n`` images are significantly more than ``share`` (Wilson interval over images)."""
    return wilson(count / n, n)[0] > share


def smallest_visible(n: int, tolerance: float = TOLERANCE) -> float:
    """Return the smallest one-sided difference that is significant with n images, as a share of them."""
    images = next(k for k in range(1, n + 64) if sign_test(k, 0) < ALPHA)
    return max(images / n, tolerance)


def percent(share: float) -> str:
    """Return a share in percent, as text."""
    return f"{100 * share:.1f} %"
