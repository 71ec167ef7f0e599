"""What a battery costs before it runs: forward passes, and hours on this device after timing a few of them."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.evaluation.attacks.attack import Attack, Passes
from sslkuramoto.evaluation.classifier import Classifier, frozen


class Cost(NamedTuple):
    """What a battery takes at most: every image attacked to the end.

    Attributes:
        attacks: label -> passes of one image, all restarts together.
        scoring: forward passes of one image for selection and final score.
        images: how many images.
        seconds_forward, seconds_backward: of one image, measured here.
        control: images that every attack also meets with eps = 0.
    """

    attacks: dict[str, Passes]
    scoring: int
    images: int
    seconds_forward: float
    seconds_backward: float
    control: int = 0

    @property
    def attacked(self) -> int:
        """Images that every attack meets at most, those of the control twice."""
        return self.images + self.control

    @property
    def forward(self) -> int:
        """Forward passes without a gradient, of all images."""
        attacks = sum(passes.forward for passes in self.attacks.values())
        return self.images * self.scoring + self.attacked * attacks

    @property
    def backward(self) -> int:
        """Forward passes with a backward pass, of all images."""
        return self.attacked * sum(passes.backward for passes in self.attacks.values())

    @property
    def hours(self) -> float:
        """On this device, one process."""
        return (self.forward * self.seconds_forward + self.backward * self.seconds_backward) / 3600

    def lines(self) -> list[str]:
        """Return what a person wants to know, a line an attack and one for the whole."""
        each = [
            f"{label}: {self.attacked * passes.forward:,} forward, "
            f"{self.attacked * passes.backward:,} forward and backward"
            for label, passes in self.attacks.items()
        ]
        early = "; images that are used up early cost less" if self.attacks else ""
        return [
            *each,
            f"scoring: {self.images * self.scoring:,} forward",
            f"together at most {self.forward:,} forward and {self.backward:,} forward and backward passes of an image: "
            f"{shown_hours(self.hours)} on this device (timed here{early})",
        ]


def shown_hours(hours: float) -> str:
    """Return a duration in the unit that people would use."""
    if hours * 3600 < 90:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h"


def cost_of(
    classifier: Classifier,
    attacks: Sequence[Attack],
    images: Float[Tensor, "b 3 y x"],
    count: int,
    draws: int,
    select_draws: int,
) -> Cost:
    """Return the cost of attacking ``count`` images.

    Args:
        classifier: in its mode.
        attacks: prepared.
        images: one chunk, to time passes with.
        count: images in all.
        draws: draws of a score.
        select_draws: draws that judge a candidate.
    """
    stochastic = classifier.stochastic
    classes = int(_timed(classifier, images, gradient=False)[1].shape[1])
    each = {}
    for attack in attacks:
        once = attack.passes(classes, stochastic)
        judged = once.forward + select_draws + 1
        each[attack.label] = Passes(attack.restarts * judged, attack.restarts * once.backward)
    forward, backward = (min(_timed(classifier, images, gradient=flag)[0] for _ in range(3)) for flag in (False, True))
    # the clean images are checked for logits and judged; clean, worst and wrapper are scored
    # a network that says it is deterministic is called twice more
    scoring = 1 + (0 if stochastic else 2) + select_draws + 1 + 3 * draws
    return Cost(each, scoring, count, forward / len(images), backward / len(images))


def _timed(classifier: Classifier, images: Tensor, *, gradient: bool) -> tuple[float, Tensor]:
    bound = classifier.at(torch.arange(len(images)))
    draw = torch.Generator(device=images.device).manual_seed(0)
    synchronise = torch.cuda.synchronize if images.device.type == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    with frozen(classifier), torch.set_grad_enabled(gradient):
        moved = images.clone().requires_grad_(gradient)
        logits = bound(moved, draw=draw)
        if gradient:
            torch.autograd.grad(F.cross_entropy(logits, logits.argmax(dim=1)), moved)
    synchronise()
    return time.perf_counter() - start, logits.detach()
