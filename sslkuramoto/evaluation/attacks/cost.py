"""What a battery costs before it runs: forward passes, and hours on this device after timing a few of them."""

import math
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
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
        starts: passes of the network behind each pass of the classifier, which is what is counted above.
        elsewhere: label -> passes of another network for one image, all restarts together.
        extra: label -> seconds of one image, all restarts together: of its passes elsewhere, or beyond what they take
            in chunks where it attacks one image at a time.
        left: label -> share of its work that the ledger does not hold; all where it is not named.
        spared: forward passes of the scoring, of all images together, whose outcome the ledger holds.
        looked: forward passes, of all images together, of a first look at some of them.
    """

    attacks: dict[str, Passes]
    scoring: int
    images: int
    seconds_forward: float
    seconds_backward: float
    control: int = 0
    starts: int = 1
    elsewhere: Mapping[str, Passes] = MappingProxyType({})
    extra: Mapping[str, float] = MappingProxyType({})
    left: Mapping[str, float] = MappingProxyType({})
    spared: int = 0
    looked: int = 0

    @property
    def attacked(self) -> int:
        """Images that every attack meets at most, those of the control twice."""
        return self.images + self.control

    @property
    def forward(self) -> int:
        """Forward passes without a gradient, of all images."""
        return self._scoring + sum(self._of(label).forward for label in self.attacks)

    @property
    def backward(self) -> int:
        """Forward passes with a backward pass, of all images."""
        return sum(self._of(label).backward for label in self.attacks)

    @property
    def _scoring(self) -> int:
        return self.starts * (self.images * self.scoring - self.spared + self.looked)

    def _of(self, label: str) -> Passes:
        """Return the passes of all images that an attack still takes, of whichever network."""
        own, other = self.attacks[label], self._elsewhere(label)
        count = self.starts * self._left(label)
        forward, backward = (math.ceil(count * passes - 1e-6) for passes in (own.forward, own.backward))
        return Passes(forward + other.forward, backward + other.backward)

    def _elsewhere(self, label: str) -> Passes:
        passes, count = self.elsewhere.get(label, Passes(0, 0)), self._left(label)
        return Passes(math.ceil(count * passes.forward - 1e-6), math.ceil(count * passes.backward - 1e-6))

    def _left(self, label: str) -> float:
        """Return how many images an attack has before it."""
        return self.attacked * self.left.get(label, 1.0)

    @property
    def hours(self) -> float:
        """On this device, one process."""
        others = [self._elsewhere(label) for label in self.elsewhere]
        forward = self.forward - sum(passes.forward for passes in others)
        backward = self.backward - sum(passes.backward for passes in others)
        extra = sum(self._left(label) * seconds for label, seconds in self.extra.items())
        return (forward * self.seconds_forward + backward * self.seconds_backward + extra) / 3600

    def lines(self) -> list[str]:
        """Return what a person wants to know, a line an attack and one for the whole."""
        each = [
            f"{label}: {self._of(label).forward:,} forward, {self._of(label).backward:,} forward and backward"
            for label in self.attacks
        ]
        if self.spared or any(share < 1 for share in self.left.values()):
            each.append("what the ledger holds already is left out")
        early = "; images that are used up early cost less" if self.attacks else ""
        return [
            *each,
            f"scoring: {self._scoring:,} forward",
            f"together at most {self.forward:,} forward and {self.backward:,} forward and backward passes of an image: "
            f"{shown_hours(self.hours)} on this device (timed here{early})",
        ]


def shown_hours(hours: float) -> str:
    """Return a duration in the unit that people would use."""
    if hours * 3600 < 90:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h"


def starts_of(classifier: Classifier) -> int:
    """Return the passes of the network behind a forward of the classifier."""
    return classifier.draws if classifier.mode == "averaged" and classifier.encoder.stochastic else 1


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
    starts = starts_of(classifier)
    seconds = _seconds(classifier, images, starts)
    alone: tuple[float, float] | None = None
    each, elsewhere, extra = {}, {}, {}
    for attack in attacks:
        once = attack.passes(classes, stochastic)
        judged = select_draws + 1
        if attack.source is not None:
            each[attack.label] = Passes(attack.restarts * judged, 0)
            elsewhere[attack.label] = Passes(attack.restarts * once.forward, attack.restarts * once.backward)
            own = _seconds(attack.source, images, 1)
            extra[attack.label] = attack.restarts * (own[0] * once.forward + own[1] * once.backward)
            continue
        each[attack.label] = Passes(attack.restarts * (once.forward + judged), attack.restarts * once.backward)
        if attack.one_by_one and classifier.at(torch.arange(1)).bound:
            alone = alone or _seconds(classifier, images[:1], 1)
            more = (alone[0] - seconds[0]) * once.forward + (alone[1] - seconds[1]) * once.backward
            extra[attack.label] = attack.restarts * more
    forward, backward = seconds
    # the clean images are checked for logits and judged; clean, worst and wrapper are scored
    # a network that says it is deterministic is called twice more
    scoring = 1 + (0 if stochastic else 2) + select_draws + 1 + 3 * draws
    return Cost(each, scoring, count, forward, backward, starts=starts, elsewhere=elsewhere, extra=extra)


def _seconds(classifier: Classifier, images: Tensor, starts: int) -> tuple[float, float]:
    """Return the seconds that one image takes in a pass, without and with a gradient; the best of three."""
    best = (min(_timed(classifier, images, gradient=flag)[0] for _ in range(3)) for flag in (False, True))
    forward, backward = (seconds / (len(images) * starts) for seconds in best)
    return forward, backward


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
