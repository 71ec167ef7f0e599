"""The image files below a root, which is a folder or a zip. A zip is read in place and never unpacked.

Names are relative to the root and separated by ``/``. If the root contains a single folder (``cifar10/`` in
``cifar10.zip``), that folder counts as the root. Everything else is skipped and counted: other kinds of files, dead
links, pipes, files that operating systems add (thumbnails, caches), and folders that are linked into themselves.
"""

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

from sslkuramoto.data.images.pixels import SUFFIXES
from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home

SPLIT_FOLDERS = ("train", "val", "test")
OTHER_NAMES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
"""Other common names of the folders of a split."""
PICTURES = (".gif", ".heic", ".heif", ".avif", ".jxl", ".svg", ".raw", ".dng", ".cr2", ".nef", ".arw", ".psd", ".jp2")
"""Suffixes of pictures that are not read. A class folder that holds only such files is an error, for it was meant."""
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "lost+found")


@runtime_checkable
class ImageFiles(Protocol):
    """Read access to a folder or a zip.

    Attributes:
        root: the path as given.
        names: image files, sorted.
        unread: other files below the root, and empty folders (ending in ``/``), sorted.
        notes: what was skipped and how often, one line each.
    """

    root: Path
    names: tuple[str, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """Return the content of a file; raises ``FileNotFoundError`` or ``KeyError`` if it does not exist."""
        ...

    def size(self, name: str) -> int:
        """Return a file's size in bytes."""
        ...

    def stamp(self, name: str) -> str:
        """Return a text that changes with the content of a file, found without reading it."""
        ...

    def real(self, name: str) -> str:
        """Return what is the same for two names of one file: its path with links resolved, or device and inode."""
        ...

    def where(self, name: str) -> str:
        """Return the name of a file for error messages."""
        ...


def stamp_of(path: str | Path) -> str:
    """Return size and modification time of a file, which change with its content."""
    found = os.stat(path)
    return f"{found.st_size} {found.st_mtime_ns}"


def open_files(root: str, kept: Collection[str] = ()) -> ImageFiles:
    """Return the files of ``root``, a folder or a zip.

    Args:
        root: the path.
        kept: folders that belong to the layout, so that one of them is not taken for the root where it stands alone.

    Raises:
        UserError: missing, unreadable, neither folder nor zip, or without an image.
    """
    path = at_home(root)
    try:
        if path.is_dir():
            files: ImageFiles = TreeFiles(path, kept)
        elif path.is_file():
            files = ZipFiles(path, kept)
        else:
            raise UserError(f"root={root}: no such file or folder")
    except OSError as error:
        raise UserError(f"root={root}: cannot be read: {error}") from None
    if not files.names:
        passed = f"; {'; '.join(files.notes)}" if files.notes else ""
        raise UserError(f"root={root}: holds no images ({', '.join(SUFFIXES)}){passed}")
    return files


class TreeFiles:
    """Files of a folder, subfolders and links included; each real folder at most once on a path."""

    def __init__(self, root: Path, kept: Collection[str] = ()) -> None:
        self.root = root
        self._real: dict[str, str] = {}  # of folders below the root and of linked files
        passed: Counter[str] = Counter()
        found = _Found(list(self._walk(root, "", os.path.realpath(root), (), passed)), passed, kept)
        self._top, self.names, self.unread, self.notes = found.top, found.names, found.unread, found.notes

    def _walk(self, path: Path, name: str, real: str, above: tuple[str, ...], passed: Counter[str]) -> Iterator[str]:
        """Yield the names of files and, with ``/`` at the end, of empty folders."""
        self._real[name] = real
        empty = True
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                inner = name + entry.name
                if _of_a_system(entry.name):
                    passed[f"folders {entry.name}"] += not entry.name.startswith(".")
                    passed["hidden images"] += entry.name.lower().endswith(SUFFIXES)
                    passed["hidden folders"] += entry.name.startswith(".") and entry.is_dir()
                    continue
                empty = False
                if not entry.is_symlink() and entry.is_dir():
                    yield from self._walk(
                        path / entry.name, f"{inner}/", f"{real}/{entry.name}", (*above, real), passed
                    )
                elif not entry.is_symlink() and entry.is_file():
                    yield inner
                else:
                    yield from self._linked(path / entry.name, inner, (*above, real), passed)
        if empty and name:
            yield name

    def _linked(self, path: Path, name: str, above: tuple[str, ...], passed: Counter[str]) -> Iterator[str]:
        target = os.path.realpath(path)
        try:
            mode = os.stat(target).st_mode
        except OSError:
            passed["dead links"] += 1
            return
        if stat.S_ISREG(mode):
            self._real[name] = target
            yield name
        elif not stat.S_ISDIR(mode):
            passed["pipes, sockets and devices"] += 1
        elif target in above:
            passed["links to a folder above themselves"] += 1
        else:
            yield from self._walk(path, f"{name}/", target, above, passed)

    def _path(self, name: str) -> str:
        return f"{self.root}/{self._top}{name}"  # a Path takes longer to make than the file to look up

    def read(self, name: str) -> bytes:
        with open(self._path(name), "rb") as file:
            return file.read()

    def size(self, name: str) -> int:
        return os.stat(self._path(name)).st_size

    def stamp(self, name: str) -> str:
        return stamp_of(self._path(name))

    def real(self, name: str) -> str:
        found = os.stat(self._path(name))
        if found.st_nlink > 1:  # one file with several names, any of which may be linked to
            return f"{found.st_dev}:{found.st_ino}"
        whole = self._top + name
        folder, slash, file = whole.rpartition("/")
        return self._real[whole] if whole in self._real else f"{self._real[folder + slash]}/{file}"

    def where(self, name: str) -> str:
        return self._path(name)


class ZipFiles:
    """Files of a zip; each process opens the zip on its first read."""

    def __init__(self, root: Path, kept: Collection[str] = ()) -> None:
        self.root = root
        self._open: dict[int, zipfile.ZipFile] = {}
        passed: Counter[str] = Counter()
        self._members: dict[str, zipfile.ZipInfo] = {}
        folders = set()
        try:
            for info in self._zip().infolist():
                name = info.filename.replace("\\", "/").removeprefix("./")  # older Windows tools write backslashes
                if system := next((part for part in name.split("/") if part and _of_a_system(part)), None):
                    kind = "hidden images" if system.startswith(".") else f"images in {system}"
                    passed[kind] += name.lower().endswith(SUFFIXES)
                elif name.endswith("/"):
                    folders.add(name)
                else:
                    passed["members that a later one of the same name replaces"] += name in self._members
                    self._members[name] = info
        except zipfile.BadZipFile:
            raise UserError(f"root={root}: is neither a folder nor a zip") from None
        filled = {f"{parent}/" for name in self._members for parent in PurePosixPath(name).parents}
        filled |= {f"{parent}/" for name in folders for parent in PurePosixPath(name).parents}
        found = _Found([*self._members, *sorted(folders - filled)], passed, kept)
        self._top, self.names, self.unread, self.notes = found.top, found.names, found.unread, found.notes

    def _zip(self) -> zipfile.ZipFile:
        process = os.getpid()  # a handle inherited over fork would share its file position with the parent
        if process not in self._open:
            self._open[process] = zipfile.ZipFile(self.root)
        return self._open[process]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def read(self, name: str) -> bytes:
        return self._zip().read(self._members[self._top + name])

    def size(self, name: str) -> int:
        return self._members[self._top + name].file_size

    def stamp(self, name: str) -> str:
        member = self._members[self._top + name]
        return f"{member.file_size} {member.CRC}"

    def real(self, name: str) -> str:
        return self.where(name)

    def where(self, name: str) -> str:
        return f"{self.root}/{self._top}{name}"


class _Found:
    """The names below a root, sorted into images and others, without the single folders at the top."""

    def __init__(self, names: list[str], passed: Counter[str], kept: Collection[str]) -> None:
        images = [name for name in names if name.lower().endswith(SUFFIXES)]
        others = [name for name in names if not name.lower().endswith(SUFFIXES)]
        self.top = _lone_top(images, kept)
        self.names, self.unread = (
            tuple(sorted(name[len(self.top) :] for name in group if name.startswith(self.top)))
            for group in (images, others)
        )
        for name in others:
            suffix = PurePosixPath(name).suffix.lower()
            passed[f"{suffix} files, which are not read"] += suffix in PICTURES
        self.notes = tuple(f"passed over {count} {what}" for what, count in sorted(passed.items()) if count)


def _lone_top(images: list[str], kept: Collection[str]) -> str:
    """Return the path of single folders at the top, up to a folder of a split or one that is kept."""
    top = ""
    while True:
        firsts = {_first(name, len(top)) for name in images}
        lone = firsts.pop() if len(firsts) == 1 else None
        if lone is None or lone in kept or split_of(lone) in SPLIT_FOLDERS:
            return top
        top += lone + "/"


def split_of(folder: str) -> str:
    """Return the split that a folder name means, in upper or lower case; for other folders the lower-case name."""
    name = folder.lower()
    return OTHER_NAMES.get(name, name)


def _first(name: str, start: int) -> str | None:
    """Return the first folder of ``name`` after ``start``, or None for a file without a folder."""
    end = name.find("/", start)
    return None if end < 0 else name[start:end]


def _of_a_system(part: str) -> bool:
    return part.startswith(".") or part in _OF_SYSTEMS
