"""Content keys: what is computed, on which data, by which code. Equal keys are computed once.

A key has two parts, CONTENT-CODE. The content is a hash of everything that decides a result and is no source of ours:
options, seed, data, the stage before. The code is a hash of the meaning of the sources that the result depends on, so
that a comment changes nothing and a formula everything. Versions of other packages are recorded, not hashed.
"""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.inputs import Input
from sslkuramoto.examples import Images, Spec, spec_from_dict, spec_to_dict
from sslkuramoto.files import at_home, write_atomically
from sslkuramoto.recipe import Part
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.sources import CODE_DIGITS, NO_PLUGINS, PACKAGE, Plugins, code_behind, content_key, plugins_behind

TRAINING = ("data", "views", "dynamics", "encoders", "objectives", "training")
"""Rooms whose members a recipe names: all of each counts, with what it imports."""
MEASURING = ("evaluation", "attacks")
OPENING_RUNS, OPENING_FUNCTIONS = "evaluation/subject.py", "evaluation/foreign.py"
SAYS_ONLY = ("errors.py", "columns.py")
"""What every room imports and no number depends on: words of errors, headings of tables."""
_PIECES, _PIECE = 64, 4096  # of a large file that is not read whole: how many, bytes of each


def measuring_code(measure: object, opening: str = OPENING_RUNS, plugins: Plugins = NO_PLUGINS) -> str:
    """Return the hash of the sources that decide what a protocol measures.

    Those of training, its own module and the opening of a run, with all that these import: a change of attacks leaves
    k-NN alone. A protocol of another package needs the whole rooms of measuring and its own package.

    Args:
        measure: the protocol.
        opening: source that makes the measured network ready: that of runs, or that of functions.
        plugins: of other packages, what the measurement names.
    """
    package, *module = type(measure).__module__.split(".")
    if package != PACKAGE.name:
        return _with_plugins(every_code(), {**plugins, **plugins_behind(measure)})
    behind = _behind(f"{'/'.join(module)}.py", opening)
    return _with_plugins(content_key([training_code(), behind])[:CODE_DIGITS], plugins)


def training_code(plugins: Plugins = NO_PLUGINS) -> str:
    """Return the hash of the sources that decide what a recipe trains.

    Args:
        plugins: of other packages, what the recipe names.
    """
    return _with_plugins(_behind(*TRAINING), plugins)


def _with_plugins(code: str, plugins: Plugins) -> str:
    return content_key([code, plugins])[:CODE_DIGITS] if plugins else code


def every_code() -> str:
    """Return the hash of all sources that a run or a measurement can depend on."""
    return _behind(*TRAINING, *MEASURING)


def _behind(*starts: str) -> str:
    return code_behind(*starts, rooms=("",), without=SAYS_ONLY)


def whole_hash(path: Path) -> str:
    """Return the hash of all of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sampled_hash(path: Path) -> str:
    """Return the hash of a file's size and content; of a large one, of pieces at equal distances, both ends among them.

    This compares archives of 3 GB in milliseconds. A byte that changes between the pieces is not noticed.
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
        n: number of examples.
        spec: what one example is.
    """

    fingerprint: str
    n: int
    spec: Spec

    def to_dict(self) -> dict[str, Any]:
        """Return what :meth:`from_dict` reads back."""
        return {"fingerprint": self.fingerprint, "n": self.n, "spec": spec_to_dict(self.spec)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Facts":
        """Return recorded facts; those of before there were specs are of images, with 0 classes for no labels."""
        if "size" in values:
            return cls(values["fingerprint"], values["n"], Images(values["size"], values["classes"] or None))
        return cls(values["fingerprint"], values["n"], spec_from_dict(values["spec"]))


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
        """Return the facts of a split, and why it cannot be read now.

        Facts of a split that cannot be read are those recorded when it could, or None.
        """
        key = json.dumps([data.to_dict(), split], sort_keys=True, default=str)
        if key not in self._found and key not in self._problems:
            try:
                found = DATA.build(data.name, data.options, split)
                self._found[key] = Facts(found.fingerprint, len(found), found.spec)
            except UserError as error:
                self._problems[key] = str(error)
        return self._found.get(key) or self._recorded.get(key), self._problems.get(key)

    def of_input(self, given: Input, facts: Facts) -> tuple[Facts | None, str | None]:
        """Return the facts of files that a protocol reads beside the data, and why they cannot be read now.

        Args:
            given: what the protocol declares.
            facts: of the split that it is measured on.
        """
        key = json.dumps([given.option, given.place, given.parts, spec_to_dict(facts.spec)])
        if key not in self._found and key not in self._problems:
            try:
                hash_of = sampled_hash if given.sampled else whole_hash
                files = {name: hash_of(path) for name, path in given.files(facts.spec).items()}
                self._found[key] = Facts(content_key(files), facts.n, facts.spec)
            except UserError as error:
                self._problems[key] = str(error)
            except OSError as error:
                self._problems[key] = f"{given.option}={given.place}: cannot be read: {error.strerror or error}"
        return self._found.get(key) or self._recorded.get(key), self._problems.get(key)

    def of_start(self, init: str | None, facts: Facts | None) -> tuple[str | None, str | None]:
        """Return the hash of weights that no training run of the study made, and why they cannot be read now.

        Args:
            init: the run that a recipe starts from.
            facts: of the training images.
        """
        if init is None:
            return None, None
        run = RunDirectory(at_home(init))
        known, problem = self._of_weights(["init", init], run.encoder_file(), run.finished, facts)
        return known, problem and f"init={init}: no finished run ({problem})"

    def of_weights(self, file: str, facts: Facts | None) -> tuple[str, str | None]:
        """Return the hash of a file of weights that an encoder starts from, and why it cannot be read now.

        Args:
            file: its path.
            facts: of the training images.
        """
        known, problem = self._of_weights(["weights", file], at_home(file), at_home(file).is_file(), facts)
        return known, problem and f"{file}: {problem}"

    def _of_weights(self, place: list[str], file: Path, there: bool, facts: Facts | None) -> tuple[str, str | None]:
        key = json.dumps(place)
        if key in self._found:
            return self._found[key].fingerprint, None
        try:
            if not there:  # nothing, or no file of its own that could be read to an end
                raise FileNotFoundError(errno.ENOENT, "no such file")
            known = whole_hash(file)
        except OSError as error:
            known = recorded.fingerprint if (recorded := self._recorded.get(key)) else f"unknown: {place[1]}"
            return known, f"{file.name} cannot be read: {error.strerror or error}"
        if facts is not None:
            self._found[key] = replace(facts, fingerprint=known)
        return known, None

    def record(self) -> None:
        """Write down what was seen."""
        known = self._read() | self._found
        if self._found.items() - self._recorded.items():
            write_atomically(self._file, json.dumps({key: facts.to_dict() for key, facts in known.items()}, indent=1))

    def _read(self) -> dict[str, Facts]:
        if not self._file.is_file():
            return {}
        try:
            content: Mapping[str, Any] = json.loads(self._file.read_text())
            return {key: Facts.from_dict(facts) for key, facts in content.items()}
        except OSError as error:
            raise UserError(f"{self._file}: cannot be read: {error.strerror or error}") from None
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise UserError(f"{self._file}: damaged; remove it and start again") from None
