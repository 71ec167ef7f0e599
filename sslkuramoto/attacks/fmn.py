"""Fast minimum-norm attack (FMN): the shortest perturbation, in l2 or l-inf, that changes the class.

Pintor et al. 2021 (2102.12827, Algorithm 1): a normalised gradient step on the margin, then a projection onto a ball of
radius e, then one onto [0,1]. Until a first mistake is found, e is the distance at which a linear model of the margin
changes sign, |delta|_p + |L| / |grad L|_q. From then on e becomes min((1 - gamma) e, distance of the nearest mistake)
where the image is misclassified, and (1 + gamma) e where it is not. Defaults are the paper's: gamma from 0.05 to 0.001,
in l2 steps from 1 to 0.01, both along half a cosine.

Differs: the step is steepest in the norm of the threat (the paper's is of l2 length 1 in every norm), since a step of
l2 length 1 leaves pixels of small gradient behind in l-inf. Before a mistake is found, e is lengthened by 1 + gamma,
since a path that ends on the boundary itself has found none, and is at least twice the distance reached: where margins
are steep and rugged, as those of oscillator networks, the linear model alone creeps outwards. A targeted search follows
the margin of label and target and ends at any mistake; the paper's follows that of the target and the best other class.
The margin is averaged over draws, most of which must err (:mod:`~sslkuramoto.attacks.nearest`).

Shapes: b batch, y x pixels.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Target, Work
from sslkuramoto.attacks.gradients import Noise, Objective, cut_off, objective_of, reading_by_draws
from sslkuramoto.attacks.nearest import Nearest, between
from sslkuramoto.attacks.targets import Targets, aimed, count_reached, reached_targets, targets_of, towards_each
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Norm, Threat, lengths
from sslkuramoto.values import Positive, Repeats, ShareBelowOne, checked


@checked
class Fmn(Attack):
    """The nearest mistake in l2 or l-inf, by margin steps projected onto a ball that shrinks and grows (FMN).

    Returns the nearest mistake on its path, or the image itself if none lies inside the ball.

    Args:
        loss: the ``margin`` of the paper; ``log_margin`` for draws; or ``margin_targeted``, with targets.
        targets: as for ``apgd``.
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
        loss: Literal["margin", "log_margin", "margin_targeted"] = "margin",
        targets: Targets | None = None,
        iterations: Repeats = 100,
        gamma: ShareBelowOne = 0.05,
        step_size: Positive | None = None,
        noise: Noise = "held",
        k: Repeats = 20,
        label: str | None = None,
    ) -> None:
        targets = targets_of(loss, targets)
        self.options = {"name": "fmn", **options_of(locals())}
        self.loss: Literal["margin", "log_margin", "margin_targeted"] = loss
        self.targets: Targets | None = targets
        self.iterations, self.gamma, self.step_size, self.k = iterations, gamma, step_size, k
        self.noise: Noise = noise
        self.reading = reading_by_draws(noise, k)
        self.label = label or f"fmn-{noise}"
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Fmn":
        """Return the attack with as many targets as the classes allow."""
        return aimed(self, target.num_classes)

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return a sentence if no gradient reaches the pixels, and one on how many candidates reached their target."""
        return [*cut_off(self.label, noticed), *reached_targets(self.label, noticed)]

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
        if len(images) == 0 or threat.eps == 0:
            return images.clone()
        objective = objective_of(
            classifier,
            images,
            labels,
            loss=self.loss,
            noise=self.noise,
            k=self.k,
            work=work,
            key="fmn",
            noticed=self.noticed,
        )
        nearest = Nearest(images, threat, objective.k)
        for each in towards_each(objective, images, self.targets):
            self._search(each, images, threat, nearest)
        count_reached(self.noticed, nearest.reached, self.targets)
        return nearest.candidates

    def _search(self, objective: Objective, images: Float[Tensor, "b 3 y x"], threat: Threat, nearest: Nearest) -> None:
        """Follow the path of one objective and offer every point of it."""
        first = self.step_size or (1.0 if threat.norm == "l2" else 0.1)
        x = images.clone()
        radius = torch.full((len(images),), torch.inf, device=images.device)
        shortest = radius.clone()  # distance of the nearest mistake of this path, inside the ball or not
        for step in range(self.iterations + 1):
            found = objective(x, gradient=step < self.iterations)
            fooled, distances = nearest.offer(x, found), threat.distances(x, images)
            if found.gradient is None:
                break
            shortest = torch.minimum(shortest, distances.where(fooled, torch.inf))
            gamma = between(self.gamma, self.gamma / 50, step, self.iterations)
            linear = distances + found.loss.abs() / _dual(found.gradient, threat.norm)
            linear = torch.maximum(linear, 2 * distances)
            radius = torch.where(
                fooled,
                torch.minimum(radius * (1 - gamma), shortest),
                torch.where(shortest.isfinite(), radius, linear) * (1 + gamma),
            )
            moved = x + between(first, first / 100, step, self.iterations) * threat.steepest(found.gradient) - images
            x = (images + _shortened(moved, radius, threat.norm)).clamp(0.0, 1.0)


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
