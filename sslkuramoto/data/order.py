"""The order in which examples are read: each once for evaluation, a permutation by (seed, epoch) for training."""

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator


def in_order(n: int, batch_size: int) -> list[Int64[Tensor, " b"]]:
    """Return the batches of 0, 1, ..., n - 1 in order; the last one may be smaller.

    Raises:
        UserError: ``batch_size`` is below 1.
    """
    _check_batch_size(batch_size)
    return list(torch.arange(n).split(batch_size)) if n else []


def shuffled(
    n: int, batch_size: int, *, seed: int, epoch: int, start: int = 0, rank: int = 0, world_size: int = 1
) -> list[Int64[Tensor, " b"]]:
    """Return the training batches of one epoch that this process reads.

    The permutation is a pure function of (seed, epoch). The last, incomplete batch is dropped; it holds other examples
    in each epoch. The batches of all processes together are exactly those of a single process.

    Args:
        n: number of examples in the training set.
        batch_size: examples per batch, over all processes.
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        start: number of batches to skip at the beginning of the epoch, for a resumed run.
        rank: number of this process, from 0.
        world_size: number of processes.

    Returns:
        One index tensor per batch, on the CPU.

    Raises:
        UserError: the batch is larger than the set, or not divisible by the number of processes.
    """
    _check_batch_size(batch_size)
    if batch_size > n:
        raise UserError(
            f"batch_size={batch_size} is larger than the training set ({n} images); write batch_size={n} or less"
        )
    if batch_size % world_size:
        raise UserError(f"batch_size={batch_size}: must be divisible by the number of processes ({world_size})")
    assert 0 <= rank < world_size
    assert start >= 0
    assert epoch >= 0
    permutation = torch.randperm(n, generator=generator("cpu", seed, "order", epoch))
    full = permutation[: n // batch_size * batch_size].view(-1, batch_size)
    share = batch_size // world_size
    return list(full[start:, rank * share : (rank + 1) * share].unbind(0))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}: must be >= 1")
