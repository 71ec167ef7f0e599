"""The archives CIFAR-10-C and CIFAR-100-C as their authors publish them.

Hendrycks and Dietterich 2019 (1903.12261). A folder with one NAME.npy per corruption, uint8 [5 m, s, s, 3] (50,000 of
32 x 32), severities 1 to 5 in blocks of m, and labels.npy, [5 m], the same m labels in every block. The images are
those of the test split in the order of the original archive.

Shapes: m images per block, s side, r rows.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.corruptions.array_files import ArrayFiles
from sslkuramoto.evaluation.corruptions.corrupt import CORRUPTIONS
from sslkuramoto.evaluation.corruptions.strengths import SEVERITIES

EXTRA = ("gaussian_blur", "saturate", "spatter", "speckle_noise")  # in the archives, never in the mean of the 15


class Archive:
    """An archive, memory-mapped: only the requested images are read.

    Args:
        folder: of the files, or the downloaded tar file.
        names: corruptions that will be read.
        size: side of the network's images.
        classes: number of classes of the network.

    Attributes:
        labels: of one block.

    Raises:
        UserError: a missing file, one that is not such an array, images of another size, labels of other classes.
    """

    def __init__(self, folder: Path, names: tuple[str, ...], *, size: int, classes: int) -> None:
        self._files = ArrayFiles(folder)
        self.folder = folder
        self.labels = self._labels(classes)
        block = len(self.labels)
        wanted = (len(SEVERITIES) * block, size, size, 3)
        self._arrays = {name: self._images(name, wanted) for name in names}

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, name: str, severity: int, rows: Int64[Tensor, " r"]) -> UInt8[Tensor, "r 3 s s"]:
        """Return some images of a corruption at a severity, on the CPU."""
        start = (severity - SEVERITIES[0]) * len(self)
        levels = np.asarray(self._arrays[name][(rows + start).numpy()])
        return torch.from_numpy(levels).permute(0, 3, 1, 2).contiguous()

    def file(self, name: str) -> Path:
        """Return the file that holds an array: its own, or the tar file."""
        return self._files.file(name)

    def _labels(self, classes: int) -> Int64[Tensor, " m"]:
        labels = self._files.array("labels")
        count = len(SEVERITIES)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0 or len(labels) % count:
            raise UserError(
                f"archive={self.folder}: labels.npy is {labels.dtype} {list(labels.shape)}; "
                f"must be whole numbers [50000], one per image of {count} blocks"
            )
        blocks = np.asarray(labels).astype(np.int64).reshape(count, -1)
        if (blocks != blocks[0]).any():
            raise UserError(f"archive={self.folder}: the {count} blocks of labels.npy differ; must be the same labels")
        if blocks.min() < 0 or blocks.max() >= classes:
            raise UserError(
                f"archive={self.folder}: labels range from {blocks.min()} to {blocks.max()}; "
                f"the run has {classes} classes, 0 to {classes - 1}"
            )
        return torch.from_numpy(blocks[0].copy())

    def _images(self, name: str, wanted: tuple[int, ...]) -> np.ndarray:
        array = self._files.array(name)
        if array.dtype != np.uint8 or array.shape != wanted:
            raise UserError(
                f"archive={self.folder}: {name}.npy is {array.dtype} {list(array.shape)}; must be uint8 {list(wanted)}"
            )
        return array


def checked_names(wanted: Iterable[str], *, archive: bool) -> tuple[str, ...]:
    """Return the names of corruptions, all known to the source.

    Raises:
        UserError: text in place of a list, none, one that is unknown, one twice.
    """
    if isinstance(wanted, str):
        listed = ", ".join(part.strip(" []()") for part in wanted.split(","))
        raise UserError(f"corruptions={wanted}: must be a list: did you mean corruptions=[{listed}]?")
    names = tuple(wanted)
    known = [*CORRUPTIONS, *(EXTRA if archive else ())]
    if not names:
        raise UserError(f"corruptions: must name at least one of {', '.join(known)}")
    for name in names:
        if name in EXTRA and not archive:
            raise UserError(f"corruptions: {name} exists in the archives only (source=archive)")
        if name not in known:
            raise unknown("corruption", name, known)
        if names.count(name) > 1:
            raise UserError(f"corruptions: {name} is named twice")
    return names
