"""The time and memory of a training step on some machines, from counted work: a model with three terms.

Compute: products, bytes and the softmax weights of attention, each at its sustained rate, one after the other; on a GPU
never faster than operations can be started, on a CPU that comes on top. All-reduce: a ring, 2 (n - 1) / n times the
bytes of the gradients, and a latency for every message (DDP; FSDP2 is not modelled). Data: images that workers decode
in a second. A step takes compute and all-reduce one after the other (DDP overlaps them: this is an upper bound), or the
data if they take longer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from scale.counted import FLOAT, Counted, Work
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Recipe

GIB = 2**30
UPDATE = 10
"""Times that an update reads or writes a number of the size of the weights."""
BUCKET = 25 * 2**20
"""Bytes of gradients that DDP reduces in one message."""


@dataclass(frozen=True)
class Machine:
    """What a process computes with.

    Attributes:
        flops: sustained floating-point operations per second, by precision of a recipe.
        bandwidth: sustained bytes per second that operations read and write.
        scores: softmax weights of attention that are computed per second.
        start: seconds that starting an operation takes.
        ahead: whether operations are started while earlier ones are carried out, as on a GPU.
        memory: bytes.
        beyond: factor on counted memory, for workspaces of libraries and what the allocator cannot reuse.
        decoded: images per second that one worker decodes.
    """

    flops: dict[str, float]
    bandwidth: float
    scores: float
    start: float
    ahead: bool
    memory: float
    beyond: float
    decoded: float


@dataclass(frozen=True)
class Network:
    """How processes reach each other.

    Attributes:
        bandwidth: bytes per second of one process to the next one in the ring.
        latency: seconds of a message, however short.
    """

    bandwidth: float
    latency: float


class Step(NamedTuple):
    """Seconds of a step.

    Attributes:
        compute: of network, views and update.
        reduce: of the all-reduce.
        data: of decoding.
    """

    compute: float
    reduce: float
    data: float

    @property
    def seconds(self) -> float:
        """Return those of the whole step."""
        return max(self.compute + self.reduce, self.data)


def compute_seconds(work: Work, machine: Machine, precision: str) -> float:
    """Return the seconds of some work on one device."""
    carried_out = work.flop / machine.flops[precision] + work.moved / machine.bandwidth + work.scores / machine.scores
    started = work.operations * machine.start
    return max(carried_out, started) if machine.ahead else carried_out + started


def reduce_seconds(size: float, messages: float, processes: int, network: Network) -> float:
    """Return the seconds of an all-reduce by a ring.

    Args:
        size: bytes of the gradients.
        messages: that are sent one after the other.
        processes: in the ring.
        network: between them.
    """
    if processes == 1:
        return 0.0
    share = 2 * (processes - 1) / processes
    return share * size / network.bandwidth + messages * network.latency


def step_of(
    counted: Counted, recipe: Recipe, accumulate: int, processes: int, machine: Machine, network: Network | None
) -> Step:
    """Return the seconds of one optimiser step.

    Args:
        counted: the work of one part of a batch in one process.
        recipe: batch, precision and workers.
        accumulate: parts in one process.
        processes: that share a batch.
        machine: of each.
        network: between them; None for one.
    """
    precision = recipe.engine.precision
    update = UPDATE * FLOAT * counted.trainable / machine.bandwidth
    part = compute_seconds(counted.network, machine, precision) + compute_seconds(counted.views, machine, precision)
    messages = math.ceil(counted.gradients / BUCKET) + accumulate * counted.network.messages
    reduced = 0.0 if network is None else reduce_seconds(counted.gradients, messages, processes, network)
    decoded = recipe.batch_size / processes / (max(recipe.engine.workers, 1) * machine.decoded)
    return Step(accumulate * part + update, reduced, decoded)


def memory_of(counted: Counted, machine: Machine, processes: int) -> float:
    """Return the bytes that a process needs: weights, optimizer, buffers of DDP, and the most that a step has alive."""
    buckets = counted.gradients if processes > 1 else 0.0
    return (counted.fixed + buckets + counted.network.peak) * machine.beyond


def parts_that_fit(
    recipe: Recipe, at: Callable[[int], Counted], machine: Machine, processes: int
) -> tuple[int, Counted]:
    """Return the smallest number of parts (a power of two) whose memory fits, and the work of one.

    Raises:
        UserError: not even parts of two images fit.
    """
    parts = recipe.accumulate
    while recipe.batch_size // (parts * processes) >= 2:
        counted = at(recipe.batch_size // (parts * processes))
        if memory_of(counted, machine, processes) <= machine.memory:
            return parts, counted
        parts *= 2
    raise UserError(f"two images at once need more than {machine.memory / GIB:.0f} GiB")
