"""The choice of images for expensive protocols: the same for every run on the same data.

Shapes: n images, y x pixels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.data import DataSet, ImageSet, batches
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.sanity import check_classes
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.randomness import generator


class Chosen(NamedTuple):
    """The images a protocol works on.

    Attributes:
        pixels: in [0,1], on the device.
        labels: their classes.
        index: of each in its set.
        images: the set.
    """

    pixels: Float[Tensor, "n 3 y x"]
    labels: Int64[Tensor, " n"]
    index: Int64[Tensor, " n"]
    images: ImageSet


def chosen_images(subject: Subject, split: str, wanted: int | None, batch: int) -> Chosen:
    """Read the chosen images of a labelled split.

    Args:
        subject: data, device and head.
        split: "test" or "val".
        wanted: how many; None for all.
        batch: images read at once.

    Raises:
        UserError: fewer images than wanted, or another number of classes than the head has.
    """
    images = subject.images(split)
    check_classes(subject, images)
    index = chosen_indices(images, wanted)
    assert images.labels is not None
    return Chosen(pixels_of(subject, images, index, batch), images.labels[index].to(subject.device), index, images)


def pixels_of(subject: Subject, images: ImageSet, index: Int64[Tensor, " n"], batch: int) -> Float[Tensor, "n 3 y x"]:
    """Read images of a split, labelled or not, ``batch`` at a time; pixels in [0,1], on the subject's device."""
    read = batches(images, list(index.split(batch)), device=subject.device, workers=subject.workers)
    return torch.cat([part.inputs for part in read])


def chosen_indices(images: ImageSet, wanted: int | None) -> Int64[Tensor, " n"]:
    """Return the indices of the chosen images, sorted: a random choice that depends on the size of the set alone.

    Raises:
        UserError: there are fewer.
    """
    number = wanted_number(images, wanted)
    # not the first images of the set: folders are sorted by class
    draw = generator("cpu", "attacked images", len(images))
    return torch.randperm(len(images), generator=draw)[:number].sort().values


def wanted_number(images: DataSet, wanted: int | None) -> int:
    """Return how many examples are measured.

    Args:
        images: a split.
        wanted: how many; None for all.

    Raises:
        UserError: there are fewer.
    """
    if wanted is not None and wanted > len(images):
        raise UserError(f"images={wanted}: data {images.name!r}, split {images.split!r}, has only {len(images)}")
    return len(images) if wanted is None else wanted
