"""Where commands may write the pages and tables that ``--html`` and its siblings ask for."""

from pathlib import Path

from sslkuramoto.errors import UserError
from sslkuramoto.files import check_writable
from sslkuramoto.run_directory import RunDirectory

PAGES = {"html": (".html", ".htm"), "markdown": (".md", ".markdown"), "latex": (".tex",), "csv": (".csv",)}
"""Option of a command -> endings of the files that it writes: a slip replaces no recipe, result or card."""


def check_output(option: str, path: Path) -> None:
    """Check, before anything is read or computed, that a command may write a file.

    Args:
        option: a key of :data:`PAGES`.
        path: the file.

    Raises:
        UserError: it is a folder, has the ending of another kind of file, is a file of a run, or cannot be written.
    """
    if not path.name or path.is_dir():
        raise UserError(f"--{option}={path}: must name a file")
    if path.suffix.lower() not in PAGES[option]:
        raise UserError(f"--{option}={path}: must end in {' or '.join(PAGES[option])}")
    run = RunDirectory(path.parent)
    if path == run.metrics_file and run.recipe_file.is_file():
        raise UserError(f"--{option}={path}: is a file of the run {run.path}; choose another name")
    check_writable(path.parent, f"--{option}={path}")
