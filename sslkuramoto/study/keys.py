"""Content keys: what is computed, on which data, by which code. Equal keys are computed once.

A key has two parts, CONTENT-CODE. The content is a hash of everything that decides a result and is no source of ours:
options, seed, data, the stage before. The code is a hash of the meaning of the sources that the result depends on, so
that a comment changes nothing and a formula everything. Versions of other packages are recorded, not hashed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.corruptions.archive import Archive
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Part
from sslkuramoto.sources import CODE_DIGITS, PACKAGE, code_behind, code_version, content_key, foreign_code

TRAINING = (
    *("data", "views", "dynamics", "encoders", "objectives", "training"),
    *("recipe.py", "randomness.py", "registry.py", "checkpoint.py", "threat.py"),
)
MEASURING = ("evaluation", "attacks", "classifier.py", "noise_draws.py", "statistics.py", "results.py")
EVALUATION = (*TRAINING, *MEASURING)
_PIECES, _PIECE = 64, 4096  # of a large file that is not read whole: how many, bytes of each


def measuring_code(measure: object) -> str:
    """Return the hash of the sources that decide what a protocol measures.

    Those of training, its own module, and what this and the opening of a run need of the evaluation room: a change of
    attacks leaves k-NN alone. A protocol of another package needs the whole room and its own file.
    """
    package, *module = type(measure).__module__.split(".")
    if package != PACKAGE.name:
        return content_key([code_version(EVALUATION), foreign_code(measure)])[:CODE_DIGITS]
    behind = [code_behind(file, MEASURING) for file in (f"{'/'.join(module)}.py", "evaluation/subject.py")]
    return content_key([code_version(TRAINING), *behind])[:CODE_DIGITS]


def sampled_hash(path: Path) -> str:
    """Return the hash of a file's size and content; of a large one, of pieces at equal distances, both ends among them.

    An archive of 3 GB is told from another one in milliseconds; one byte changed by hand between the pieces is not.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _PIECES * _PIECE:
            digest.update(file.read())
        else:
            for number in range(_PIECES):
                file.seek(number * (size - _PIECE) // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()


@dataclass(frozen=True)
class Facts:
    """What is known of a split without holding it.

    Attributes:
        fingerprint: hash of its content and of the options that shape it.
        n: images.
        size: their side in pixels.
        classes: how many, 0 when unlabelled.
    """

    fingerprint: str
    n: int
    size: int
    classes: int


class DataFacts:
    """Facts of splits, each loaded once; what was seen is recorded in ``root``, for reading tables without the data.

    Args:
        root: of the studies; ``root/data.json`` holds the record.
    """

    def __init__(self, root: Path) -> None:
        self._file = root / "data.json"
        self._found: dict[str, Facts] = {}
        self._problems: dict[str, str] = {}
        self._recorded = self._read()

    def of(self, data: Part, split: str) -> tuple[Facts | None, str | None]:
        """Return the facts of a split, and why its images cannot be read now.

        Facts of images that cannot be read are those recorded when they were, or None.
        """
        key = json.dumps([data.to_dict(), split], sort_keys=True, default=str)
        if key not in self._found and key not in self._problems:
            try:
                images = DATA.build(data.name, data.options, split)
                classes = 0 if images.classes is None else len(images.classes)
                self._found[key] = Facts(images.fingerprint, len(images), images.size, classes)
            except UserError as error:
                self._problems[key] = str(error)
        return self._found.get(key) or self._recorded.get(key), self._problems.get(key)

    def of_archive(self, folder: str, names: tuple[str, ...], facts: Facts) -> tuple[Facts | None, str | None]:
        """Return the facts of an archive of corrupted images, and why it cannot be read now, as :meth:`of`.

        Args:
            folder: of the archive.
            names: corruptions that are read.
            facts: of the split whose images it holds.
        """
        key = json.dumps(["archive", folder, names, facts.size, facts.classes])
        if key not in self._found and key not in self._problems:
            place = Path(folder).expanduser()
            try:
                archive = Archive(place, names, size=facts.size, classes=facts.classes)
                files = {name: sampled_hash(place / f"{name}.npy") for name in ("labels", *names)}
                self._found[key] = Facts(content_key(files), len(archive), facts.size, facts.classes)
            except UserError as error:
                self._problems[key] = str(error)
            except OSError as error:
                self._problems[key] = f"archive={folder}: cannot be read: {error.strerror or error}"
        return self._found.get(key) or self._recorded.get(key), self._problems.get(key)

    def record(self) -> None:
        """Write down what was seen."""
        known = self._read() | self._found
        if self._found.items() - self._recorded.items():
            write_atomically(self._file, json.dumps({key: asdict(facts) for key, facts in known.items()}, indent=1))

    def _read(self) -> dict[str, Facts]:
        if not self._file.exists():
            return {}
        try:
            content: Mapping[str, Any] = json.loads(self._file.read_text())
            return {key: Facts(**facts) for key, facts in content.items()}
        except OSError as error:
            raise UserError(f"{self._file}: cannot be read: {error.strerror or error}") from None
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"{self._file}: damaged; remove it to go on") from None
