"""Attack with held draws, for networks that draw new oscillators at every forward pass.

K fields of initial oscillators are drawn once and held fixed while the mean clipped margin is maximised, so the
objective is one deterministic function. They are redrawn at each restart. A perturbation found with few fields overfits
them, so K is doubled, with new fields, until the accuracy over fresh draws no longer decreases. Convergence is measured
on draws that chose no candidate: on the choosing draws, the minimum over candidates decreases by luck alone.

Shapes: b batch, y x pixels.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from sslkuramoto.attacks.apgd import apgd
from sslkuramoto.attacks.attack import Attack, Target, Work
from sslkuramoto.attacks.gradients import (
    Ascended,
    Best,
    Mean,
    check_backward,
    differentiated,
    fitted,
    objective_of,
)
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.attacks.pgd import ascend, step_sizes
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import Surrogate as Backward
from sslkuramoto.errors import UserError
from sslkuramoto.noise_draws import MINIMUM_DRAWS
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Repeats, ShareBelowOne, checked, small

Optimiser = Literal["momentum", "apgd"]
_SETTLED, _OPEN = "settled", "open"


def climb(
    objective: Ascended,
    images: Float[Tensor, "b 3 y x"],
    start: Float[Tensor, "b 3 y x"],
    *,
    threat: Threat,
    iterations: int,
    optimiser: Optimiser,
) -> Float[Tensor, "b 3 y x"]:
    """Return the strongest points of one ascent.

    "momentum": steps follow the sum of all gradients so far, each scaled to l1 norm 1; the step size decreases from eps
    to 0 along half a cosine. "apgd": the step-size rules of APGD.
    """
    best = Best(images)
    if optimiser == "apgd":
        apgd(objective, images, start, threat=threat, iterations=iterations, best=best)
    else:
        sizes = step_sizes("cosine", 1.0, iterations)
        ascend(objective, images, start, threat=threat, sizes=sizes, momentum=1.0, best=best)
    return best.candidates


@small(draws=20)
@checked
class HeldNoise(Attack):
    """Ascents with K held draws; K is doubled until the accuracy over fresh draws no longer decreases.

    Args:
        k: held draws of the first ascent.
        max_k: largest K; K doubles from ``k`` as long as it does not exceed this.
        settle: the doubling ends when two in a row each lowered the accuracy over fresh draws (mean over images) by
            less than this share, or when no draw is correct. 0: to ``max_k`` unless two in a row lowered nothing.
        iterations: steps of each ascent.
        loss: as for ``apgd``, without the targeted losses.
        optimiser: ``momentum`` or ``apgd``.
        mean: what is averaged over draws: the ``loss`` or the ``log_probability``.
        backward: derivative used for the Kuramoto steps, a surrogate of :mod:`sslkuramoto.dynamics.surrogate`.
        draws: fresh draws that choose among ascents, at least 20, the same for all ascents of one restart; as many
            others measure convergence after each ascent.
        restarts: independent random starts, each with its own held draws.
        label: name in the result; None: held-noise, with the surrogate's name.

    Of all ascents, each image keeps the candidate that the fewest fresh draws classify correctly. A deterministic
    network gets a single ascent.
    """

    def __init__(
        self,
        *,
        k: Repeats = 16,
        max_k: Repeats = 256,
        settle: ShareBelowOne = 0.01,
        iterations: Repeats = 80,
        loss: Loss = "log_margin",
        optimiser: Optimiser = "momentum",
        mean: Mean = "loss",
        backward: Backward = "autograd",
        draws: Annotated[Repeats, Field(ge=MINIMUM_DRAWS)] = 32,
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "held_noise", **options_of(locals())}
        if max_k < k:
            raise UserError(f"max_k={max_k}: must be at least k={k}")
        if is_targeted(loss):
            raise UserError(f"loss={loss}: held_noise has no targeted losses; use apgd with noise=held")
        self.k, self.max_k, self.settle, self.iterations = k, max_k, settle, iterations
        self.loss: Loss = loss
        self.optimiser: Optimiser = optimiser
        self.mean: Mean = mean
        self.backward: Backward = backward
        self.draws, self.restarts = draws, restarts
        self.reading = "adaptive" if backward == "autograd" else None
        self.label = label or ("held-noise" if backward == "autograd" else f"held-noise-{backward}")
        self.notes: list[str] = []

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return the largest K and whether the accuracy over fresh draws had converged."""
        reached = sorted((int(k), end, n) for (k, end), n in ((key.split(), n) for key, n in noticed.items()))
        return [
            f"{self.label}: K reached {k} in {n} unit{'s' * (n > 1)} of work: {self._word(end)}"
            for k, end, n in reached
        ]

    def _word(self, end: str) -> str:
        if end == _SETTLED:
            return "the accuracy over fresh draws converged"
        if len(self._sizes()) == 1:
            return "a single K was tried, so convergence was not tested"
        return "not converged, a larger max_k may find stronger candidates"

    def prepared(self, target: Target) -> "HeldNoise":
        """Return the attack with a loss that is defined for this number of classes."""
        check_backward(self.label, self.backward, target.encoder)
        return fitted(self, target.num_classes)

    def _sizes(self) -> list[int]:
        sizes = [self.k]
        while 2 * sizes[-1] <= self.max_k:
            sizes.append(2 * sizes[-1])
        return sizes

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return for each image the candidate that the fewest fresh draws classify correctly."""
        if len(images) == 0:
            return images.clone()
        start = threat.random_start(images, work.generator(images.device, "held noise", "start"))
        chosen, lowest = images.clone(), torch.full_like(labels, 2, dtype=images.dtype)
        sizes = self._sizes() if classifier.stochastic else [1]
        settled, k, reached = False, self.k, list[float]()
        for k in sizes:
            objective = objective_of(
                classifier,
                images,
                labels,
                loss=self.loss,
                noise="held",
                k=k,
                work=work,
                key=f"held noise {k}",
                mean=self.mean,
            )
            with differentiated(classifier, self.backward):
                found = climb(
                    objective, images, start, threat=threat, iterations=self.iterations, optimiser=self.optimiser
                )
            if not classifier.stochastic:
                return found
            share = self._right_on_fresh_draws(classifier, found, labels, work, "judged")
            better = share < lowest
            chosen[better], lowest[better] = found[better], share[better]
            if len(sizes) > 1:
                reached.append(float(self._right_on_fresh_draws(classifier, chosen, labels, work, "settled").mean()))
            settled = float(lowest.max()) == 0 or self._has_settled(reached)
            if settled:
                break
        self.noticed[f"{k} {_SETTLED if settled else _OPEN}"] += 1
        return chosen

    def _has_settled(self, reached: list[float]) -> bool:
        """Whether the last two doublings each lowered the accuracy by less than ``settle``."""
        last = reached[-3:]
        return len(last) == 3 and all(before - after < self.settle for before, after in pairwise(last))

    def _right_on_fresh_draws(
        self,
        classifier: Classifier,
        candidates: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        work: Work,
        purpose: str,
    ) -> Float[Tensor, " b"]:
        fresh = objective_of(
            classifier,
            candidates,
            labels,
            loss="margin",
            noise="fresh",
            k=self.draws,
            work=work,
            key=f"held noise {purpose}",
        )
        return fresh(candidates, gradient=False).right
