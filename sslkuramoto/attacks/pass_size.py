"""How many rows, images times draws, one pass with a gradient may have: found from the memory that a row needs.

The tensors that the backward pass needs are added up for passes of one and of three rows; their difference is the
memory of two rows. A pass may fill half of the free memory, the other half is for what a pass holds for a moment. More
rows than :data:`MOST` gain no speed. The number is a power of two, so that it rarely depends on what else is running.

Where draws or starts are keyed by the pass, :data:`ROWS` is used in its place: the number must not change the result.
"""

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.randomness import generator

ROWS = 128
"""Rows of a pass where they decide which draws an image gets (more if the batch itself is larger)."""
MOST = {"cpu": 128, "cuda": 1024}
"""Most rows of a pass by device (docs/performance.md)."""
T = TypeVar("T")

_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[torch.Size, torch.device], int]] = WeakKeyDictionary()


def rows_of_a_pass(encoder: Encoder, images: Float[Tensor, "b 3 y x"]) -> int:
    """Return the largest number of rows for images of this size.

    Args:
        encoder: makes two small passes when it is asked for the first time.
        images: give the size and the device; at least one.
    """
    known, place = _FOUND.setdefault(encoder, {}), (images.shape[1:], images.device)
    if place not in known:
        needed = max(1, (memory_of(encoder, images, 3) - memory_of(encoder, images, 1)) // 2)
        fits = int(free_memory(images.device) / 2 / needed)
        known[place] = max(1, min(MOST.get(images.device.type, ROWS), 2 ** (max(fits, 1).bit_length() - 1)))
    return known[place]


def with_rows(encoder: Encoder, images: Float[Tensor, "b 3 y x"], work: Callable[[int], T]) -> T:
    """Return ``work(rows)``; if the device runs out of memory, repeat it with half of the rows, for good.

    Raises:
        torch.OutOfMemoryError: a single row does not fit.
    """
    while True:
        rows = rows_of_a_pass(encoder, images)
        try:
            return work(rows)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
            _FOUND[encoder][images.shape[1:], images.device] = rows // 2


def memory_of(encoder: Encoder, images: Float[Tensor, "b 3 y x"], rows: int) -> int:
    """Return the bytes of all tensors that the backward pass to the pixels of ``rows`` images needs."""
    stored: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    leaf = images[:1].detach().repeat(rows, 1, 1, 1).requires_grad_()
    draw = generator(images.device, "pass size") if encoder.stochastic else None
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # of a copy and not a call of the module: this pass is none of the attack's
        held = type(encoder).forward(copy(encoder), leaf, draw=draw)
    del held
    return sum(stored.values())


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2**32  # not told: as on a small computer


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
