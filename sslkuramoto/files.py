"""Files that are whole or absent, written beside their place and renamed; JSON read back; locks between processes."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml
from filelock import FileLock, Timeout

from sslkuramoto.errors import UserError

ABOUT = "model.json"
"""Names the network of a directory of results that has no recipe, because no recipe trained it."""
LONGEST_NAME = 160
"""Bytes of a result's name; its images and unfinished files add to it."""
_OF_PLACES = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""Errors of a file system for a path with a bad name or without permission."""
MOST_VALUES = 100_000  # of a YAML file, aliases put in
_ENDING = ".part"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # network and cluster file systems
_FOREVER = 1e9  # seconds; without an end, filelock takes another holder in the same thread for a deadlock


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the new one, never a part.

    Raises:
        UserError: the disk is full, or the place cannot be written; the file that was there is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    # processes on two machines may share the folder, and their number
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_ENDING}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"{path}: {'no space left on the disk' if full else error.strerror or error}; "
            f"{'the previous file is kept' if os.path.exists(path) else 'nothing was written'}"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # gone when all went well; Ctrl-C leaves nothing either
            part.unlink()
    _flush_name(path.parent)


def check_writable(place: Path, named: str) -> None:
    """Check, before anything is computed, that a file can be written.

    Args:
        place: its folder, which need not exist yet.
        named: what cannot be written, for the error.

    Raises:
        UserError: it cannot.
    """
    folder = next(each for each in (place, *place.absolute().parents) if each.exists())
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{named}: cannot be written: {error.strerror}") from None


def at_home(place: str | Path) -> Path:
    """Return a path, its ``~`` read as the home folder; the shell reads that only where it begins a word.

    A user that is not known leaves the path as it is.
    """
    return Path(os.path.expanduser(place))


@contextmanager
def places_told() -> Iterator[None]:
    """Turn the error for a path with a bad name, or without permission, into one line; also a decorator.

    Raises:
        UserError: inside, a file system refused a name that is too long, or a permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _OF_PLACES or error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}") from None


def packaged(folder: str) -> Path:
    """Return a folder that comes with the package: inside it in an installed wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next((root / folder for root in (package, package.parent) if (root / folder).is_dir()), package / folder)


def of_package(package: str, member: str) -> Path | None:
    """Return a file of an installed package, which is not imported: that takes seconds; None where none is installed.

    Args:
        package: its name as it is imported.
        member: path of the file within the package's folder. Whether it exists is not checked.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations))) / member


def _flush_name(folder: Path) -> None:
    """Let the new name survive a power cut too, where the file system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def name_beside(name: str, changed: Sequence[str]) -> str:
    """Return the name of a result under changed options, of signs and a length that every file system takes.

    Its file is stored beside that of the result that its protocol describes and never replaces it. If it
    cannot show the options it ends with a hash of them: other options, another file.
    """
    whole = "+".join([name, *changed])
    file = re.sub(r"[^\w.=+-]+", "_", whole)
    if file == whole and len(file.encode()) <= LONGEST_NAME and not any("+" in item for item in changed):
        return file
    digest = hashlib.sha256("\n".join(changed).encode()).hexdigest()[:12]
    return file.encode()[: LONGEST_NAME - 13].decode(errors="ignore") + f"-{digest}"


def content_of(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        UserError: there is none, it cannot be read, is larger than the memory, or is a pipe or a device, which would
            make the reader wait.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: cannot be read: is no regular file")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except MemoryError:
        raise UserError(f"{path}: is larger than the memory") from None


def read_object(path: Path, advice: str = "damaged; remove it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        advice: what to do where it is damaged.

    Raises:
        UserError: naming the file, when it cannot be read, is truncated or something else.
    """
    try:
        text = content_of(path).decode()
        content = json.loads(text, object_pairs_hook=_once)
        if "\\ud" in text.lower():
            # half a character, which no file can hold; Python makes U+DC80 to U+DCFF of bytes in file names
            json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape")
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: truncated or not JSON: {error} ({advice})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, must hold a JSON object ({advice})")
    return content


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of a JSON file; readers differ in which of two values of one key they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r:.60} appears twice")
    return found


def bounded_yaml(text: str) -> str:
    """Return a YAML text if its aliases (``*name``) stay bounded: ten lines can expand to a billion values.

    Raises:
        yaml.YAMLError: no YAML, an alias within its own anchor, or more values than a file of ours ever has.
    """
    if "*" not in text:
        return text
    sizes: dict[int, int] = {}

    def size(node: yaml.Node | None) -> int:
        if not isinstance(node, yaml.CollectionNode):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = MOST_VALUES + 1  # while it is counted: an alias of itself
            pairs = isinstance(node, yaml.MappingNode)
            sizes[id(node)] = 1 + sum(size(part) for item in node.value for part in (item if pairs else [item]))
        return sizes[id(node)]

    if size(yaml.compose(text, yaml.SafeLoader)) > MOST_VALUES:
        raise yaml.YAMLError(f"its aliases make more than {MOST_VALUES} values of it")
    return text


def odd_number(text: str) -> str | None:
    """Return what is wrong with a number that YAML reads as another (010 as 8, 1:30 as 90), or None."""
    if re.fullmatch(r"[+-]?0_*\d[\d_]*", text):
        return f"a number does not begin with 0; write {int(text.replace('_', ''))}"
    colons = re.fullmatch(r"[+-]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?", text)
    return "a number has no colon; YAML would count in sixties" if colons else None


def check_numbers(text: str) -> None:
    """Refuse numbers in a YAML text that YAML reads otherwise than people do, such as 010 (8) and 1:30 (90).

    Raises:
        yaml.YAMLError: one of :func:`odd_number`, or no YAML.
    """
    resolver = yaml.SafeLoader("")
    numbers = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    for token in yaml.scan(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # libyaml scans nine times as fast
        if not (isinstance(token, yaml.ScalarToken) and token.plain and (odd := odd_number(token.value))):
            continue
        if resolver.resolve(yaml.ScalarNode, token.value, (True, False)) in numbers:
            line = token.start_mark.line + 1
            raise yaml.YAMLError(f"line {line}: {token.value}: {odd} (put text in quotes)")


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` is the unfinished part of a write that was killed."""
    return path.name.startswith(".") and path.name.endswith(_ENDING)


def is_free(folder: Path) -> bool:
    """Return whether a folder can be taken as a new one: it does not exist, or holds at most unfinished parts."""
    return not folder.exists() or (folder.is_dir() and all(map(is_leftover, folder.iterdir())))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writes left in ``folder``; only while no process writes there."""
    if folder.is_dir():
        for path in filter(is_leftover, folder.iterdir()):
            with contextlib.suppress(OSError):
                path.unlink()


@contextmanager
def lock(path: Path, *, wait: bool = False, advice: str = "") -> Iterator[bool]:
    """Yield whether this process alone holds the lock named ``path``.

    The lock ends with the process, however it ends: a child does not inherit it. The file stays behind, is never
    emptied and may be a link to nothing else.

    Args:
        path: of the lock's file; its folder is made.
        wait: until the holder gives it back, instead of yielding False.
        advice: to the user where the file system has no locks. Without advice the lock then counts as held: two
            processes may do the same work, which is correct but slower.

    Raises:
        UserError: the file cannot be written or is a symbolic link; the file system has no locks, and there is advice.
    """
    # a marker file in place of a lock would outlive a killed process: no fallback to one
    held = FileLock(path, thread_local=False, fallback_to_soft=False)
    mine = True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=_FOREVER if wait else 0)
    except Timeout:
        mine = False
    except OSError as error:
        if error.errno == errno.ELOOP and path.is_symlink():
            raise UserError(f"{path}: is a symbolic link; remove it") from None
        if error.errno not in _NO_LOCKS:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        if advice:
            raise UserError(f"{path}: cannot be locked: {error.strerror}; {advice}") from None
    try:
        yield mine
    finally:
        held.release()
