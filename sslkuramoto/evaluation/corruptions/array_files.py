"""Memory-mapped arrays of an archive: a folder of NAME.npy, or the downloaded tar file."""

import tarfile
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from sslkuramoto.errors import UserError

ENDING = ".npy"
LABELS = f"labels{ENDING}"


class _Place(NamedTuple):
    """Start and size in bytes of an array file inside the tar file."""

    start: int
    size: int


class ArrayFiles:
    """The array files of one folder, unpacked or inside a tar file.

    Args:
        path: a folder with labels.npy, a folder that contains only such a folder, or an uncompressed tar of one.

    Raises:
        UserError: no such folder or tar file, or one without labels.npy, or with several.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._packed: dict[str, _Place] = {}
        if path.is_file():
            self._packed = self._in_tar()
            return
        if not path.is_dir():
            raise UserError(
                f"archive={path}: no such folder; CIFAR-10-C is a folder of NAME.npy and labels.npy, or its .tar"
            )
        inner = [folder for folder in path.iterdir() if folder.is_dir() and (folder / LABELS).is_file()]
        self._folder = inner[0] if not (path / LABELS).is_file() and len(inner) == 1 else path

    def array(self, name: str) -> np.ndarray:
        """Return an array, mapped.

        Raises:
            UserError: there is no such file, or it holds no single array of numbers.
        """
        file = f"{name}{ENDING}"
        missing = file not in self._packed if self._packed else not (self._folder / file).is_file()
        if missing:
            raise UserError(f"archive={self.path}: {file} is missing")
        try:
            found = self._unpacked(self._packed[file]) if self._packed else self._loaded(file)
        except (ValueError, OSError, EOFError, BadZipFile) as error:
            raise UserError(f"archive={self.path}: {file}: {' '.join(str(error).split())}") from None
        if not isinstance(found, np.ndarray):
            found.close()
            raise UserError(f"archive={self.path}: {file} is a zip of arrays (.npz); must be one array")
        return found

    def file(self, name: str) -> Path:
        """Return the file that holds an array: its own, or the tar file."""
        return self.path if self._packed else self._folder / f"{name}{ENDING}"

    def _loaded(self, file: str) -> np.ndarray | np.lib.npyio.NpzFile:
        return np.load(self._folder / file, mmap_mode="r", allow_pickle=False)

    def _in_tar(self) -> dict[str, _Place]:
        """Return the array files beside the one labels.npy of a tar file."""
        try:
            with tarfile.open(self.path, "r:") as tar:
                found = {Path(member.name): member for member in tar if member.isreg()}
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(
                f"archive={self.path}: must be a folder of NAME.npy and labels.npy, or a tar that is not compressed "
                f"({' '.join(str(error).split())})"
            ) from None
        folders = [name.parent for name in found if name.name == LABELS]
        if len(folders) != 1:
            raise UserError(f"archive={self.path}: holds {len(folders)} files {LABELS}; must hold one")
        return {
            name.name: _Place(member.offset_data, member.size)
            for name, member in found.items()
            if name.parent == folders[0] and name.suffix == ENDING
        }

    def _unpacked(self, place: _Place) -> np.ndarray:
        with self.path.open("rb") as file:
            file.seek(place.start)
            version = np.lib.format.read_magic(file)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in read:
                raise ValueError(f"npy format {version} is not known here")
            shape, by_columns, kind = read[version](file)
            begin = file.tell()
        if kind.hasobject:
            raise ValueError("holds Python objects; must hold numbers")
        if begin + kind.itemsize * int(np.prod(shape, dtype=np.int64)) > place.start + place.size:
            raise ValueError("is cut short")
        return np.memmap(self.path, kind, "r", begin, tuple(shape), "F" if by_columns else "C")
