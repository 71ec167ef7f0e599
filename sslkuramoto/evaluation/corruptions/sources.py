"""Sources of corrupted images: made here, or read from an archive. Both yield chunks of images with their indices.

Shapes: b batch, n measured images, s side.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.data import ImageSet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.subset import Chosen
from sslkuramoto.evaluation.corruptions.archive import Archive
from sslkuramoto.evaluation.corruptions.corrupt import WHITE, corrupted
from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.protocol import Subject


class Chunk(NamedTuple):
    """Images with pixels in [0,1] on the device, and their places in the set."""

    images: Float[Tensor, "b 3 s s"]
    index: Int64[Tensor, " b"]


def clean_chunks(chosen: Chosen, batch_size: int) -> Iterator[Chunk]:
    """Yield the images as they are."""
    for images, index in zip(chosen.pixels.split(batch_size), chosen.index.split(batch_size), strict=True):
        yield Chunk(images, index)


class Made:
    """Corruptions made here; the corrupted images are the same for all runs measured with the same seed.

    Args:
        chosen: the images.
        batch_size: images at once.
        seed: of the corruptions, not of the run.
    """

    def __init__(self, chosen: Chosen, batch_size: int, seed: int) -> None:
        self._chosen, self._batch_size, self._seed = chosen, batch_size, seed

    def chunks(self, name: str, severity: int) -> Iterator[Chunk]:
        """Yield the corrupted images; all severities of an image share their random numbers."""
        for images, index in clean_chunks(self._chosen, self._batch_size):
            draw = ImageDraws(index, images.device, "corruptions", self._seed, name)
            yield Chunk(corrupted(name, images, severity, draw), index)

    def described(self) -> dict[str, Any]:
        """Return the description of the source in a result."""
        return {"source": "ours", "corruption_seed": self._seed}


class Read:
    """Corruptions read from an archive.

    Args:
        subject: where the images go, and how many at once.
        archive: the files.
        index: which images of a block.
    """

    def __init__(self, subject: Subject, archive: Archive, index: Int64[Tensor, " n"]) -> None:
        self._device, self._archive = subject.device, archive
        self._order = index.split(subject.batch_size)
        self._index = index.numpy().tobytes()
        self._hashes: dict[str, hashlib.blake2b] = {}

    def chunks(self, name: str, severity: int) -> Iterator[Chunk]:
        """Yield the archive's images."""
        content = self._hashes.setdefault(name, hashlib.blake2b(digest_size=16))
        for index in self._order:
            levels = self._archive.images(name, severity, index)
            content.update(levels.numpy().tobytes())
            yield Chunk(levels.to(self._device).float() / WHITE, index)

    def described(self) -> dict[str, Any]:
        """Return the description of the source in a result, after reading: hashes of all images, and of each file's."""
        files = {name: content.hexdigest() for name, content in sorted(self._hashes.items())}
        whole = hashlib.blake2b(self._index + repr(files).encode(), digest_size=16)
        return {
            "source": "archive",
            "archive": self._archive.folder.name,
            "archive_fingerprint": whole.hexdigest(),
            "archive_files": files,
        }


def aligned(archive: Archive, images: ImageSet) -> None:
    """Check by the labels that an archive has the images of the split, in the same order.

    Raises:
        UserError: another number of images, or another order.
    """
    assert images.labels is not None
    where = f"archive={archive.folder}: {len(archive)} images per severity"
    if len(archive) != len(images):
        raise UserError(f"{where}, data {images.name!r}, split {images.split!r}, has {len(images)}: must be the same")
    wrong = int((archive.labels != images.labels.cpu()).sum())
    if wrong:
        raise UserError(
            f"{where}; the labels of {wrong} differ from data {images.name!r}, split {images.split!r}: must be "
            "the same images in the same order (that of the original CIFAR archive; a folder tree has another order)"
        )
