"""limit and holdout: seeded, balanced, disjoint."""

from collections.abc import Callable

import pytest
import torch

from sslkuramoto.data.images.subset import Choice, balanced, proportional
from sslkuramoto.errors import UserError

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100, generator=torch.Generator().manual_seed(1))]


def counts(indices: torch.Tensor) -> list[int]:
    return torch.bincount(LABELS[indices], minlength=3).tolist()


def test_orders_are_permutations() -> None:
    for order in (balanced, proportional):
        assert order(100, LABELS, seed=0, key="k").sort().values.tolist() == list(range(100))
        assert order(100, None, seed=0, key="k").sort().values.tolist() == list(range(100))


def test_orders_depend_on_seed_and_key_only() -> None:
    first = balanced(100, LABELS, seed=0, key="k")
    torch.manual_seed(5)
    assert torch.equal(first, balanced(100, LABELS, seed=0, key="k"))
    assert not torch.equal(first, balanced(100, LABELS, seed=1, key="k"))
    assert not torch.equal(first, balanced(100, LABELS, seed=0, key="l"))


def test_balanced_order_takes_from_classes_in_turn_until_one_is_empty() -> None:
    order = balanced(100, LABELS, seed=0, key="k")
    assert counts(order[:30]) == [10, 10, 10]
    assert counts(order[:31]) == [11, 10, 10]
    assert counts(order[:80]) == [30, 30, 20]


def test_proportional_order_keeps_class_shares() -> None:
    order = proportional(100, LABELS, seed=0, key="k")
    assert counts(order[:10]) == [5, 3, 2]
    assert counts(order[10:]) == [45, 27, 18]


@pytest.mark.parametrize("order", [balanced, proportional])
def test_which_classes_come_first_is_random_and_seeded(order: Callable[..., torch.Tensor]) -> None:
    labels = torch.arange(100).repeat_interleave(3)

    def first_classes(seed: int) -> set[int]:
        return set(labels[order(300, labels, seed=seed, key="k")[:60]].tolist())

    assert first_classes(0) == first_classes(0)
    assert all(len(first_classes(seed)) == 60 for seed in range(5)), "one image of each before a second of any"
    assert max(first_classes(0)) > 90
    assert len(set[int]().union(*map(first_classes, range(8)))) == 100, "no class is always left out"


def test_published_divisions_give_the_lower_class_first() -> None:
    labels = torch.arange(100).repeat_interleave(3)
    first = proportional(300, labels, seed=0, key="k", lower_class_first=True)[:60]
    assert labels[first].tolist() == list(range(60))


@pytest.mark.parametrize("order", [balanced, proportional])
def test_numbers_of_classes_that_no_image_has_change_nothing(order: Callable[..., torch.Tensor]) -> None:
    assert torch.equal(order(100, LABELS, seed=0, key="k"), order(100, 5 * LABELS + 2, seed=0, key="k"))


def test_a_smaller_limit_is_part_of_a_larger_one() -> None:
    small = set(Choice(limit=10).indices("train", "train", 100, LABELS).tolist())
    large = set(Choice(limit=40).indices("train", "train", 100, LABELS).tolist())
    assert small < large
    assert len(small) == 10


@pytest.mark.parametrize("labels", [LABELS, None])
@pytest.mark.parametrize("limit", [None, 60])
def test_train_and_val_divide_the_limited_images(labels: torch.Tensor | None, limit: int | None) -> None:
    choice = Choice(limit=limit, holdout=0.2)
    train = choice.indices("train", "train", 100, labels)
    val = choice.indices("val", "train", 100, labels)
    everything = Choice(limit=limit).indices("train", "train", 100, labels)
    assert len(val) == round(0.2 * len(everything))
    assert torch.cat([train, val]).sort().values.tolist() == everything.tolist()


def test_holdout_leaves_test_images_alone() -> None:
    assert len(Choice(holdout=0.5).indices("test", "test", 100, LABELS)) == 100


def test_limits_apply_to_their_own_part() -> None:
    choice = Choice(limit=10, limit_test=6)
    assert len(choice.indices("train", "train", 100, LABELS)) == 10
    assert len(choice.indices("test", "test", 100, LABELS)) == 6
    assert len(choice.indices("val", "val", 100, LABELS)) == 6


def test_val_is_held_out_or_the_source_s_own() -> None:
    assert Choice(holdout=0.1).part("val", ("train", "val", "test"), "x") == "train"
    assert Choice().part("val", ("train", "val", "test"), "x") == "val"
    with pytest.raises(UserError, match=r"holdout=0.0: x has no val images of its own; set e.g. holdout=0.1"):
        Choice().part("val", ("train", "test"), "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0: must be >= 1, or null"),
        ({"limit": 0}, "limit=0: must be >= 1, or null"),
        ({"limit_test": -1}, "limit_test=-1: must be >= 1, or null"),
        ({"holdout": 1.0}, r"holdout=1.0: must be in \[0, 1\)"),
        ({"holdout": -0.1}, r"holdout=-0.1: must be in \[0, 1\)"),
        ({"limit": 101}, "limit=101: there are only 100 train images"),
        ({"holdout": 0.001}, "holdout=0.001: sets aside 0 of 100 training images"),
        ({"holdout": 0.999}, "holdout=0.999: sets aside 100 of 100 training images"),
    ],
)
def test_options_out_of_range_are_named(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Choice(**options).indices("train", "train", 100, LABELS)


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown split 'tests': did you mean 'test'\? allowed: test, train, val"):
        Choice().part("tests", ("train",), "x")


def test_a_part_that_a_source_lacks_is_named() -> None:
    with pytest.raises(UserError, match="x has no test images, only train"):
        Choice().part("test", ("train",), "x")
