"""Random access to the images of one part of a source, in their own sizes and before any choice.

Shapes: n images, y x native height and width.
"""

import hashlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from sslkuramoto.data.images.files import ImageFiles
from sslkuramoto.data.images.pixels import centre_of, decode


@runtime_checkable
class Samples(Protocol):
    """Access to the images of a source; it is copied to DataLoader workers.

    Attributes:
        classes: class names, indexed by label; None for unlabelled images.
        labels: int64 class of each image, shape "n", on the CPU, known without decoding; or None.
    """

    @property
    def classes(self) -> tuple[str, ...] | None: ...
    @property
    def labels(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    def pixels(self, index: int) -> Tensor:
        """Return image ``index`` as uint8, "3 y x"; raises a UserError that names a damaged image."""
        ...

    def where(self, index: int) -> str:
        """Return the name of image ``index`` for error messages."""
        ...

    def digest(self, indices: Tensor) -> bytes:
        """Return a hash of the images at ``indices``, computed without decoding them."""
        ...

    def stamp(self, index: int) -> str:
        """Return a text that changes with image ``index``, found without reading it; empty for data in memory."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the stored bytes of image ``index``."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySamples:
    """Images that a source holds as one array; ``origin`` names the array in error messages."""

    images: UInt8[Tensor, "n 3 y x"]
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...] | None
    origin: str

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, index: int) -> UInt8[Tensor, "3 y x"]:
        return self.images[index]

    def where(self, index: int) -> str:
        return f"{self.origin}[{index}]"

    def digest(self, indices: Tensor) -> bytes:
        return hashlib.blake2b(self.images[indices].numpy().data).digest()

    def stamp(self, index: int) -> str:
        return ""

    def encoded(self, index: int) -> bytes:
        return self.images[index].numpy().tobytes()


@dataclass(frozen=True, eq=False)
class FileSamples:
    """Image files of a folder tree or a zip; the digest covers their names and sizes.

    Attributes:
        files, names, labels, classes: see :class:`Samples`.
        centre: share of the short side of the central square that is kept; 1 keeps the whole image.
    """

    files: ImageFiles
    names: tuple[str, ...]
    labels: Int64[Tensor, " n"] | None
    classes: tuple[str, ...] | None
    centre: float = 1.0

    def __len__(self) -> int:
        return len(self.names)

    def only(self, chosen: Bool[Tensor, " n"]) -> "FileSamples":
        """Return the images where ``chosen`` is true."""
        names = tuple(name for name, kept in zip(self.names, chosen.tolist(), strict=True) if kept)
        return FileSamples(self.files, names, None if self.labels is None else self.labels[chosen], self.classes)

    def pixels(self, index: int) -> UInt8[Tensor, "3 y x"]:
        name = self.names[index]
        return centre_of(decode(lambda: self.files.read(name), self.files.where(name)), self.centre)

    def where(self, index: int) -> str:
        return self.files.where(self.names[index])

    def stamp(self, index: int) -> str:
        return self.files.stamp(self.names[index])

    def encoded(self, index: int) -> bytes:
        return self.files.read(self.names[index])

    def digest(self, indices: Tensor) -> bytes:
        digest = hashlib.blake2b()
        for index in indices.tolist():
            name = self.names[index]
            digest.update(f"{name}\x1f{self.files.size(name)}\x1e".encode(errors="surrogateescape"))
        return digest.digest()
