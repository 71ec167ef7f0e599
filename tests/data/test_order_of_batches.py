"""Evaluation reads each image once; training reads a permutation seeded by (seed, epoch)."""

import pytest
import torch

from sslkuramoto.data import in_order, shuffled
from sslkuramoto.errors import UserError


@pytest.mark.parametrize(("n", "size"), [(10, 4), (8, 4), (3, 7), (1, 1), (0, 4)])
def test_evaluation_reads_every_image_exactly_once(n: int, size: int) -> None:
    order = in_order(n, size)
    assert [i for batch in order for i in batch.tolist()] == list(range(n))
    assert all(len(batch) == size for batch in order[:-1])


def test_training_order_is_a_function_of_seed_and_epoch() -> None:
    torch.manual_seed(1)
    first = torch.cat(shuffled(100, 10, seed=3, epoch=2))
    torch.manual_seed(2)
    assert torch.equal(first, torch.cat(shuffled(100, 10, seed=3, epoch=2)))
    assert not torch.equal(first, torch.cat(shuffled(100, 10, seed=3, epoch=3)))
    assert not torch.equal(first, torch.cat(shuffled(100, 10, seed=4, epoch=2)))
    assert first.sort().values.tolist() == list(range(100))


def test_training_drops_only_the_last_incomplete_batch() -> None:
    order = shuffled(23, 5, seed=0, epoch=0)
    assert [len(batch) for batch in order] == [5, 5, 5, 5]
    assert torch.cat(order).unique().numel() == 20


def test_resuming_skips_the_first_batches() -> None:
    whole = shuffled(40, 8, seed=0, epoch=1)
    rest = shuffled(40, 8, seed=0, epoch=1, start=2)
    assert len(rest) == 3
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], rest, strict=True))


def test_ranks_share_each_batch_of_a_single_process() -> None:
    whole = shuffled(30, 6, seed=0, epoch=0)
    shares = [shuffled(30, 6, seed=0, epoch=0, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert torch.equal(batch, torch.cat([share[step] for share in shares]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 512},
            r"batch_size=512 is larger than the training set \(360 images\); write batch_size=360 or less",
        ),
        ({"batch_size": 0}, "batch_size=0: must be >= 1"),
        ({"batch_size": 9, "world_size": 2}, r"batch_size=9: must be divisible by the number of processes \(2\)"),
    ],
)
def test_impossible_batch_sizes_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        shuffled(360, seed=0, epoch=0, **options)
