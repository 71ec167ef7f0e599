"""Data sets of images, in memory or streamed.

A small set is one uint8 tensor, which moves to the device once. A large set is decoded by DataLoader workers. Both give
the same pixels, because both come from the same decoded uint8 images.

Shapes: b batch, n images, s side of the square images.
"""

import hashlib
import multiprocessing
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sslkuramoto.data.data_set import DataSet
from sslkuramoto.data.images.pixels import Frame
from sslkuramoto.data.images.readers import Samples
from sslkuramoto.errors import UserError, say_once
from sslkuramoto.examples import Batch, DeclaredImages, Images, UnsizedImages

T = TypeVar("T")

SAMPLED = 256
"""Number of images of a streamed set whose content is hashed, spread evenly; it distinguishes a copy of the files."""
PLACEHOLDER = 32  # pixels: the side with which recipes are checked where only the images have it


def own_side(pixels: int) -> Callable[[T], T]:
    """Let a source declare the side of its images, in pixels, which they keep where the option ``size`` is null."""

    def declare(source: T) -> T:
        cast(Any, source).own_side = pixels
        return source

    return declare


class ImageSet(DataSet):
    """The images of one split.

    Attributes:
        name, split, fingerprint: see :class:`~sslkuramoto.data.data_set.DataSet`.
        classes: class names, indexed by label; None for unlabelled images.
        labels: int64 class of each image, shape "n", on the CPU; None for unlabelled images.
        size: side of the images in pixels; they have three channels, which are equal for a grey image.
    """

    classes: tuple[str, ...] | None
    labels: Tensor | None
    size: int

    @property
    def spec(self) -> Images:
        return Images(self.size, None if self.classes is None or self.labels is None else len(self.classes))

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return self.classes

    def with_classes(self, names: tuple[str, ...]) -> "ImageSet":
        assert self.classes is not None
        assert self.labels is not None
        place = torch.tensor([names.index(name) for name in self.classes])
        copied = copy(self)
        object.__setattr__(copied, "classes", names)  # the dataclass is frozen
        object.__setattr__(copied, "labels", place[self.labels])
        return copied

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Images:
        size = options.get("size")
        return UnsizedImages(PLACEHOLDER, 2) if size is None else DeclaredImages(size, 2)

    def batches(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Batch]:
        for indices, pixels in zip(order, self.pixels(order, device, workers), strict=True):
            labels = None if self.labels is None else self.labels[indices].to(device, non_blocking=True)
            floats = pixels if pixels.is_floating_point() else pixels.to(torch.float32).div_(255)
            yield Batch(floats, labels, indices)

    @abstractmethod
    def pixels(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Tensor]:
        """Yield the images of each index tensor of ``order``, shape "b 3 size size", on ``device``.

        They are uint8 as decoded; or float32 in [0, 1], unchanged, if the set was given as such.
        """


def image_set(data: DataSet) -> ImageSet:
    """Return a data set of images as an ImageSet.

    Raises:
        UserError: it is not one, although its source declares images (a source of another package).
    """
    if not isinstance(data, ImageSet):
        raise UserError(f"data {data.name}, split {data.split}: {type(data).__name__} gives images but is no ImageSet")
    return data


@dataclass(frozen=True, eq=False)
class MemorySet(ImageSet):
    """A decoded image set in memory, which moves to a device once."""

    name: str
    split: str
    classes: tuple[str, ...] | None
    labels: Int64[Tensor, " n"] | None
    size: int
    fingerprint: str
    images: UInt8[Tensor, "n 3 s s"]
    notes: tuple[str, ...] = ()
    _resident: dict[torch.device, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def on(self, device: torch.device) -> UInt8[Tensor, "n 3 s s"]:
        """Return the images on ``device``, where they stay until another device is requested."""
        if device not in self._resident:
            self._resident.clear()
            self._resident[device] = self.images.to(device)
        return self._resident[device]

    def pixels(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Tensor]:
        images = self.on(device)
        for indices in order:
            yield images[indices.to(device)]


class TensorSet(ImageSet):
    """Labelled images given as a tensor of float32 pixels in [0, 1], which are returned unchanged.

    Args:
        images: pixels in [0, 1].
        labels: class of each image, on the CPU.
        classes: class names, indexed by label.
        split: the split that the images represent.
    """

    name = "images"

    def __init__(
        self, images: Float[Tensor, "n 3 s s"], labels: Int64[Tensor, " n"], classes: tuple[str, ...], split: str
    ) -> None:
        self.images, self.labels, self.classes, self.split = images, labels, classes, split
        self.size = images.shape[-1]
        digest = hashlib.blake2b(f"{split} {tuple(images.shape)} {len(classes)}".encode(), digest_size=16)
        for part in (images, labels):
            digest.update(part.detach().cpu().contiguous().numpy().data)
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Tensor]:
        for indices in order:
            yield self.images[indices.to(self.images.device)].to(device)


@dataclass(frozen=True, eq=False)
class StreamedSet(ImageSet):
    """An image set that is decoded while it is read; ``chosen`` are the indices of its images in ``samples``."""

    name: str
    split: str
    classes: tuple[str, ...] | None
    labels: Int64[Tensor, " n"] | None
    size: int
    fingerprint: str
    samples: Samples
    chosen: Int64[Tensor, " n"]
    frame: Frame
    covers = "names, sizes and times"  # the content is read only during use
    notes: tuple[str, ...] = ()

    @cached_property
    def stamp(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for place in self.chosen.tolist():
            digest.update(f"{self.samples.stamp(place)}\x1e".encode())
        return digest.hexdigest()

    def sampled_content(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for number in range(min(SAMPLED, len(self))):
            place = int(self.chosen[number * len(self) // min(SAMPLED, len(self))])
            digest.update(hashlib.blake2b(self.samples.encoded(place)).digest())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.chosen)

    def pixels(self, order: Sequence[Tensor], device: torch.device, workers: int) -> Iterator[Tensor]:
        workers = workers_with_room(workers, max(map(len, order), default=1) * 3 * self.size**2)
        loader: DataLoader[Any] = DataLoader(
            _Decoded(self.samples, self.chosen, self.frame),
            batch_sampler=map(Tensor.tolist, order),  # one by one: an epoch of lists of numbers fills the memory
            collate_fn=_collated,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # otherwise the loader draws from the global generator
            worker_init_fn=_apart,
        )
        for pixels in loader:
            if isinstance(pixels, _Broken):
                raise UserError(pixels.message)
            yield pixels.to(device, non_blocking=True)


def _apart(worker: int) -> None:
    """Leave the group of processes of a loader's parent.

    A terminal, torchrun and SLURM send their signals to the whole group: the workers would die of one that asks the run
    to write a checkpoint, and the run of their death. They end with their parent, however it ends.
    """
    os.setpgrp()


def workers_with_room(wanted: int, batch_bytes: int) -> int:
    """Return how many loader processes fit into the shared memory of this machine; a reduction is reported once.

    A container may have only 64 MiB of shared memory, or none that is writable. A worker that finds it full dies, and
    the loader would wait forever.

    Args:
        wanted: requested number of processes.
        batch_bytes: size of a decoded batch in bytes; a process holds two complete ones and one that it fills.
    """
    memory = Path("/dev/shm")
    if not wanted or not memory.is_dir():
        return wanted
    try:
        multiprocessing.get_context().Semaphore()
        found = os.statvfs(memory)
        room = found.f_bavail * found.f_frsize // (3 * batch_bytes)
    except OSError:
        room = 0
    if room < wanted:
        say_once(
            f"engine.workers={wanted}: shared memory (/dev/shm) has room for {room};"
            f" {'images are decoded in this process' if not room else 'the others are left out'}"
        )
    return min(wanted, room)


class _Broken(NamedTuple):
    """A worker's UserError as a value, because the loader would wrap a raised one in a traceback."""

    message: str


@dataclass(frozen=True)
class _Decoded(Dataset[Any]):
    samples: Samples
    chosen: Tensor
    frame: Frame

    def __getitem__(self, index: int) -> Tensor | _Broken:
        place = int(self.chosen[index])
        try:
            return self.frame.fit(self.samples.pixels(place), self.samples.where(place))
        except UserError as error:
            return _Broken(str(error))


def _collated(images: list[Any]) -> Tensor | _Broken:
    broken = [item for item in images if isinstance(item, _Broken)]
    return broken[0] if broken else torch.stack(images)
