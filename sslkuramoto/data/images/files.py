"""The files below a root that is a folder or a zip; a zip is read in place, nothing is unpacked.

Names are relative to the root with ``/`` between their parts. Hidden files (``.x``, ``__MACOSX``) are left out, and a
lone folder at the top (``cifar10/`` in ``cifar10.zip``) is descended into.
"""

import os
import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sslkuramoto.data.images.pixels import SUFFIXES
from sslkuramoto.errors import UserError

SPLIT_FOLDERS = ("train", "val", "test")


@runtime_checkable
class ImageFiles(Protocol):
    """Read access to a folder or a zip.

    Attributes:
        root: the path as given.
        names: image files, sorted.
    """

    root: Path
    names: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """Return a file's content; ``FileNotFoundError`` or ``KeyError`` when there is none."""
        ...

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        ...

    def where(self, name: str) -> str:
        """Return the name of a file in errors."""
        ...


def open_files(root: str) -> ImageFiles:
    """Return the files of ``root``, a folder or a zip.

    Raises:
        UserError: missing, unreadable, neither folder nor zip, or without an image.
    """
    path = Path(root).expanduser()
    try:
        if path.is_dir():
            files: ImageFiles = TreeFiles(path)
        elif path.is_file():
            files = ZipFiles(path)
        else:
            raise UserError(f"root={root}: no such file or folder")
    except OSError as error:
        raise UserError(f"root={root}: cannot be read: {error}") from None
    if not files.names:
        raise UserError(f"root={root}: holds no images ({', '.join(SUFFIXES)})")
    return files


class TreeFiles:
    """Files of a folder, subfolders and links included."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = []
        for folder, _, files in os.walk(root, followlinks=True, onerror=_raise):
            relative = Path(folder).relative_to(root)
            names += [(relative / file).as_posix() for file in files]
        self._top, self.names = _images_below_top(names)

    def _path(self, name: str) -> Path:
        return self.root / (self._top + name)

    def read(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def where(self, name: str) -> str:
        return str(self._path(name))


class ZipFiles:
    """Files of a zip, which each process opens for itself on its first read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[int, zipfile.ZipFile] = {}
        try:
            entries = [info.filename for info in self._zip().infolist() if not info.is_dir()]
        except zipfile.BadZipFile:
            raise UserError(f"root={root}: is neither a folder nor a zip") from None
        self._top, self.names = _images_below_top(entries)

    def _zip(self) -> zipfile.ZipFile:
        process = os.getpid()  # a handle inherited over fork would share its file position with the parent
        if process not in self._open:
            self._open[process] = zipfile.ZipFile(self.root)
        return self._open[process]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def read(self, name: str) -> bytes:
        return self._zip().read(self._top + name)

    def size(self, name: str) -> int:
        return self._zip().getinfo(self._top + name).file_size

    def where(self, name: str) -> str:
        return f"{self.root}/{self._top}{name}"


def _raise(error: OSError) -> None:
    raise error


def _images_below_top(names: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of lone top folders and the sorted images below it."""
    images = [name for name in names if name.lower().endswith(SUFFIXES) and not _hidden(name)]
    top = ""
    while True:
        firsts = {_first(name, len(top)) for name in images}
        if len(firsts) != 1 or (lone := firsts.pop()) is None or lone in SPLIT_FOLDERS:
            return top, tuple(sorted(name[len(top) :] for name in images))
        top += lone + "/"


def _first(name: str, start: int) -> str | None:
    """Return the first folder of ``name`` after ``start``, or None for a file that lies there itself."""
    end = name.find("/", start)
    return None if end < 0 else name[start:end]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
