"""Writes a file whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from sslkuramoto.errors import UserError


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> Path:
    """Write ``content`` beside ``path`` and move it there, so that a reader sees the old file or the new one.

    Args:
        path: where it ends up; its folder is made.
        content: the bytes, or a function that writes them to the open file.

    Raises:
        UserError: the place cannot be written (no permission, disk full, a folder in the way).
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            os.chmod(temporary, 0o644)
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); choose another place or free some space") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path
