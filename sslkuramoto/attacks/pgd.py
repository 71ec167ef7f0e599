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
from sslkuramoto.attacks.attack import Attack, Passes, Target, Work, check_counts
from sslkuramoto.attacks.gradients import (
    Best,
    Mean,
    Noise,
    Objective,
    check_backward,
    cost,
    cut_off,
    differentiated,
    fitted,
    objective_of,
    reading_by_draws,
)
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import Surrogate as Backward
from sslkuramoto.errors import UserError
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat

Schedule = Literal["constant", "cosine"]


def step_sizes(schedule: Schedule, step_size: float, iterations: int) -> list[float]:
    """Return each step's size: the same, or falling from ``step_size`` towards 0 along half a cosine."""
    if schedule == "constant":
        return [step_size] * iterations
    return [step_size * (1 + math.cos(math.pi * i / iterations)) / 2 for i in range(iterations)]


def ascend(
    objective: Objective,
    images: Float[Tensor, "b 3 y x"],
    start: Float[Tensor, "b 3 y x"],
    *,
    threat: Threat,
    sizes: list[float],
    momentum: float,
    best: Best,
) -> Float[Tensor, "b 3 y x"]:
    """Ascend from ``start``, offer every point on the way to ``best`` and return the last one.

    Args:
        objective: what is ascended.
        images: centres of the balls.
        start: first points, inside.
        threat: the ball.
        sizes: of the steps, in units of the radius.
        momentum: mu; 0 for plain ascent.
        best: keeps the strongest points. Rows that fool a deterministic network are left alone.
    """
    x = start.clone()
    velocity = torch.zeros_like(x)
    radius = reach(threat, images)
    for step in range(len(sizes) + 1):
        rows = best.open_rows(objective.classifier.stochastic)
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


class Pgd(Attack):
    """Projected gradient ascent; the strongest point is returned, with fresh noise the last.

    Args:
        loss: as for ``apgd``, without the targeted ones.
        iterations: steps. One step without a random start is FGSM.
        schedule: ``constant``, or ``cosine`` falling to 0.
        step_size: of the first step, in units of eps; None: 2.5 / iterations and at most 1 when constant, else 1.
        momentum: mu >= 0.
        random_start: whether to begin at a random point of the ball or at the image.
        noise: ``fresh`` at every step, or ``held``.
        k: draws a gradient; 1 for a deterministic network.
        mean: over draws, of the ``loss`` or of the ``log_probability``.
        backward: derivative of the Kuramoto steps, a surrogate of :mod:`sslkuramoto.dynamics.surrogate`.
        restarts: independent random starts (and held fields).
        label: of the result; None: fgsm or pgd-ITERATIONS, with loss, noise and surrogate.
    """

    idle_without_noise = frozenset({"k", "mean"})

    def __init__(
        self,
        *,
        loss: Loss = "ce",
        iterations: int = 100,
        schedule: Schedule = "constant",
        step_size: float | None = None,
        momentum: float = 0.0,
        random_start: bool = True,
        noise: Noise = "fresh",
        k: int = 20,
        mean: Mean = "loss",
        backward: Backward = "autograd",
        restarts: int = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "pgd", **options_of(locals())}
        check_counts(iterations=iterations, k=k, restarts=restarts)
        check_ascent(step_size, momentum)
        if is_targeted(loss):
            raise UserError(f"loss={loss}: pgd has no targets; use apgd")
        if restarts > 1 and not random_start and noise == "fresh" and k == 1:
            raise UserError(f"restarts={restarts}: without random_start every restart begins at the image")
        self.loss: Loss = loss
        self.iterations, self.k, self.restarts = iterations, k, restarts
        self.schedule: Schedule = schedule
        self.step_size, self.momentum, self.random_start = step_size, momentum, random_start
        self.noise: Noise = noise
        self.mean: Mean = mean
        self.backward: Backward = backward
        # other derivatives than the network's own, and one plain draw per step, are attacks on their own
        self.reading = reading_by_draws(noise, k) if backward == "autograd" else None
        kind = "fgsm" if iterations == 1 else f"pgd-{iterations}"
        self.label = label or "-".join([kind, loss, noise, *([] if backward == "autograd" else [backward])])
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Pgd":
        """Return the attack with a loss that the classes allow."""
        check_backward(self.label, self.backward, target.encoder)
        return fitted(self, target.num_classes)

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return whether the network's gradient is cut off."""
        return cut_off(self.label, noticed)

    def passes(self, num_classes: int, stochastic: bool) -> Passes:
        """Return the cost of one image and one restart, at most."""
        return cost(1, self.iterations, self.k if stochastic else 1, self.mean)

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the strongest point of the ascent; on noise that changes, where the best is so by luck, the last."""
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
        draw = work.generator(images.device, "pgd", "start")
        start = threat.random_start(images, draw) if self.random_start else images
        sizes = step_sizes(self.schedule, first_step(self.step_size, self.schedule, self.iterations), self.iterations)
        best = Best(images)
        with differentiated(classifier, self.backward):
            last = ascend(objective, images, start, threat=threat, sizes=sizes, momentum=self.momentum, best=best)
        return last if classifier.stochastic and self.noise == "fresh" else best.candidates


def first_step(step_size: float | None, schedule: Schedule, iterations: int) -> float:
    """Return the first step in units of eps: as given, or one that crosses the ball 1.25 times in all."""
    if step_size is not None:
        return step_size
    return min(1.0, 2.5 / iterations) if schedule == "constant" else 1.0


def check_ascent(step_size: float | None, momentum: float) -> None:
    """Refuse steps of no size and momentum below 0."""
    if step_size is not None and not 0 < step_size < math.inf:
        raise UserError(f"step_size={step_size}: must be positive, in units of eps")
    if not 0 <= momentum < math.inf:
        raise UserError(f"momentum={momentum}: must be at least 0")
