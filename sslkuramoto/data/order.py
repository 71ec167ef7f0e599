"""In which order images are read: once each for evaluation, a permutation named by (seed, epoch) for training."""

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator


def in_order(n: int, batch_size: int) -> list[Int64[Tensor, " b"]]:
    """Return every index below ``n`` exactly once, in order; the last batch may be short."""
    _check_batch_size(batch_size)
    return list(torch.arange(n).split(batch_size)) if n else []


def shuffled(
    n: int, batch_size: int, *, seed: int, epoch: int, start: int = 0, rank: int = 0, world_size: int = 1
) -> list[Int64[Tensor, " b"]]:
    """Return the training batches of one epoch, as this process reads them.

    The permutation is a pure function of (seed, epoch). The last incomplete batch is dropped; it is another one in each
    epoch. Over the ranks the slices of one batch make up exactly the batch of a single process.

    Args:
        n: images in the training set.
        batch_size: of all processes together.
        seed: the run's seed.
        epoch: from 0.
        start: batches to leave out at the beginning (resume).
        rank: this process.
        world_size: all processes.

    Raises:
        UserError: a batch that is larger than the set or not divisible by the processes.
    """
    _check_batch_size(batch_size)
    if batch_size > n:
        raise UserError(f"batch_size={batch_size} is larger than the training set ({n} images)")
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
