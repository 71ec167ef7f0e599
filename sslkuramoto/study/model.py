"""What a study file holds once it was read: rows with their networks, columns with their measurements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from omegaconf import OmegaConf

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.evaluation.protocol import Loaded
from sslkuramoto.files import content_of
from sslkuramoto.recipe import Part, Recipe, load_recipe, override
from sslkuramoto.sources import content_key
from sslkuramoto.study.options import Settings, as_overrides, merged, rows_named, with_runs, with_seed
from sslkuramoto.study.overrides import Overrides, keeps_its_data
from sslkuramoto.study.published import Published
from sslkuramoto.training.learner import MISSING

_DIGITS = 6  # of the hash in the name of a changed study's folder


@dataclass(frozen=True)
class StudyStage:
    """One training run of a row: a recipe and what is changed in it."""

    recipe: str
    path: Path
    changes: Settings = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The recipe's name."""
        return self.path.stem


@dataclass(frozen=True)
class StudyRow:
    """One row: its chain of training runs, or the network of a function, or published figures only.

    Attributes:
        key, label, group: of the row.
        stages: the training runs.
        published: column -> figure.
        seeds: of the trainings, or of the measurements of ``model``.
        model: names a function that returns the network, in place of training runs.
        data: that the network is measured on, where the row says so itself.
        measure: changed options of the protocols of all its columns, such as a plant of an audit.
    """

    key: str
    label: str
    stages: tuple[StudyStage, ...]
    published: Mapping[str, Published]
    seeds: tuple[int, ...]
    group: str | None = None
    model: str | None = None
    data: Settings = field(default_factory=dict)
    measure: Settings = field(default_factory=dict)

    @property
    def changes(self) -> list[Settings]:
        """What the row itself changes in each of its networks; empty where it is published only."""
        if self.model is not None:
            return [{"data": dict(self.data)} if self.data else {}]
        return [stage.changes for stage in self.stages]


@dataclass(frozen=True)
class StudyColumn:
    """One column.

    Attributes:
        key, title: of the column.
        protocol: as :func:`~sslkuramoto.evaluation.load_protocol` takes it.
        metric: of the result.
        per_image: name of the list of the result that paired tests compare, or None.
        stage: which training run of the row is measured, counted as Python counts (-1: the last).
        settings: changed options of the protocol; ``${run:ROW}`` in them is replaced by the run directory of another
            row at the same seed, such as the source of a transfer attack.
        encoder: changed options of the measured encoder.
        rows: those measured in this column.
        unit: None for the metric's own.
        read: protocols that were loaded, by name and changed options; the columns of a file share them.
    """

    key: str
    title: str
    protocol: str
    metric: str
    per_image: str | None
    stage: int
    settings: Settings
    encoder: Settings
    rows: tuple[str, ...]
    unit: str | None = None
    read: dict[tuple[str, ...], Loaded] = field(default_factory=dict, repr=False, compare=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """Rows whose runs the protocol needs besides the measured one."""
        return tuple(dict.fromkeys(rows_named(self.settings)))

    def of(self, row: StudyRow) -> "StudyColumn":
        """Return the column as a row measures it: with the options of the protocol that the row changes."""
        return replace(self, settings=merged(self.settings, row.measure)) if row.measure else self

    def overrides(self, run_of: Callable[[str], str]) -> list[str]:
        """Return the changed options as words, with ``run_of(ROW)`` in place of ``${run:ROW}``."""
        return as_overrides(with_runs(self.settings, run_of))

    def loaded(self) -> Loaded:
        """Return the protocol with its changed options; the names of rows stand in place of their run directories."""
        name, *words = known = (self.protocol, *self.overrides(str))
        if known not in self.read:
            self.read[known] = load_protocol(name, words)
        return self.read[known]


@dataclass(frozen=True)
class Study:
    """A study file as it was read; rows and columns by key, in the order of the file.

    Attributes:
        overrides: what the command line changes.
        own_file: hash of a file that has the name of a study of the package and other content; else empty.
    """

    name: str
    path: Path
    title: str
    question: str
    seeds: tuple[int, ...]
    settings: Settings
    rows: Mapping[str, StudyRow]
    columns: Mapping[str, StudyColumn]
    small: str | None = None
    compare: tuple[tuple[str, str], ...] = ()
    curves: tuple[str, ...] = ()
    curves_stages: tuple[int, ...] = (0,)
    notes: tuple[str, ...] = ()
    overrides: Overrides = field(default_factory=Overrides)
    own_file: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder of its tables: its own where it is not quite the study of its name."""
        counted = self.overrides.counted
        if not counted and not self.own_file:
            return self.name
        return f"{self.name}-{content_key([counted, self.own_file])[:_DIGITS]}"

    @property
    def changes(self) -> list[str]:
        """Return what every output must say of how this is not the study of its name, a sentence each."""
        said = []
        if self.own_file:
            said.append(f"read from {self.path}, not from the study of this name that comes with the package")
        if counted := self.overrides.counted:
            words = ", ".join(f"{key}={text}" for key, text in counted.items())
            said.append(f"changed on the command line: {words}")
        return said

    @property
    def keep_their_data(self) -> list[str]:
        """Rows with a training run on data of its own, which the data of the command line leave alone."""
        if not keeps_its_data(self.overrides.everywhere):
            return []
        return [key for key, row in self.rows.items() if any(map(keeps_its_data, row.changes))]

    def recipe(self, row: str, stage: int, seed: int) -> Recipe:
        """Return the recipe of a stage with the changes of study, stage and command line; ``init`` is left out.

        Raises:
            UserError: whatever is wrong with it, with the name of the row.
        """
        part = self.rows[row].stages[stage]
        ordered = self.overrides.of_stage(row, stage, part.changes)
        changes = as_overrides(with_seed(merged(self.settings, part.changes, ordered, {"seed": seed}), seed))
        try:
            recipe = load_recipe(part.path, changes)
            if stage == 0 and recipe.init == MISSING:
                raise UserError(f"{part.path}: starts from another run: give it a stage before it")
            return replace(recipe, init=None if stage else recipe.init)
        except UserError as error:
            raise UserError(f"study {self.name}, row {row}, stage {stage}: {error}") from None

    def follows_seed(self, row: str, stage: int) -> bool:
        """Return whether other options than ``seed`` may depend on the seed: ``${`` in the changes or in the file."""
        part = self.rows[row].stages[stage]
        changes = as_overrides(merged(self.settings, part.changes, self.overrides.of_stage(row, stage, part.changes)))
        return any("${" in text for text in changes) or b"${" in content_of(part.path)

    def data_of(self, row: str) -> Part:
        """Return the data of the network of a function: its row's or the study's, with changes of the command line.

        Raises:
            UserError: there are none, whatever is wrong with them, or something else is changed.
        """
        own = self.rows[row].changes[0]
        addressed = [key for place in (None, 0) for key in self.overrides.rows.get((row, place), {})]
        ordered = merged(self.settings, own, self.overrides.of_stage(row, 0, own))
        words = as_overrides({key: value for key, value in ordered.items() if _of_data(key)})
        try:
            if other := [key for key in addressed if not _of_data(key)]:
                raise UserError(f"{other[0]}: only the data of a function's network can be changed")
            given = override(OmegaConf.create({"data": {}}), words)["data"]
            options = dict(given) if isinstance(given, Mapping) else {"name": given}
            name = options.pop("name", None)
            if not isinstance(name, str):
                raise UserError(f"say on which images: data: {{name: NAME, ...}}, NAME one of {', '.join(DATA)}")
            DATA.check(name, options)
            return Part(name, options)
        except UserError as error:
            raise UserError(f"study {self.name}, row {row}: {error}") from None


def _of_data(key: str) -> bool:
    return key.partition(".")[0] == "data"
