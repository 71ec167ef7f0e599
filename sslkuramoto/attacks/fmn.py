"""Fast minimum-norm attack (FMN): the shortest perturbation, in l2 or l-inf, that changes the class.

Pintor et al. 2021 (2102.12827, Algorithm 1): a normalised gradient step on the margin, then a projection onto a ball of
radius e. Until a first mistake is found, e is the distance at which a linear model of the margin changes sign,
|delta|_p + |L| / |grad L|_q. From then on e shrinks by 1 - gamma below the nearest mistake where the image is
misclassified, and grows by 1 + gamma where it is not.

Differs: the step is steepest in the norm of the threat (the paper's is of l2 length 1 in every norm), since a step of
l2 length 1 leaves pixels of small gradient behind in l-inf; the first e is lengthened by 1 + gamma too, since a path
that ends on the boundary itself has found no mistake; the margin is averaged over draws.

Shapes: b batch, y x pixels.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import Noise, cut_off, objective_of, reading_by_draws
from sslkuramoto.attacks.nearest import Nearest, between
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Norm, Threat, lengths
from sslkuramoto.values import Positive, Repeats, ShareBelowOne, checked


@checked
class Fmn(Attack):
    """The nearest mistake in l2 or l-inf, by margin steps projected onto a ball that shrinks and grows (FMN).

    Returns the nearest mistake on its path, or the image itself if none lies inside the ball.

    Args:
        iterations: number of steps.
        gamma: relative change of the radius in the first step; it decreases to a fiftieth along half a cosine.
        step_size: of the first step in the norm of the threat, pixels of [0,1]; None: 1 in l2, 0.1 in l-inf. It
            decreases to a hundredth along half a cosine.
        noise: ``fresh`` draws at every step, or draws ``held`` fixed.
        k: draws per gradient; 1 for a deterministic network.
        label: name in the result; None: fmn, with the noise.
    """

    idle_without_noise = frozenset({"k"})
    restarts = 1

    def __init__(
        self,
        *,
        iterations: Repeats = 100,
        gamma: ShareBelowOne = 0.05,
        step_size: Positive | None = None,
        noise: Noise = "held",
        k: Repeats = 20,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "fmn", **options_of(locals())}
        self.iterations, self.gamma, self.step_size, self.k = iterations, gamma, step_size, k
        self.noise: Noise = noise
        self.reading = reading_by_draws(noise, k)
        self.label = label or f"fmn-{noise}"

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return a sentence if no gradient reaches the pixels."""
        return cut_off(self.label, noticed)

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the nearest mistake of each image, by the attack's own draws."""
        nearest = Nearest(images, threat)
        if len(images) == 0 or threat.eps == 0:
            return nearest.candidates
        objective = objective_of(
            classifier,
            images,
            labels,
            loss="margin",
            noise=self.noise,
            k=self.k,
            work=work,
            key="fmn",
            noticed=self.noticed,
        )
        first = self.step_size or (1.0 if threat.norm == "l2" else 0.1)
        x = images.clone()
        radius = torch.full((len(images),), torch.inf, device=images.device)
        for step in range(self.iterations + 1):
            found = objective(x, gradient=step < self.iterations)
            fooled = found.right <= 0.5
            nearest.offer(x, fooled)
            if found.gradient is None:
                break
            gamma = between(self.gamma, self.gamma / 50, step, self.iterations)
            linear = threat.distances(x, images) + found.loss.abs() / _dual(found.gradient, threat.norm)
            seen = nearest.distances.isfinite()
            radius = torch.where(
                fooled,
                torch.minimum(radius, threat.distances(x, images)) * (1 - gamma),
                torch.where(seen, radius, linear) * (1 + gamma),
            )
            moved = x + between(first, first / 100, step, self.iterations) * threat.steepest(found.gradient) - images
            x = (images + _shortened(moved, radius, threat.norm)).clamp(0.0, 1.0)
        return nearest.candidates


def _dual(gradient: Float[Tensor, "b 3 y x"], norm: Norm) -> Float[Tensor, " b"]:
    """Return the norm dual to that of the threat: l2 for l2, l1 for l-inf."""
    size = lengths(gradient) if norm == "l2" else gradient.flatten(1).abs().sum(dim=1)
    return size.clamp_min(1e-12)


def _shortened(moved: Float[Tensor, "b 3 y x"], radius: Float[Tensor, " b"], norm: Norm) -> Float[Tensor, "b 3 y x"]:
    """Return perturbations projected onto balls, each with its own radius."""
    each = radius[:, None, None, None]
    if norm == "linf":
        return torch.minimum(torch.maximum(moved, -each), each)
    return moved * (each / lengths(moved).clamp_min(1e-12)[:, None, None, None]).clamp_max(1.0)
