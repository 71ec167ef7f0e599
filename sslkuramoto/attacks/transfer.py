"""Transfer attack: candidates are made on a source network, so masked gradients of the target have no effect.

Momentum (MI-FGSM): Dong et al. 2018 (1710.06081). Input diversity (DI): Xie et al. 2019 (1803.06978); with probability
p the images of a step are shrunk to a random size and padded with zeros at a random place. The target is never queried.

Shapes: b batch, y x pixels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.apgd import reach
from sslkuramoto.attacks.attack import Attack, ImpossibleAttackError, Source, Target, Work
from sslkuramoto.attacks.gradients import cut_off, fitted, objective_of
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.attacks.pgd import first_step
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.errors import UserError
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import NotNegative, Positive, Repeats, Share, checked

SMALLEST = 0.875  # smallest side of a shrunk image, as a share of the whole


def diverse(probability: float, draw: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Return a random map that shrinks a batch to a random size and pads it, or leaves it unchanged.

    Differs: Xie et al. resize 299 pixels to at most 330 and pad to 330. Here the networks keep their input size.
    """

    def change(images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        kept, size, down, right = torch.rand(4, generator=draw, device=draw.device).tolist()
        if kept >= probability:
            return images
        sides = [round(side * (SMALLEST + (1 - SMALLEST) * size)) for side in images.shape[2:]]
        room = [whole - side for whole, side in zip(images.shape[2:], sides, strict=True)]
        top, left = round(down * room[0]), round(right * room[1])
        small = F.interpolate(images, size=sides, mode="bilinear", align_corners=False, antialias=False)
        return F.pad(small, (left, room[1] - left, top, room[0] - top))

    return change


@checked
class Transfer(Attack):
    """PGD with momentum and input diversity on a source network; its last point is the candidate.

    Args:
        run: run directory of the source (an AKOrN, or any network of timm); None: the measured run itself.
        encoder: changed options of the source's encoder, with the same weights, such as ``{oscillator_dim: 4}``,
            ``{project: false}``, ``{step_size: 0.25}`` or ``{num_steps: 1}``.
        initial: initial oscillators of the source: ``fixed`` (one seeded field) or ``random`` (k held draws).
        k: held draws of a random source.
        loss: as for ``apgd``, without the targeted losses.
        iterations: number of steps.
        step_size: in units of eps; None: 2.5 / iterations, at most 1.
        momentum: mu of MI-FGSM.
        diversity: probability p of input diversity at each step; 0 disables it.
        restarts: independent random starts.
        label: name in the result; None: transfer, with the source's name and changes.
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        encoder: dict[str, Any] | None = None,
        initial: Literal["fixed", "random"] = "fixed",
        k: Repeats = 16,
        loss: Loss = "ce",
        iterations: Repeats = 100,
        step_size: Positive | None = None,
        momentum: NotNegative = 1.0,
        diversity: Share = 0.5,
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "transfer", **options_of(locals())}
        if is_targeted(loss):
            raise UserError(f"loss={loss}: transfer has no targeted losses")
        self.source_run, self.encoder = run, dict(encoder or {})
        self.initial: Literal["fixed", "random"] = initial
        self.k, self.iterations, self.restarts = k, iterations, restarts
        self.loss: Loss = loss
        self.step_size, self.momentum, self.diversity = step_size, momentum, diversity
        changes = [f"{key}={value}".replace("/", "_") for key, value in self.encoder.items()]
        self.label = label or "-".join(["transfer", Path(run).name if run else "own", *changes, initial])
        self.notes: list[str] = []

    def prepared(self, target: Target) -> "Transfer":
        """Return the attack with its source network loaded.

        The ledger identifies a source by its weights and the options that build it; its run directory may be moved.

        Raises:
            UserError: the source is no finished run, holds no classifier, has another number of classes, does not
                accept the changed options, or is the measured network itself.
        """
        ready = fitted(self, target.num_classes)
        source = self._source(target)
        if source.num_classes != target.num_classes:
            raise UserError(
                f"transfer: {source.name} has {source.num_classes} classes; these images have {target.num_classes}"
            )
        ready.notes += [f"{self.label}: {note}" for note in source.notes]
        ready.source = Classifier(source.encoder, source.head, self.initial, seed=target.seed)
        known = {key: value for key, value in ready.options.items() if key != "run"}
        if not ready.source.stochastic:
            known.pop("k")
        ready.options = {**known, **source.identity}
        return ready

    def _source(self, target: Target) -> Source:
        if self.source_run is None and not self.encoder and (self.initial == "random" or not target.encoder.stochastic):
            raise ImpossibleAttackError(
                f"{self.label} skipped: its source would be the attacked network itself; "
                "set run, encoder, or initial=fixed for a network that draws"
            )
        source = target.source(self.source_run, self.encoder)
        if self.source_run is not None and source.is_target:
            raise UserError(
                f"transfer: {source.name} has the weights of the measured network itself; "
                "name another run or change its encoder"
            )
        return source

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return a sentence if no gradient of the source reaches the pixels."""
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
        """Return the last point of the ascent on the source; ``classifier`` is not queried."""
        if len(images) == 0:
            return images.clone()
        assert self.source is not None, "transfer: prepared() loads the source"
        with frozen(self.source):
            objective = objective_of(
                self.source,
                images,
                labels,
                loss=self.loss,
                noise="held",
                k=self.k,
                work=work,
                key="transfer",
                noticed=self.noticed,
            )
            change = diverse(self.diversity, work.generator("cpu", "transfer", "diversity"))
            x = threat.random_start(images, work.generator(images.device, "transfer", "start"))
            size = first_step(self.step_size, "constant", self.iterations) * reach(threat, images)
            velocity = torch.zeros_like(x)
            for _ in range(self.iterations):
                gradient = objective.through(change, x)
                length = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
                velocity = self.momentum * velocity + gradient / length.clamp_min(1e-30)
                x = threat.project(x + size * threat.steepest(velocity), images)
        return x
