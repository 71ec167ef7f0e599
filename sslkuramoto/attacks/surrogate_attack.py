"""Attack with surrogate derivatives of the Kuramoto or Winfree step: does saturation mask the gradient?

Follows the backward pass differentiable approximation (BPDA) of Athalye et al. 2018, arXiv 1802.00420. Each surrogate
of :mod:`sslkuramoto.dynamics.surrogate` drives one ascent with the same held draws, and each image keeps its strongest
candidate. If a surrogate is stronger than ``autograd``, the true gradient was masked. If none is, saturation gives no
protection at this eps.

Shapes: b batch, y x pixels.
"""

from collections.abc import Mapping

from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, ImpossibleAttackError, Target, Work
from sslkuramoto.attacks.gradients import CUT, Best, cut_off, fitted, objective_of
from sslkuramoto.attacks.held_noise import Optimiser, climb
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import (
    EVERY_SURROGATE,
    SURROGATES,
    lacking,
    surrogate_backward,
    surrogates_for,
    surrogates_of_kind,
)
from sslkuramoto.dynamics.surrogate import Surrogate as Backward
from sslkuramoto.errors import UserError
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Repeats, checked


@checked
class Surrogate(Attack):
    """One ascent with held draws for each surrogate of the step's derivative; the strongest candidate is kept.

    Args:
        surrogates: names, in order; None: all that are defined for the network.
        k: held draws; 1 for a deterministic network.
        iterations: steps of each ascent.
        loss: as for ``apgd``, without the targeted losses.
        optimiser: ``momentum`` or ``apgd``.
        restarts: independent random starts, each with its own held draws.
        label: name in the result; None: surrogate.
    """

    idle_without_noise = frozenset({"k"})

    def __init__(
        self,
        *,
        surrogates: list[Backward] | None = None,
        k: Repeats = 16,
        iterations: Repeats = 40,
        loss: Loss = "log_margin",
        optimiser: Optimiser = "momentum",
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "surrogate", **options_of(locals())}
        if surrogates is not None and (not surrogates or len(set(surrogates)) < len(surrogates)):
            raise UserError(
                f"surrogates={surrogates}: must name at least one of {', '.join(EVERY_SURROGATE)}, each once"
            )
        if is_targeted(loss):
            raise UserError(f"loss={loss}: surrogate has no targeted losses")
        self.surrogates: list[Backward] = list(SURROGATES if surrogates is None else surrogates)
        self.k, self.iterations, self.restarts = k, iterations, restarts
        self.loss: Loss = loss
        self.optimiser: Optimiser = optimiser
        self.label = label or "surrogate"
        self.notes: list[str] = []

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return how often each surrogate produced the candidate that was kept."""
        kept = ", ".join(f"{name} {noticed.get(name, 0)}" for name in self.surrogates)
        led = any(name != CUT for name in noticed)
        own = [f"{self.label}: number of strongest candidates by surrogate: {kept}"] if led else []
        return [*own, *cut_off(self.label, noticed)]

    def prepared(self, target: Target) -> "Surrogate":
        """Return the attack with the surrogates that are defined for the network.

        Raises:
            ImpossibleAttackError: the network has no oscillator layer, or no surrogate is defined for it.
        """
        allowed = surrogates_for(target.encoder)
        if not allowed:
            raise ImpossibleAttackError(f"{self.label} skipped: the network has no oscillator layer")
        ready, kind = fitted(self, target.num_classes), surrogates_of_kind(target.encoder)
        asked = list(kind) if self.options["surrogates"] is None else self.surrogates
        ready.surrogates = [name for name in asked if name in allowed]
        ready.options = {**ready.options, "surrogates": ready.surrogates}
        if foreign := [name for name in asked if name not in kind]:
            ready.notes.append(f"{self.label}: {', '.join(foreign)} skipped: of another kind of step")
        if left_out := [name for name in asked if name in kind and name not in allowed]:
            ready.notes.append(f"{self.label}: {', '.join(left_out)} skipped: {lacking(target.encoder)}")
        if not ready.surrogates:
            needed = "a projected drive" if left_out else "another kind of step"
            raise ImpossibleAttackError(f"{self.label} skipped: its surrogates need {needed}")
        return ready

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return for each image the strongest candidate of all surrogates, compared on the held draws."""
        if len(images) == 0:
            return images.clone()
        objective = objective_of(
            classifier,
            images,
            labels,
            loss=self.loss,
            noise="held",
            k=self.k,
            work=work,
            key="surrogate",
            noticed=self.noticed,
        )
        start = threat.random_start(images, work.generator(images.device, "surrogate", "start"))
        best, by = Best(images), [""] * len(images)
        for name in self.surrogates:
            rows = best.open_rows(classifier.stochastic)
            if len(rows) == 0:
                break
            with surrogate_backward(classifier.encoder, name):
                found = climb(
                    objective.of(rows),
                    images[rows],
                    start[rows],
                    threat=threat,
                    iterations=self.iterations,
                    optimiser=self.optimiser,
                )
            better = best.offer(found, objective.of(rows)(found, gradient=False), rows)
            for row in better.tolist():
                by[row] = name
        self.noticed.update(name for name in by if name)
        return best.candidates
