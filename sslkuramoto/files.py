"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed."""

import errno
import os
from pathlib import Path

from sslkuramoto.errors import UserError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the new one, never a part.

    Raises:
        UserError: the disk is full, or the place cannot be written; the file that was there is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"{path}: {'no space left on the disk' if full else error.strerror or error}; "
            f"{'the previous file is kept' if path.exists() else 'nothing was written'}"
        ) from None
