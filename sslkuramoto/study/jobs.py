"""The two kinds of work of a study, and what is written down when one of them fails."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Part, Recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.sources import Plugins
from sslkuramoto.study.keys import Facts


@dataclass(frozen=True)
class Stage:
    """One training run.

    Attributes:
        label: row, seed and recipe, for people.
        path: its run directory.
        recipe: with every option; a start from another stage is left out of it.
        before: run directory that it starts from, or None.
        content: its content key.
        code: of the sources that make it and those before it.
        steps: of the training; 0 when the data were never seen.
        facts: of the training images, or None.
        problem: why it cannot be carried out now: data that are not there.
        plugins: packages of others that it, or a run before it, is made by.
    """

    label: str
    path: Path
    recipe: Recipe
    before: Path | None
    content: str
    code: str
    steps: int
    facts: Facts | None
    problem: str | None = None
    plugins: Plugins = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the run directory."""
        return self.path.name

    @property
    def data(self) -> Part:
        """What it trains on."""
        return self.recipe.data

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the tasks that have to be done before."""
        return () if self.before is None else (self.before.name,)

    @property
    def run(self) -> str:
        """Key of the run that it writes to."""
        return self.key

    def done(self) -> bool:
        """Whether it is."""
        return RunDirectory(self.path).finished


@dataclass(frozen=True)
class Network:
    """The network of a function, in the place of a training run: there when its function has been called.

    Attributes:
        function: ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``.
        code: hashes of its source files, by module.
        path: directory of its results.
        data: that it is measured on.
        fingerprint: of the test images.
        seed: of every draw of the measurements.
        problem: why it cannot be measured now.
        plugins: packages of others that its data come from.
    """

    function: str
    code: Mapping[str, str]
    path: Path
    data: Part
    fingerprint: str
    seed: int
    problem: str | None = None
    plugins: Plugins = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """The content of ``model.json`` besides function and code: the images, wherever they are stored."""
        return {"data": {"name": self.data.name, "fingerprint": self.fingerprint}, "seed": self.seed}


@dataclass(frozen=True)
class Evaluation:
    """One measurement of one run, or of the network of a function.

    Attributes:
        label: row, seed and protocol, for people.
        path: the file that holds or will hold the result.
        stage: run directory that is measured, or that of the network's results.
        sources: other run directories that the protocol reads.
        protocol, overrides: as ``load_protocol`` takes them.
        encoder_options: changed options of the encoder.
        data_options: options of the data source as the study has them.
        content: its content key, which does not name the run: equal for the same measurement of another run.
        problem: why it cannot be carried out now.
        network: that is measured, where it is no run's.
        plugins: packages of others that the measurement, or a network in it, is made by.
    """

    label: str
    path: Path
    stage: Path
    sources: tuple[Path, ...]
    protocol: str
    overrides: tuple[str, ...]
    encoder_options: dict[str, Any]
    data_options: dict[str, Any]
    content: str
    problem: str | None = None
    network: Network | None = None
    plugins: Plugins = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Name of the run directory and of the file."""
        return f"{self.stage.name}+{self.path.stem}"

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the tasks that have to be done before."""
        own = (self.stage.name,) if self.network is None else ()
        return (*own, *(source.name for source in self.sources))

    @property
    def run(self) -> str:
        """Key of the run that it writes to."""
        return self.stage.name

    def done(self) -> bool:
        """Whether it is."""
        return self.path.is_file()


Task = Stage | Evaluation


def failure_file(root: Path, key: str) -> Path:
    """Return the file that holds the reason of a failed task."""
    return root / "failures" / f"{key}.json"


def record_failure(root: Path, key: str, label: str, reason: str, trace: str) -> None:
    """Write down why a task could not be done."""
    content = {"key": key, "label": label, "reason": reason, "traceback": trace}
    write_atomically(failure_file(root, key), json.dumps(content, indent=1) + "\n")


def recorded_failure(root: Path, key: str) -> str | None:
    """Return why a task could not be done, or None.

    Raises:
        UserError: the record is damaged.
    """
    file = failure_file(root, key)
    if not file.is_file():
        return None
    try:
        return str(json.loads(file.read_text())["reason"])
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{file}: damaged; remove it and start again") from None
