"""Which images of a source make up a split: holdout and limit, seeded and balanced over the classes.

Two orders of the images do it all. In the *balanced* order the first images of every class come first, then the
second ones, and so on: its first N images are as equal in number over the classes as can be. In the *proportional*
order each class is spread evenly: its first N images have the shares of the whole. Within a class both are random.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.randomness import generator
from sslkuramoto.values import Count, ShareBelowOne, checked

SPLITS = ("train", "val", "test")


@checked
@dataclass(frozen=True)
class Choice:
    """The options that every source has in common.

    Attributes:
        size: side in pixels that images are resized and centre-cropped to; None keeps their own.
        limit: use only this many of the source's training images (balanced over the classes); None for all.
        limit_test: the same for a test part, and for a val part that the source itself brings.
        holdout: share of the training images, after ``limit``, that is set aside as "val"; in [0, 1).
        split_seed: names every choice made here.
        device_resident: True keeps the decoded set on the device, False streams it through DataLoader workers,
            "auto" decides by its size (1 GiB).
    """

    size: Count | None = None
    limit: Count | None = None
    limit_test: Count | None = None
    holdout: ShareBelowOne = 0.0
    split_seed: int = 0
    device_resident: Literal["auto"] | bool = "auto"

    def __post_init__(self) -> None:
        if self.size == 1:
            raise UserError("size=1: must be >= 2; an image of one pixel shows nothing")

    def part(self, split: str, parts: tuple[str, ...], where: str) -> str:
        """Return the part of the source that ``split`` is taken from.

        Args:
            split: "train", "val" or "test".
            parts: which of them the source itself brings.
            where: the source's name in errors.
        """
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        if split == "val" and self.holdout:
            split = "train"
        if split in parts:
            return split
        if split == "val":
            raise UserError(f"holdout={self.holdout}: {where} has no val images of its own; set, say, holdout=0.1")
        raise UserError(f"{where} has no {split} images, only {', '.join(parts)}")

    def indices(self, split: str, part: str, n: int, labels: Int64[Tensor, " n"] | None) -> Int64[Tensor, " m"]:
        """Return the sorted places of the images of ``split`` among the ``n`` images of ``part``."""
        key, limit = ("limit", self.limit) if part == "train" else ("limit_test", self.limit_test)
        chosen = torch.arange(n)
        if limit is not None:
            if limit > n:
                raise UserError(f"{key}={limit}: there are only {n} {part} images")
            chosen = balanced(n, labels, seed=self.split_seed, key=f"{key} {part}")[:limit].sort().values
        if part == "train" and self.holdout:
            kept_labels = None if labels is None else labels[chosen]
            order = proportional(len(chosen), kept_labels, seed=self.split_seed, key="holdout")
            aside = round(self.holdout * len(chosen))
            if not 0 < aside < len(chosen):
                raise UserError(f"holdout={self.holdout}: sets aside {aside} of {len(chosen)} training images")
            chosen = chosen[(order[:aside] if split == "val" else order[aside:]).sort().values]
        return chosen


def share_aside(n: int, labels: Int64[Tensor, " n"] | None, share: float, seed: int) -> Bool[Tensor, " n"]:
    """Return which of ``n`` images are set aside for measuring: ``share`` of every class, chosen at random.

    Raises:
        UserError: that leaves no image on one of the two sides.
    """
    aside = round(share * n)
    if not 0 < aside < n:
        raise UserError(f"val_share={share}: sets aside {aside} of {n} images")
    chosen = torch.zeros(n, dtype=torch.bool)
    chosen[proportional(n, labels, seed=seed, key="val_share")[:aside]] = True
    return chosen


def balanced(n: int, labels: Int64[Tensor, " n"] | None, *, seed: int, key: str) -> Int64[Tensor, " n"]:
    """Return a random order of ``n`` images that takes from the classes in turn."""
    rank, _ = _ranks(n, labels, seed, key)
    return _ordered(rank, labels)


def proportional(n: int, labels: Int64[Tensor, " n"] | None, *, seed: int, key: str) -> Int64[Tensor, " n"]:
    """Return a random order of ``n`` images in which every beginning has the classes' shares of the whole."""
    rank, count = _ranks(n, labels, seed, key)
    return _ordered((rank + 0.5) / count, labels)


def _ranks(
    n: int, labels: Int64[Tensor, " n"] | None, seed: int, key: str
) -> tuple[Float64[Tensor, " n"], Int64[Tensor, " n"]]:
    """Return each image's random rank within its class and the size of its class."""
    labels = torch.zeros(n, dtype=torch.int64) if labels is None else labels
    permutation = torch.randperm(n, generator=generator("cpu", seed, key))
    by_class = permutation[labels[permutation].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.empty(n, dtype=torch.float64)
    rank[by_class] = (torch.arange(n) - starts[labels[by_class]]).double()
    return rank, counts[labels]


def _ordered(place: Float64[Tensor, " n"], labels: Int64[Tensor, " n"] | None) -> Int64[Tensor, " n"]:
    """Return the images sorted by place, then by class."""
    by_class = torch.arange(len(place)) if labels is None else labels.argsort(stable=True)
    return by_class[place[by_class].argsort(stable=True)]
