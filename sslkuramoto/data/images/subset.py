"""The choice of a source's images for a split (holdout and limit), seeded and stratified by class.

It uses two orders of the images, both random within a class. The *balanced* order takes one image of every class in
turn, so that its first N images have class counts as equal as possible. The *proportional* order spreads each class
evenly, so that its first N images have the class proportions of the whole. Which classes come first, where N does not
give each the same, is random too. Labels matter by their order alone: numbers that no image has change nothing.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.randomness import generator
from sslkuramoto.values import Count, Mark, ShareBelowOne, Side, checked

SPLITS = ("train", "val", "test")
Limit = Annotated[Count | None, Mark.HELD_OUT]
Holdout = Annotated[ShareBelowOne, Mark.HELD_OUT]
SplitSeed = Annotated[int, Mark.HELD_OUT]
"""Of limits and of the holdout alone."""
UnseenSeed = Annotated[int, Mark.UNSEEN]
"""Also of the division into training and test images."""


@checked
@dataclass(frozen=True)
class Choice:
    """The options that all image sources share.

    Attributes:
        size: side in pixels to which images are resized and centre-cropped (null: their own size).
        limit: number of training images to use, balanced over the classes (null: all).
        limit_test: number of test images to use, balanced over the classes (null: all). It also holds for validation
            images of the source itself.
        holdout: share of the training images, after the limit, that is set aside as the val split.
        split_seed: seed of limits and of the holdout.
        device_resident: whether the decoded set stays on the device (false: streamed by DataLoader workers; "auto":
            stays if it has at most 1 GiB).
    """

    size: Side | None = None
    limit: Count | None = None
    limit_test: Count | None = None
    holdout: ShareBelowOne = 0.0
    split_seed: int = 0
    device_resident: Literal["auto"] | bool = "auto"

    def __post_init__(self) -> None:
        if self.size == 1:
            raise UserError("size=1: must be >= 2; an image of one pixel shows nothing")

    def part(self, split: str, parts: tuple[str, ...], where: str) -> str:
        """Return the part of the source from which ``split`` is taken.

        Args:
            split: "train", "val" or "test".
            parts: the parts that the source itself has.
            where: name of the source for error messages.

        Raises:
            UserError: the source has no such images.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if split == "val" and self.holdout:
            split = "train"
        if split in parts:
            return split
        if split == "val":
            raise UserError(f"holdout={self.holdout}: {where} has no val images of its own; set e.g. holdout=0.1")
        raise UserError(f"{where} has no {split} images, only {', '.join(parts)}")

    def indices(self, split: str, part: str, n: int, strata: Int64[Tensor, " n"] | None) -> Int64[Tensor, " m"]:
        """Return the sorted indices of the images of ``split`` among the ``n`` images of ``part``.

        Args:
            split: "train", "val" or "test".
            part: the part of the source from which the split is taken.
            n: number of its images.
            strata: class of each, or the group that stands for it (None: all are alike).

        Raises:
            UserError: a limit exceeds ``n``, or the holdout leaves no image on one side.
        """
        key, limit = ("limit", self.limit) if part == "train" else ("limit_test", self.limit_test)
        chosen = torch.arange(n)
        if limit is not None:
            if limit > n:
                raise UserError(f"{key}={limit}: there are only {n} {part} images")
            chosen = balanced(n, strata, seed=self.split_seed, key=f"{key} {part}")[:limit].sort().values
        if part == "train" and self.holdout:
            kept = None if strata is None else strata[chosen]
            order = proportional(len(chosen), kept, seed=self.split_seed, key="holdout")
            aside = round(self.holdout * len(chosen))
            if not 0 < aside < len(chosen):
                raise UserError(f"holdout={self.holdout}: sets aside {aside} of {len(chosen)} training images")
            chosen = chosen[(order[:aside] if split == "val" else order[aside:]).sort().values]
        return chosen


def share_aside(n: int, strata: Int64[Tensor, " n"] | None, share: float, seed: int) -> Bool[Tensor, " n"]:
    """Return which of ``n`` images are set aside for evaluation: ``share`` of every stratum, chosen at random.

    Raises:
        UserError: one of the two sides would have no image.
    """
    aside = round(share * n)
    if not 0 < aside < n:
        raise UserError(f"val_share={share}: sets aside {aside} of {n} images")
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[proportional(n, strata, seed=seed, key="val_share")[:aside]] = True
    return chosen


def balanced(n: int, labels: Int64[Tensor, " n"] | None, *, seed: int, key: str) -> Int64[Tensor, " n"]:
    """Return a random order of ``n`` images that takes one image of every class in turn."""
    labels = _compact(n, labels)
    rank, _ = _ranks(labels, seed, key)
    return _ordered(rank, _random_turns(labels, seed, key))


def proportional(
    n: int, labels: Int64[Tensor, " n"] | None, *, seed: int, key: str, lower_class_first: bool = False
) -> Int64[Tensor, " n"]:
    """Return a random order of ``n`` images whose first N images have the class proportions of the whole, for any N.

    Args:
        n: number of images.
        labels: class of each (None: all are of one class).
        seed: of the order.
        key: what the order is for.
        lower_class_first: whether of two classes with equal claims that of the lower number comes first, as in the
            divisions for which numbers are published (False: that which a random order of the classes has first).
    """
    labels = _compact(n, labels)
    rank, count = _ranks(labels, seed, key)
    return _ordered((rank + 0.5) / count, labels if lower_class_first else _random_turns(labels, seed, key))


def _compact(n: int, labels: Int64[Tensor, " n"] | None) -> Int64[Tensor, " n"]:
    """Return the labels as 0, 1, ... without gaps."""
    return torch.zeros(n, dtype=torch.int64) if labels is None else labels.unique(return_inverse=True)[1]


def _ranks(labels: Int64[Tensor, " n"], seed: int, key: str) -> tuple[Float64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return the random rank of each image within its class, and the size of its class."""
    permutation = torch.randperm(len(labels), generator=generator("cpu", seed, key))
    by_class = permutation[labels[permutation].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty(len(labels), dtype=torch.float64)
    rank[by_class] = (torch.arange(len(labels)) - starts[labels[by_class]]).double()
    return rank, counts[labels]


def _random_turns(labels: Int64[Tensor, " n"], seed: int, key: str) -> Int64[Tensor, " n"]:
    """Return the place of the class of each image in a random order of the classes."""
    classes = int(labels.max()) + 1 if len(labels) else 0
    return torch.randperm(classes, generator=generator("cpu", seed, key, "classes"))[labels]


def _ordered(place: Float64[Tensor, " n"], turn: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Return the indices of the images, sorted by ``place`` and then by the turn of their class."""
    by_class = turn.argsort(stable=True)
    return by_class[place[by_class].argsort(stable=True)]
