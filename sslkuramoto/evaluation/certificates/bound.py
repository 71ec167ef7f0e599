"""The certificate of one image: a lower bound of the probability of its class under noise, and the radius that follows.

Cohen, Rosenfeld and Kolter 2019 (1902.02918, theorem 1 and procedure CERTIFY): n0 draws choose a class, n other draws
give the Clopper-Pearson bound p of its probability at level 1 - alpha. If p > 1/2, no perturbation of l2 length at most
R = sigma Phi^-1(p) changes the class of the smoothed classifier; otherwise the certificate abstains.

*Looks.* With ``stages`` = K > 1 the bound is also taken after n / 2^(K-1), ..., n / 2 draws, each look at level
1 - alpha / K, and an image ends at the first look that decides it. By Bonferroni's inequality the probability that any
look's bound exceeds the truth is at most alpha, whichever look ends the image. An image is decided when its radius
reaches the largest one that is asked for, or when an upper bound of level 1 - alpha / K lies below 1/2: it then
abstains, which is never a false claim and needs no share of alpha.

Shapes: q classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.statistics import clopper_pearson


@dataclass(frozen=True)
class Certificate:
    """What is proven of the smoothed classifier at one image.

    Attributes:
        chosen: the class that ``n0`` draws chose.
        counts: answers of the other draws by class; the last entry counts answers that are no class.
        lower: lower bound of the probability of ``chosen``; 0 if that is no class.
        radius: l2 radius in pixels of [0,1] within which the class is constant; 0 if it abstains.
    """

    chosen: int
    counts: Int64[Tensor, " q_and_one"]
    lower: float
    radius: float

    @property
    def draws(self) -> int:
        return int(self.counts.sum())

    @property
    def abstains(self) -> bool:
        return self.lower <= 0.5

    def holds_at(self, radius: float, label: int) -> bool:
        """Return whether it proves that the label is the class at every point up to a radius (0: at the image)."""
        return self.chosen == label and not self.abstains and self.radius >= radius


@dataclass(frozen=True)
class Plan:
    """How images are certified.

    Attributes:
        sigma: standard deviation of the noise, > 0, pixels in [0,1].
        n0: draws that choose the class.
        n: most draws that bound its probability.
        alpha: probability, for each image, that its certificate is false.
        stages: K, number of looks.
        target: radius at which an image is decided.
    """

    sigma: float
    n0: int
    n: int
    alpha: float
    stages: int
    target: float

    @property
    def looks(self) -> list[int]:
        """Numbers of draws after which the bound is taken, the last is n."""
        return sorted({-(-self.n // 2**halvings) for halvings in range(self.stages)})

    @property
    def level(self) -> float:
        """Probability of an error of one look."""
        return self.alpha / self.stages

    @property
    def largest(self) -> float:
        """The radius of an image whose n answers all agree: no other radius is larger."""
        return self._radius(self.level ** (1 / self.n))

    def of(self, chosen: int, counts: Int64[Tensor, " q_and_one"]) -> Certificate:
        """Return the certificate that counts of answers give."""
        made, is_class = int(counts.sum()), chosen < len(counts) - 1
        lower = clopper_pearson(int(counts[chosen]), made, self.level)[0] if is_class else 0.0
        return Certificate(chosen, counts, lower, self._radius(lower))

    def decides(self, certificate: Certificate) -> bool:
        """Return whether further draws of an image are not needed."""
        count = int(certificate.counts[certificate.chosen])
        hopeless = clopper_pearson(count, certificate.draws, self.level)[1] < 0.5
        return hopeless or (not certificate.abstains and certificate.radius >= self.target)

    def _radius(self, lower: float) -> float:
        return self.sigma * NormalDist().inv_cdf(lower) if lower > 0.5 else 0.0


def certificate_of(count: Callable[[str, int], Tensor], plan: Plan) -> Certificate:
    """Certify one image.

    Args:
        count: (purpose, number) -> answers by class of so many new draws, "q_and_one"; different purposes are
            independent.
        plan: how.
    """
    chosen = int(count("choose", plan.n0).argmax())
    counts, made = torch.zeros(0, dtype=torch.int64), 0
    for number, look in enumerate(plan.looks):
        new = count(f"look {number}", look - made)
        counts, made = new if not made else counts + new, look
        certificate = plan.of(chosen, counts)
        if plan.decides(certificate):
            break
    return certificate
