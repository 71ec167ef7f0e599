"""Projected gradient ascent with momentum; one step of it is FGSM.

Madry et al. 2018 (1706.06083); FGSM: Goodfellow et al. 2015 (1412.6572); momentum (MI-FGSM): Dong et al. 2018
(1710.06081, Eq. 6-7): v <- mu v + g / |g|_1, x <- P(x + eta d(v)), with d the steepest direction in the norm.

Shapes: b batch, y x pixels.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.apgd import reach
from sslkuramoto.attacks.attack import Attack, Target, Work
from sslkuramoto.attacks.gradients import (
    Ascended,
    Best,
    Mean,
    Noise,
    check_backward,
    cut_off,
    differentiated,
    objective_of,
    reading_by_draws,
)
from sslkuramoto.attacks.losses import Loss
from sslkuramoto.attacks.targets import Targets, aimed, count_reached, reached_targets, targets_of, towards_each
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import Surrogate as Backward
from sslkuramoto.errors import UserError
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import NotNegative, Positive, Repeats, checked

Schedule = Literal["constant", "cosine"]


def step_sizes(schedule: Schedule, step_size: float, iterations: int) -> list[float]:
    """Return the size of each step: constant, or decreasing from ``step_size`` to 0 along half a cosine."""
    if schedule == "constant":
        return [step_size] * iterations
    return [step_size * (1 + math.cos(math.pi * i / iterations)) / 2 for i in range(iterations)]


def ascend(
    objective: Ascended,
    images: Float[Tensor, "b 3 y x"],
    start: Float[Tensor, "b 3 y x"],
    *,
    threat: Threat,
    sizes: list[float],
    momentum: float,
    best: Best,
) -> Float[Tensor, "b 3 y x"]:
    """Ascend from ``start``, offer every visited point to ``best`` and return the last one.

    Args:
        objective: what is maximised.
        images: centres of the balls.
        start: first points, inside the balls.
        threat: norm and radius of the balls.
        sizes: of the steps, in units of the radius.
        momentum: mu; 0 for plain ascent.
        best: keeps the strongest points. Images that a deterministic network already misclassifies are not moved.
    """
    x = start.clone()
    velocity = torch.zeros_like(x)
    radius = reach(threat, images)
    for step in range(len(sizes) + 1):
        rows = best.open_rows(objective.stochastic)
        if len(rows) == 0:
            break
        found = objective.of(rows)(x[rows], gradient=step < len(sizes))
        best.offer(x[rows], found, rows)
        if found.gradient is not None:
            size = found.gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
            velocity[rows] = momentum * velocity[rows] + found.gradient / size.clamp_min(1e-30)
            moved = x[rows] + sizes[step] * radius * threat.steepest(velocity[rows])
            x[rows] = threat.project(moved, images[rows])
    return x


@checked
class Pgd(Attack):
    """Projected gradient ascent. Returns the strongest point visited or, with fresh draws, the last point.

    A targeted loss runs one ascent for each target. With fresh draws the last point is returned that most draws, new
    ones, misclassify.

    Args:
        loss: as for ``apgd``.
        targets: as for ``apgd``.
        iterations: number of steps. One step without a random start is FGSM.
        schedule: ``constant`` step sizes, or ``cosine``, decreasing to 0.
        step_size: of the first step, in units of eps; None: min(1, 2.5 / iterations) when constant, else 1.
        momentum: mu >= 0.
        random_start: whether to start at a random point of the ball instead of the image.
        noise: ``fresh`` draws at every step, or draws ``held`` fixed during an ascent.
        k: draws per gradient; 1 for a deterministic network.
        mean: what is averaged over draws: the ``loss`` or the ``log_probability``.
        backward: derivative used for the Kuramoto steps, a surrogate of :mod:`sslkuramoto.dynamics.surrogate`.
        restarts: independent random starts, each with its own held draws.
        label: name in the result; None: fgsm or pgd-ITERATIONS, with loss, noise and surrogate.
    """

    idle_without_noise = frozenset({"k", "mean"})

    def __init__(
        self,
        *,
        loss: Loss = "ce",
        targets: Targets | None = None,
        iterations: Repeats = 100,
        schedule: Schedule = "constant",
        step_size: Positive | None = None,
        momentum: NotNegative = 0.0,
        random_start: bool = True,
        noise: Noise = "fresh",
        k: Repeats = 20,
        mean: Mean = "loss",
        backward: Backward = "autograd",
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        targets = targets_of(loss, targets)
        self.options = {"name": "pgd", **options_of(locals())}
        if restarts > 1 and not random_start and noise == "fresh" and k == 1:
            raise UserError(f"restarts={restarts}: without random_start every restart begins at the image itself")
        self.loss: Loss = loss
        self.targets: Targets | None = targets
        self.iterations, self.k, self.restarts = iterations, k, restarts
        self.schedule: Schedule = schedule
        self.step_size, self.momentum, self.random_start = step_size, momentum, random_start
        self.noise: Noise = noise
        self.mean: Mean = mean
        self.backward: Backward = backward
        # surrogate derivatives, and a single fresh draw per step, belong to none of the kinds of robust accuracy
        self.reading = reading_by_draws(noise, k) if backward == "autograd" else None
        kind = "fgsm" if iterations == 1 else f"pgd-{iterations}"
        self.label = label or "-".join([kind, loss, noise, *([] if backward == "autograd" else [backward])])
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Pgd":
        """Return the attack with a loss and as many targets as the classes allow."""
        check_backward(self.label, self.backward, target.encoder)
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
        """Return the strongest point of the ascent; with fresh draws the last, since the best is partly luck."""
        if len(images) == 0:
            return images.clone()
        objective = objective_of(
            classifier,
            images,
            labels,
            loss=self.loss,
            noise=self.noise,
            k=self.k,
            work=work,
            key="pgd",
            mean=self.mean,
            noticed=self.noticed,
        )
        by_luck = classifier.stochastic and self.noise == "fresh"  # the best point of such an ascent is
        everyone = torch.arange(len(images), device=images.device)
        draw = work.generator(images.device, "pgd", "start")
        sizes = step_sizes(self.schedule, first_step(self.step_size, self.schedule, self.iterations), self.iterations)
        best, last = Best(images), Best(images)
        with differentiated(classifier, self.backward):
            for each in towards_each(objective, images, self.targets):
                start = threat.random_start(images, draw) if self.random_start else images
                end = ascend(each, images, start, threat=threat, sizes=sizes, momentum=self.momentum, best=best)
                if by_luck and self.targets is None:
                    return end
                if by_luck:
                    last.offer(end, each(end, gradient=False), everyone)
        chosen = last if by_luck else best
        count_reached(self.noticed, chosen.reached, self.targets)
        return chosen.candidates


def first_step(step_size: float | None, schedule: Schedule, iterations: int) -> float:
    """Return the first step size in units of eps: as given, or such that all steps together measure 2.5 eps."""
    if step_size is not None:
        return step_size
    return min(1.0, 2.5 / iterations) if schedule == "constant" else 1.0
