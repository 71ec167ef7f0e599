"""Decoupled direction and norm (DDN): the shortest l2 perturbation that changes the class.

Rony et al. 2019 (1811.09600, Algorithm 1): delta <- delta + alpha g / |g|, then delta is given the length e, which
shrinks by the factor 1 - gamma where the image is misclassified and grows by 1 + gamma where it is not, and is clamped
to [0,1]. Defaults are the paper's: gamma 0.05, e 1 at first, alpha from 1 to 0.01 along half a cosine.

Differs: the paper quantises pixels to 8 bits, this does not. e never exceeds the distance to the farthest corner of the
cube, as in the authors' code. An image whose gradient is zero keeps its direction; the authors' code draws one. A
targeted search ends at any mistake, not at its target only. The loss is averaged over draws of a stochastic network,
most of which must err (:mod:`~sslkuramoto.attacks.nearest`).

Shapes: b batch, y x pixels.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Target, Work
from sslkuramoto.attacks.gradients import Noise, Objective, cut_off, objective_of, reading_by_draws
from sslkuramoto.attacks.losses import Loss
from sslkuramoto.attacks.nearest import Nearest, between
from sslkuramoto.attacks.targets import Targets, aimed, count_reached, reached_targets, targets_of, towards_each
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat, lengths
from sslkuramoto.values import Positive, Repeats, ShareBelowOne, checked


@checked
class Ddn(Attack):
    """The nearest mistake in l2, by steps whose direction and length change on their own (DDN).

    Returns the nearest mistake on its path, or the image itself if none lies inside the ball.

    Args:
        iterations: number of steps.
        first_length: length e of the first perturbation, in l2, pixels of [0,1].
        gamma: relative change of the length in a step.
        step_size: alpha of the first step, in l2; it decreases to a hundredth along half a cosine.
        loss: as for ``apgd``; the paper's are ``ce`` and ``ce_targeted``.
        targets: as for ``apgd``.
        noise: ``fresh`` draws at every step, or draws ``held`` fixed.
        k: draws per gradient; 1 for a deterministic network.
        label: name in the result; None: ddn, with the noise.

    The path follows l2. Under an l-inf threat the point that is nearest in l-inf is kept; use ``fmn`` to search there.
    """

    idle_without_noise = frozenset({"k"})
    restarts = 1

    def __init__(
        self,
        *,
        iterations: Repeats = 100,
        first_length: Positive = 1.0,
        gamma: ShareBelowOne = 0.05,
        step_size: Positive = 1.0,
        loss: Loss = "ce",
        targets: Targets | None = None,
        noise: Noise = "held",
        k: Repeats = 20,
        label: str | None = None,
    ) -> None:
        targets = targets_of(loss, targets)
        self.options = {"name": "ddn", **options_of(locals())}
        self.iterations, self.first_length, self.gamma = iterations, first_length, gamma
        self.step_size, self.k = step_size, k
        self.loss: Loss = loss
        self.targets: Targets | None = targets
        self.noise: Noise = noise
        self.reading = reading_by_draws(noise, k)
        self.label = label or f"ddn-{noise}"
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Ddn":
        """Return the attack with a loss and as many targets as the classes allow."""
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
            key="ddn",
            noticed=self.noticed,
        )
        nearest = Nearest(images, threat, objective.k)
        for each in towards_each(objective, images, self.targets):
            self._search(each, images, nearest)
        count_reached(self.noticed, nearest.reached, self.targets)
        return nearest.candidates.clamp(0.0, 1.0)

    def _search(self, objective: Objective, images: Float[Tensor, "b 3 y x"], nearest: Nearest) -> None:
        """Follow the path of one objective and offer every point of it."""
        l2 = Threat("l2", torch.inf)
        moved = torch.zeros_like(images)
        length = torch.full((len(images),), self.first_length, device=images.device)
        farthest = lengths(torch.maximum(images, 1 - images))
        for step in range(self.iterations + 1):
            found = objective(images + moved, gradient=step < self.iterations)
            fooled = nearest.offer(images + moved, found)
            if found.gradient is None:
                break
            alpha = between(self.step_size, self.step_size / 100, step, self.iterations)
            moved = moved + alpha * l2.steepest(found.gradient)
            length = torch.minimum(length * torch.where(fooled, 1 - self.gamma, 1 + self.gamma), farthest)
            moved = moved * (length / lengths(moved).clamp_min(1e-12))[:, None, None, None]
            moved = (images + moved).clamp(0.0, 1.0) - images
