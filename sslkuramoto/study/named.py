"""Where study files are: those of the package, those of the user, and the one that a folder of tables was made from."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import at_home, packaged, read_object, write_atomically

STUDY_FILES = packaged("eval/studies")
ENDINGS = (".yaml", ".yml")
_RECORD = "study.json"  # in the folder of a study's tables
_TAKEN = ("runs", "failures", "locks", "slurm")  # folders of the root, which would hold the tables of such a study


def study_files(folder: Path | None = None) -> dict[str, Path]:
    """Return the study files of a folder by name."""
    return {path.stem: path for path in sorted((folder or STUDY_FILES).glob("*.yaml"))}


def study_file(name: str) -> Path:
    """Return the file of a name or a path: a study of the package, or NAME.yaml of this directory.

    Raises:
        UserError: there is none.
    """
    files = study_files()
    path = files[name] if name in files else at_home(name if name.endswith(ENDINGS) else f"{name}.yaml")
    if not path.is_file():
        if name.endswith(ENDINGS):
            raise UserError(f"study file {name!r} does not exist")
        raise unknown("study", name, files)
    if path.stem in _TAKEN:
        raise UserError(f"study file {path}: {path.stem!r} names a folder of all studies; rename the file")
    return path


def recorded_study(name: str, root: Path) -> tuple[str, list[str]] | None:
    """Return the file and the changes of the study that a folder of tables was made from; None where there is none.

    Args:
        name: the folder, or its name under ``root``.
        root: of all studies.

    Raises:
        UserError: the record is damaged, or the study file is no longer there.
    """
    known = name in study_files() or at_home(name).is_file() or at_home(f"{name}.yaml").is_file()
    places = [at_home(name)] if known else [at_home(name), root / name]
    record = next((place / _RECORD for place in places if (place / _RECORD).is_file()), None)
    if record is None:
        return None
    advice = "damaged; name the study file instead"
    content = read_object(record, advice)
    try:
        file, words = str(content["file"]), [str(word) for word in content["changes"]]
    except (KeyError, TypeError):
        raise UserError(f"{record}: {advice}") from None
    path = Path(os.path.normpath(record.parent / file))
    if not path.is_file():
        raise UserError(f"{record.parent}: its study file {path} is no longer there; name the file")
    return str(path), words


def record_study(folder: Path, file: Path, changes: Sequence[str]) -> None:
    """Write down which study a folder of tables is made from, so that ``report`` finds it by the folder.

    Args:
        folder: of the tables.
        file: of the study; its place is noted relative to the folder.
        changes: ``KEY=VALUE`` words of the command line.
    """
    place = os.path.relpath(file.resolve(), folder.resolve())
    write_atomically(folder / _RECORD, json.dumps({"file": place, "changes": [*changes]}, indent=1) + "\n")


def new_study(path: Path) -> None:
    """Write an annotated study file to start from.

    Args:
        path: of the new file.

    Raises:
        UserError: the file exists or cannot be written, or its name does not suit a study.
    """
    if path.suffix not in ENDINGS:
        raise UserError(f"--new {path}: a study file ends with .yaml")
    if path.stem in (*_TAKEN, *study_files()):
        raise UserError(f"--new {path}: the name {path.stem!r} is taken by the package; choose another")
    if path.exists():
        raise UserError(f"--new {path}: exists already; nothing was written")
    example = packaged("eval") / "study-example.yaml"
    write_atomically(path, example.read_text().replace("STUDY.yaml", str(path)))
