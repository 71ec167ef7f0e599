"""What a measurement costs before it runs: passes of the network, counted, and hours on this device, timed."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

FEW = 8
"""Images of the first timed pass."""
LONG = 5.0
"""Seconds of a pass that is not timed twice, nor with more images."""
TIMES = 3


class Passes(NamedTuple):
    """Passes of single images.

    Attributes:
        forward: without a gradient.
        backward: forward passes followed by a backward pass.
    """

    forward: int
    backward: int = 0

    def plus(self, other: "Passes", times: int = 1) -> "Passes":
        """Return the sum with so many times the other."""
        return Passes(self.forward + times * other.forward, self.backward + times * other.backward)


@dataclass(frozen=True)
class Cost:
    """What a measurement takes at most.

    Attributes:
        images: how many are measured.
        passes: what for -> passes of all images together.
        seconds: that they take on this device, one process.
        notes: what a reader of the estimate must know.
        early: whether images that an attack has used up cost less.
    """

    images: int
    passes: Mapping[str, Passes]
    seconds: float
    notes: list[str] = field(default_factory=list)
    early: bool = False

    @property
    def forward(self) -> int:
        """Forward passes without a gradient."""
        return sum(each.forward for each in self.passes.values())

    @property
    def backward(self) -> int:
        """Forward passes with a backward pass."""
        return sum(each.backward for each in self.passes.values())

    @property
    def hours(self) -> float:
        """On this device, one process."""
        return self.seconds / 3600

    def lines(self) -> list[str]:
        """Return what a person wants to know: one line for each purpose, and one for the whole."""
        early = "; images that are used up early cost less" if self.early else ""
        return [
            *(
                f"{name}: {each.forward:,} forward" + f", {each.backward:,} forward and backward" * bool(each.backward)
                for name, each in self.passes.items()
            ),
            *self.notes,
            f"together at most {self.forward:,} forward and {self.backward:,} forward and backward passes of an image: "
            f"{shown_hours(self.hours)} on this device (timed here{early})",
        ]


def seconds_of(run: Callable[[int], None], most: int, device: torch.device) -> float:
    """Return the seconds per image that a pass takes, the best of three.

    Args:
        run: makes a pass of the given number of images.
        most: images of a pass. A few are timed first, and all only where that does not take long.
        device: where it runs.
    """
    few = min(FEW, most)
    seconds = _best(run, few, device)
    if few < most and seconds * most / few < LONG:
        seconds, few = _best(run, most, device), most
    return seconds / few


def _best(run: Callable[[int], None], images: int, device: torch.device) -> float:
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    best = math.inf
    for _ in range(TIMES):
        synchronise()
        start = time.perf_counter()
        run(images)
        synchronise()
        best = min(best, time.perf_counter() - start)
        if best > LONG:
            break
    return best


def shown_hours(hours: float) -> str:
    """Return a duration in the unit that people would use."""
    if hours * 3600 < 90:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1.5 else f"{hours:.1f} h"
