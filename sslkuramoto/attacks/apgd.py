"""APGD: projected gradient ascent with an automatic step size.

Croce and Hein 2020 (2003.01690), algorithm 1 and section 4, written from the paper. From x(0) in the ball S, with
d(g) the steepest direction in the norm, P the projection on S, alpha = 0.75, and a step eta that starts at 2 eps:

    z      = P(x(k) + eta d(grad f(x(k))))
    x(k+1) = P(x(k) + alpha (z - x(k)) + (1 - alpha) (x(k) - x(k-1)))

At each checkpoint w(j) the step is halved for some images, and their ascent restarts from their best point so far.
These are the images for which, since the last checkpoint, (1) fewer than rho = 0.75 of the steps increased f, or
(2) neither eta nor the best value of f has changed.

Shapes: b batch, y x pixels, q classes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Target, Work
from sslkuramoto.attacks.gradients import Ascended, Best, Mean, Noise, objective_of, reading_by_draws
from sslkuramoto.attacks.losses import Loss
from sslkuramoto.attacks.targets import Targets, aimed, count_reached, reached_targets, targets_of, towards_each
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Repeats, checked

MOMENTUM = 0.75
INCREASES = 0.75


def checkpoints(iterations: int) -> list[int]:
    """Return the iterations w(j) = ceil(p(j) N) at which step sizes are checked: p(1) = 0.22, then closer together."""
    before, now, found = 0, 22, []  # in hundredths, without rounding
    while now <= 100:
        found.append(math.ceil(now * iterations / 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))


def reach(threat: Threat, images: Float[Tensor, "b 3 y x"]) -> float:
    """Return the length that step sizes refer to: eps, but at most the diameter of the image cube [0,1]^d."""
    widest = 1.0 if threat.norm == "linf" else images[0].numel() ** 0.5
    return min(threat.eps, widest)


@dataclass
class _Point:
    """The current point of each image: pixels, objective and gradient."""

    x: Float[Tensor, "b 3 y x"]
    loss: Float[Tensor, " b"]
    gradient: Float[Tensor, "b 3 y x"]

    def copy(self) -> "_Point":
        return _Point(self.x.clone(), self.loss.clone(), self.gradient.clone())

    def take(self, other: "_Point", where: Bool[Tensor, " b"]) -> None:
        """Take over the point of ``other`` for some images."""
        self.x[where], self.loss[where], self.gradient[where] = other.x[where], other.loss[where], other.gradient[where]


def apgd(
    objective: Ascended,
    images: Float[Tensor, "b 3 y x"],
    start: Float[Tensor, "b 3 y x"],
    *,
    threat: Threat,
    iterations: int,
    best: Best,
) -> None:
    """Ascend from ``start`` and offer every visited point to ``best``.

    The step-size rules compare the objective, whatever ``best`` ranks by. Images of a deterministic network that are
    already misclassified are not attacked further.
    """
    stochastic = objective.stochastic
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


def _evaluate(objective: Ascended, point: _Point, best: Best, stochastic: bool, *, gradient: bool) -> bool:
    """Evaluate the objective for the images still attacked; return whether there are any."""
    rows = best.open_rows(stochastic)
    if len(rows) == 0:
        return False
    found = objective.of(rows)(point.x[rows], gradient=gradient)
    best.offer(point.x[rows], found, rows)
    point.loss[rows] = found.loss
    if found.gradient is not None:
        point.gradient[rows] = found.gradient
    return True


@checked
class Apgd(Attack):
    """APGD with any loss, its gradients averaged over draws of the network's oscillators.

    Args:
        loss: ``ce``, ``dlr``, ``margin``, ``log_margin``; or ``ce_targeted``, ``dlr_targeted``, ``margin_targeted``,
            which run one ascent for each of the ``targets`` most probable wrong classes.
        iterations: steps of each ascent.
        targets: number of target classes of a targeted loss, or ``all`` wrong classes; None: 9 of a targeted loss.
        noise: ``fresh`` draws at every step (as in AutoAttack "rand"), or draws ``held`` fixed during an ascent.
        k: draws per gradient; 1 for a deterministic network.
        mean: what is averaged over draws: the ``loss`` or the ``log_probability``.
        restarts: independent random starts, each with its own held draws.
        label: name in the result; None: made from loss and noise.

    Differs: an image of a deterministic network is not attacked further once it is misclassified. The gradient at the
    last point, which no step would use, is not computed. The start is uniform in the ball; AutoAttack's is on its
    boundary.
    """

    idle_without_noise = frozenset({"k", "mean"})

    def __init__(
        self,
        *,
        loss: Loss = "ce",
        iterations: Repeats = 100,
        targets: Targets | None = None,
        noise: Noise = "fresh",
        k: Repeats = 20,
        mean: Mean = "loss",
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        targets = targets_of(loss, targets)
        self.options = {"name": "apgd", **options_of(locals())}
        self.loss: Loss = loss
        self.iterations, self.k, self.restarts = iterations, k, restarts
        self.targets: Targets | None = targets
        self.noise: Noise = noise
        self.mean: Mean = mean
        self.reading = reading_by_draws(noise, k, single="as published")
        self.label = label or f"apgd-{loss.replace('_', '-')}-{noise}"
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Apgd":
        """Return the attack with a loss and as many targets as the classes allow."""
        return aimed(self, target.num_classes)

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return a sentence on how many candidates reached their target."""
        return reached_targets(self.label, noticed)

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the strongest point of all ascents (:class:`~sslkuramoto.attacks.gradients.Best`)."""
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
        draw = work.generator(images.device, "apgd", "start")
        best = Best(images)
        for each in towards_each(objective, images, self.targets):
            start = threat.random_start(images, draw)
            apgd(each, images, start, threat=threat, iterations=self.iterations, best=best)
        count_reached(self.noticed, best.reached, self.targets)
        return best.candidates
