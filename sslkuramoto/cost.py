"""What a measurement costs before it runs: passes of the network, and hours on this device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple


@dataclass(frozen=True)
class Passes:
    """What attacking one image once costs at most; those that no draw gets right any more cost nothing.

    Attributes:
        forward: forward passes without a gradient.
        backward: forward passes followed by a backward pass.
    """

    forward: int
    backward: int


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
