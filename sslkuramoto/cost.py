"""The cost of a measurement before it runs: counted passes of the network, and its timed duration on this device."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from sslkuramoto.durations import shown_time

FEW = 8
"""Images of the first timed pass."""
LONG = 5.0
"""A pass that takes longer (seconds) is timed once, and not with more images."""
TIMES = 3  # measurements of a pass, of which the fastest counts


class Passes(NamedTuple):
    """Number of passes of single images.

    Attributes:
        forward: forward passes without a gradient.
        backward: forward passes followed by a backward pass.
    """

    forward: int
    backward: int = 0

    def plus(self, other: "Passes", times: int = 1) -> "Passes":
        """Return the sum of this and ``times`` times the other."""
        return Passes(self.forward + times * other.forward, self.backward + times * other.backward)


@dataclass(frozen=True)
class Cost:
    """Upper bound of the cost of a measurement.

    Attributes:
        images: number of measured images.
        passes: purpose -> passes of all images together.
        seconds: their duration on this device, in one process.
        notes: sentences for a reader of the estimate.
        early: whether images that are broken early cost less.
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

    def lines(self) -> list[str]:
        """Return the estimate as text: one line per purpose, and one for the whole."""
        early = "; images that are broken early cost less" if self.early else ""
        return [
            *(
                f"{name}: {each.forward:,} forward" + f", {each.backward:,} forward and backward" * bool(each.backward)
                for name, each in self.passes.items()
            ),
            *self.notes,
            f"together at most {self.forward:,} forward passes and {self.backward:,} forward and backward passes of "
            f"single images: {shown_time(self.seconds)} on this device (from timed passes{early})",
        ]


def seconds_of(run: Callable[[int], None], most: int, device: torch.device) -> float:
    """Return the seconds per image of a pass, the fastest of three.

    Args:
        run: makes a pass with the given number of images.
        most: images per pass. A few are timed first; all only if that does not take long.
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
