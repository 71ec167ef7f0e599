"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed; JSON read back."""

import contextlib
import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError

_ENDING = ".part"


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


def _flush_name(folder: Path) -> None:
    """Let the new name survive a power cut too, where the file system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_object(path: Path, advice: str = "damaged; remove it") -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: of the file.
        advice: what to do where it is damaged.

    Raises:
        UserError: naming the file, when it cannot be read, is truncated or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: truncated or not JSON: {error} ({advice})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, wanted: a JSON object ({advice})")
    return content


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` is the unfinished part of a write that was killed."""
    return path.name.startswith(".") and path.name.endswith(_ENDING)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writes left in ``folder``; only while nobody writes there."""
    if folder.is_dir():
        for path in filter(is_leftover, folder.iterdir()):
            with contextlib.suppress(OSError):
                path.unlink()
