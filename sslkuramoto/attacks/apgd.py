"""APGD: projected gradient ascent that finds its step size by itself.

Croce and Hein 2020 (2003.01690), algorithm 1 and section 4, written from the paper. From x(0) in the ball S, with
d(g) the steepest direction in the norm, P the projection on S, alpha = 0.75, and a step eta that starts at 2 eps:

    z      = P(x(k) + eta d(grad f(x(k))))
    x(k+1) = P(x(k) + alpha (z - x(k)) + (1 - alpha) (x(k) - x(k-1)))

At checkpoints w(j) the step is halved, and the ascent goes on from the best point so far, for images where since the
last one (1) fewer than rho = 0.75 of the steps increased f, or (2) neither eta nor the best value of f has changed.

Shapes: b batch, y x pixels, q classes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Passes, Target, Work, check_counts
from sslkuramoto.attacks.gradients import Best, Mean, Noise, Objective, cost, fitted, objective_of, reading_by_draws
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat

MOMENTUM = 0.75
INCREASES = 0.75
TARGETS = 9  # of AutoAttack


def checkpoints(iterations: int) -> list[int]:
    """Return the steps w(j) = ceil(p(j) N) at which step sizes are judged: p(1) = 0.22, then ever closer together."""
    before, now, found = 0, 22, []  # in hundredths, without rounding
    while now <= 100:
        found.append(math.ceil(now * iterations / 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))


def reach(threat: Threat, images: Float[Tensor, "b 3 y x"]) -> float:
    """Return the radius for step sizes: that of the ball, or of the cube of images where the ball is larger."""
    widest = 1.0 if threat.norm == "linf" else images[0].numel() ** 0.5
    return min(threat.eps, widest)


@dataclass
class _Point:
    """Where each image stands: pixels, objective and gradient."""

    x: Float[Tensor, "b 3 y x"]
    loss: Float[Tensor, " b"]
    gradient: Float[Tensor, "b 3 y x"]

    def copy(self) -> "_Point":
        return _Point(self.x.clone(), self.loss.clone(), self.gradient.clone())

    def take(self, other: "_Point", where: Bool[Tensor, " b"]) -> None:
        """Stand where ``other`` does, for some images."""
        self.x[where], self.loss[where], self.gradient[where] = other.x[where], other.loss[where], other.gradient[where]


def apgd(
    objective: Objective,
    images: Float[Tensor, "b 3 y x"],
    start: Float[Tensor, "b 3 y x"],
    *,
    threat: Threat,
    iterations: int,
    best: Best,
) -> None:
    """Ascend from ``start`` and offer every point on the way to ``best``.

    The rules compare the objective, whatever ``best`` prefers. Rows that fool a deterministic network are left alone.
    """
    stochastic = objective.classifier.stochastic
    here = _Point(start.clone(), start.new_full((len(start),), -torch.inf), torch.zeros_like(start))
    _evaluate(objective, here, best, stochastic, gradient=True)
    top, last = here.copy(), here.x
    eta = start.new_full((len(start),), 2 * reach(threat, images))
    judged_at, judged_eta, judged_loss = 0, eta.clone(), top.loss.clone()
    increases = torch.zeros_like(eta)
    marks = set(checkpoints(iterations))
    for step in range(1, iterations + 1):
        z = threat.project(here.x + eta[:, None, None, None] * threat.steepest(here.gradient), images)
        share = MOMENTUM if step > 1 else 1.0
        moved = threat.project(here.x + share * (z - here.x) + (1 - share) * (here.x - last), images)
        last, before = here.x, here.loss
        here = _Point(moved, before.clone(), here.gradient.clone())
        if not _evaluate(objective, here, best, stochastic, gradient=step < iterations):
            return
        increases += here.loss > before
        top.take(here, here.loss > top.loss)
        if step in marks:
            few = increases < INCREASES * (step - judged_at)
            idle = (eta == judged_eta) & (top.loss == judged_loss)
            judged_at, judged_eta, judged_loss = step, eta.clone(), top.loss.clone()
            increases.zero_()
            eta = torch.where(few | idle, eta / 2, eta)
            here.take(top, few | idle)


def _evaluate(objective: Objective, point: _Point, best: Best, stochastic: bool, *, gradient: bool) -> bool:
    """Fill in what the objective says of the rows still open; return whether there are any."""
    rows = best.open_rows(stochastic)
    if len(rows) == 0:
        return False
    found = objective.of(rows)(point.x[rows], gradient=gradient)
    best.offer(point.x[rows], found, rows)
    point.loss[rows] = found.loss
    if found.gradient is not None:
        point.gradient[rows] = found.gradient
    return True


def likeliest_others(objective: Objective, images: Float[Tensor, "b 3 y x"], targets: int) -> list[Int64[Tensor, " b"]]:
    """Return the most likely wrong classes of each image, in order: the targets of a targeted attack."""
    log = objective.log_probabilities(images)
    log = log.scatter(1, objective.labels[:, None], -torch.inf)
    return list(log.topk(min(targets, log.shape[1] - 1), dim=1).indices.unbind(dim=1))


class Apgd(Attack):
    """APGD with any loss, its gradients averaged over draws of the network's noise.

    Args:
        loss: ``ce``, ``dlr``, ``margin``, ``log_margin``, or ``dlr_targeted``, ``margin_targeted``: one ascent for each
            of the ``targets`` likeliest wrong classes.
        iterations: steps of each ascent.
        targets: classes of a targeted loss; never more than there are wrong ones.
        noise: ``fresh`` at every step (as in AutoAttack "rand"), or ``held`` through an ascent.
        k: draws a gradient; 1 for a deterministic network.
        mean: over draws, of the ``loss`` or of the ``log_probability``.
        restarts: independent random starts (and held fields).
        label: of the result; None: made from loss and noise.

    Differs: a deterministic network's images are left alone once they are fooled, and the last point's gradient, which
    no step would use, is not taken. The start is uniform in the ball; AutoAttack's lies on its boundary.
    """

    idle_without_noise = frozenset({"k", "mean"})

    def __init__(
        self,
        *,
        loss: Loss = "ce",
        iterations: int = 100,
        targets: int = TARGETS,
        noise: Noise = "fresh",
        k: int = 20,
        mean: Mean = "loss",
        restarts: int = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "apgd", **options_of(locals())}
        check_counts(iterations=iterations, targets=targets, k=k, restarts=restarts)
        self.loss: Loss = loss
        self.iterations, self.targets, self.k, self.restarts = iterations, targets, k, restarts
        self.noise: Noise = noise
        self.mean: Mean = mean
        self.reading = reading_by_draws(noise, k, single="as published")
        self.label = label or f"apgd-{loss.replace('_', '-')}-{noise}"
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Apgd":
        """Return the attack with a loss and as many targets as the classes allow."""
        classes = target.num_classes
        ready = fitted(self, classes)
        if is_targeted(ready.loss) and self.targets > classes - 1:
            ready.targets = classes - 1
            ready.options = {**ready.options, "targets": ready.targets}
            ready.notes.append(f"{self.label}: targets shrink from {self.targets} to {classes - 1}: {classes} classes")
        return ready

    def passes(self, num_classes: int, stochastic: bool) -> Passes:
        """Return the cost of one image and one restart, at most."""
        k = self.k if stochastic else 1
        if not is_targeted(self.loss):
            return cost(1, self.iterations, k, self.mean)
        targets = min(self.targets, num_classes - 1)
        return cost(targets + 1, targets * self.iterations, k, self.mean)

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the strongest point of the ascents (:class:`~sslkuramoto.attacks.gradients.Best`)."""
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
            key="apgd",
            mean=self.mean,
        )
        objectives = [objective]
        if is_targeted(self.loss):
            others = likeliest_others(objective, images, self.targets)
            objectives = [objective.towards(targets) for targets in others]
        draw = work.generator(images.device, "apgd", "start")
        best = Best(images)
        for objective in objectives:
            start = threat.random_start(images, draw)
            apgd(objective, images, start, threat=threat, iterations=self.iterations, best=best)
        return best.candidates
