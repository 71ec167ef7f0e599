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
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Part

TRAINING = (
    *("data", "views", "dynamics", "encoders", "objectives", "training"),
    *("recipe.py", "randomness.py", "registry.py", "checkpoint.py", "threat.py"),
)
EVALUATION = (*TRAINING, "evaluation")
_CONTENT = 12  # hexadecimal digits


def content_key(content: Any) -> str:
    """Return the hash of plain values, the same on every machine and whatever the order of the keys."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_CONTENT]


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
