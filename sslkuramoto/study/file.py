"""A study file: one published table as rows, columns, seeds and published figures, read strictly.

``eval/studies/NAME.yaml``; docs/studies.md lists every key. Whatever can be wrong is found here, before data are read:
unknown keys, rows whose recipe is missing or does not load with its changes, protocols that do not load, published
figures without a source.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from sslkuramoto.checkpoint import check_fit
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.evaluation.protocol import Loaded
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe, load_recipe, read_yaml, recipe_file
from sslkuramoto.registry import check_value
from sslkuramoto.study.published import Published
from sslkuramoto.study.sections import check_keys, mapping, section, seeds_from, settings_in
from sslkuramoto.study.settings import Settings, as_overrides, rows_named, settings_from, with_runs
from sslkuramoto.training import check
from sslkuramoto.training.learner import MISSING

# beside the package in a checkout, inside it in an installed wheel
STUDY_FILES = next(
    (folder for folder in (root / "eval" / "studies" for root in Path(__file__).parents[1:3]) if folder.is_dir()),
    Path("eval/studies"),
)
_STUDY = "title question seeds set small columns rows published compare curves curves_stage notes"
_COLUMN = "title protocol metric per_image stage set encoder rows except unit"
_ROW = "label train published seeds group"
_FIGURE = "value std n source differs"
_TAKEN = ("runs", "failures", "locks", "slurm")  # folders of the root, which would hold the table of such a study


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
    """One row: its chain of training runs, or none where it holds published figures only."""

    key: str
    label: str
    stages: tuple[StudyStage, ...]
    published: Mapping[str, Published]
    seeds: tuple[int, ...]
    group: str | None = None


@dataclass(frozen=True)
class StudyColumn:
    """One column.

    Attributes:
        key, title: of the column.
        protocol: as :func:`~sslkuramoto.evaluation.load_protocol` takes it.
        metric: of the result.
        per_image: name of the list of the result that paired tests compare, or None.
        stage: which training run of the row is measured, counted as Python counts (-1: the last).
        settings: changed options of the protocol; ``${run:ROW}`` in them stands for the run directory of another row
            at the same seed, such as the source of a transfer attack.
        encoder: changed options of the measured encoder.
        rows: those measured in this column.
        unit: None for the metric's own.
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

    @property
    def sources(self) -> tuple[str, ...]:
        """Rows whose runs the protocol needs besides the measured one."""
        return tuple(dict.fromkeys(rows_named(self.settings)))

    def overrides(self, run_of: Callable[[str], str]) -> list[str]:
        """Return the changed options as words, with ``run_of(ROW)`` in place of ``${run:ROW}``."""
        return as_overrides(with_runs(self.settings, run_of))

    def loaded(self, run_of: Callable[[str], str] = str) -> Loaded:
        """Return the protocol with its changed options."""
        return load_protocol(self.protocol, self.overrides(run_of))


@dataclass(frozen=True)
class Study:
    """A study file as it was read; rows and columns by key, in the order of the file."""

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
    curves_stage: int = 0
    notes: tuple[str, ...] = ()

    def recipe(self, row: str, stage: int, seed: int) -> Recipe:
        """Return the recipe of a stage with the changes of study and stage; ``init`` is left out.

        Raises:
            UserError: whatever is wrong with it, with the name of the row.
        """
        part = self.rows[row].stages[stage]
        changes = as_overrides({**self.settings, **part.changes, "seed": seed})
        try:
            recipe = load_recipe(part.path, changes)
            if stage == 0 and recipe.init == MISSING:
                raise UserError(f"{part.path}: starts from another run: give it a stage before it")
            return replace(recipe, init=None if stage else recipe.init)
        except UserError as error:
            raise UserError(f"study {self.name}, row {row}, stage {stage}: {error}") from None


def study_files(folder: Path | None = None) -> dict[str, Path]:
    """Return the study files of a folder by name."""
    return {path.stem: path for path in sorted((folder or STUDY_FILES).glob("*.yaml"))}


def study_file(name: str) -> Path:
    """Return the file that a name or a path stands for.

    Raises:
        UserError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"study file {name!r} does not exist")
        return Path(name)
    files = study_files()
    if name not in files:
        raise unknown("study", name, files)
    return files[name]


def load_study(name: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Read a study and check everything that can be checked without data.

    Args:
        name: of a file in eval/studies, or the path of one.
        overrides: ``key=value`` changes of every training run, over those of the file.

    Raises:
        UserError: one line that names the study, the place and what is allowed.
    """
    path = study_file(str(name))
    if path.stem in _TAKEN:
        raise UserError(
            f"study file {path}: a study cannot be called {path.stem!r}: a folder of the root has this name"
        )
    content = OmegaConf.to_container(read_yaml(path), resolve=False)
    assert isinstance(content, dict)
    try:
        changes = settings_in("", settings_from(overrides))
        study = _study(path, {str(key): value for key, value in content.items()}, changes)
    except UserError as error:
        raise UserError(f"study {path.stem}: {error}") from None
    _check_recipes(study)
    return study


def _study(path: Path, content: dict[str, Any], overrides: Settings) -> Study:
    check_keys("", content, _STUDY, required=("title", "columns", "rows"))
    for part in ("columns", "rows"):
        if not mapping(part, content[part]):
            raise UserError(f"{part}: needs at least one")
    default = section("published", content.get("published"), "source n differs")
    seeds = seeds_from("seeds", content.get("seeds", [0]))
    columns = mapping("columns", content["columns"])
    rows = {key: _row(key, row, seeds, columns, default) for key, row in mapping("rows", content["rows"]).items()}
    labels = [(row.group, row.label) for row in rows.values()]
    for row in rows.values():
        if labels.count((row.group, row.label)) > 1:
            raise UserError(
                f"rows.{row.key}.label={row.label!r}: another row has it too; rows need labels of their own"
            )
    found = {key: _column(key, column, rows) for key, column in columns.items()}
    return Study(
        name=path.stem,
        path=path,
        title=check_value("title", content["title"], str),
        question=check_value("question", content.get("question", ""), str),
        seeds=seeds,
        settings={**settings_in("set", content.get("set")), **overrides},
        rows=rows,
        columns=found,
        small=_twin(path, check_value("small", content.get("small"), str | None)),
        compare=_pairs(content.get("compare", []), rows, found),
        curves=tuple(check_value("curves", content.get("curves", []), list[str])),
        curves_stage=_curves_stage(check_value("curves_stage", content.get("curves_stage", 0), int), rows),
        notes=tuple(check_value("notes", content.get("notes", []), list[str])),
    )


def _twin(path: Path, small: str | None) -> str | None:
    if small is not None and not path.with_name(f"{small}.yaml").is_file():
        raise UserError(f"small={small!r}: there is no study of this name beside this one")
    return small


def _curves_stage(stage: int, rows: Mapping[str, StudyRow]) -> int:
    longest = max((len(row.stages) for row in rows.values()), default=0)
    if stage and not -longest <= stage < longest:
        raise UserError(f"curves_stage={stage}: no row has more than {longest} stage(s), counted from 0")
    return stage


def _row(
    key: str, content: Any, seeds: tuple[int, ...], columns: Mapping[str, Any], default: Mapping[str, Any]
) -> StudyRow:
    where = f"rows.{key}"
    row = section(where, content, _ROW)
    stages = check_value(f"{where}.train", row.get("train", []), list[Any])
    figures = {}
    for column, figure in mapping(f"{where}.published", row.get("published", {})).items():
        if column not in columns:
            raise unknown(f"column in {where}.published", column, columns)
        figures[column] = _figure(f"{where}.published.{column}", figure, default)
    if not stages and not figures:
        raise UserError(f"{where}: needs 'train', 'published' or both")
    return StudyRow(
        key=key,
        label=check_value(f"{where}.label", row.get("label", key), str),
        stages=tuple(_stage(f"{where}.train[{number}]", stage) for number, stage in enumerate(stages)),
        published=figures,
        seeds=seeds_from(f"{where}.seeds", row["seeds"]) if "seeds" in row else seeds,
        group=check_value(f"{where}.group", row.get("group"), str | None),
    )


def _stage(where: str, content: Any) -> StudyStage:
    stage = section(where, content, "recipe set", required=("recipe",))
    name = check_value(f"{where}.recipe", stage["recipe"], str)
    try:
        path = recipe_file(name)
    except UserError as error:
        raise UserError(f"{where}.recipe: {error}") from None
    return StudyStage(name, path, settings_in(f"{where}.set", stage.get("set")))


def _figure(where: str, content: Any, default: Mapping[str, Any]) -> Published:
    given = (
        section(where, content, _FIGURE, required=("value",)) if isinstance(content, Mapping) else {"value": content}
    )
    values = {"source": "", **{key: value for key, value in default.items() if value is not None}, **given}
    try:
        return Published(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _column(key: str, content: Any, rows: Mapping[str, StudyRow]) -> StudyColumn:
    where = f"columns.{key}"
    column = section(where, content, _COLUMN, required=("protocol", "metric"))
    trained = [name for name, row in rows.items() if row.stages]
    for option in ("rows", "except"):
        for name in check_value(f"{where}.{option}", column.get(option, []), list[str]):
            if name not in rows:
                raise unknown(f"row in {where}.{option}", name, rows)
    chosen = column.get("rows", trained)
    found = StudyColumn(
        key=key,
        title=check_value(f"{where}.title", column.get("title", key), str),
        protocol=check_value(f"{where}.protocol", column["protocol"], str),
        metric=check_value(f"{where}.metric", column["metric"], str),
        per_image=check_value(f"{where}.per_image", column.get("per_image"), str | None),
        stage=check_value(f"{where}.stage", column.get("stage", -1), int),
        settings=settings_in(f"{where}.set", column.get("set"), reserved=()),
        encoder=settings_in(f"{where}.encoder", column.get("encoder"), reserved=()),
        rows=tuple(name for name in trained if name in chosen and name not in column.get("except", [])),
        unit=check_value(f"{where}.unit", column.get("unit"), str | None),
    )
    try:
        for source in found.sources:
            _check_source(source, found, rows)
        found.loaded()
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    for row in found.rows:
        stages = len(rows[row].stages)
        if not -stages <= found.stage < stages:
            raise UserError(f"{where}.stage={found.stage}: row {row} has {stages} stage(s); leave it out by 'except'")
    return found


def _check_source(source: str, column: StudyColumn, rows: Mapping[str, StudyRow]) -> None:
    if source not in rows:
        raise unknown("row in ${run:ROW}", source, rows)
    if not rows[source].stages:
        raise UserError(f"${{run:{source}}}: this row is published only, it has no run")
    for row in column.rows:
        if lacking := set(rows[row].seeds) - set(rows[source].seeds):
            raise UserError(f"${{run:{source}}}: has no seed {min(lacking)}, which row {row} has")


def _pairs(
    content: Any, rows: Mapping[str, StudyRow], columns: Mapping[str, StudyColumn]
) -> tuple[tuple[str, str], ...]:
    pairs = check_value("compare", content, list[list[str]])
    for pair in pairs:
        if len(pair) != 2 or pair[0] == pair[1]:
            raise UserError(f"compare: {pair!r}: must be two rows")
        for name in pair:
            if name not in rows:
                raise unknown("row in compare", name, rows)
            if not rows[name].stages:
                raise UserError(f"compare: row {name} is published only, it has no results for a paired test")
    if pairs and not any(column.per_image for column in columns.values()):
        raise UserError("compare: no column names its 'per_image' results, which paired tests need")
    return tuple((a, b) for a, b in pairs)


def _check_recipes(study: Study) -> None:
    """Check every stage of every row as ``train --check`` does, and that each encoder fits the one it starts from."""
    for row in study.rows.values():
        before = None
        for number in range(len(row.stages)):
            recipe = study.recipe(row.key, number, row.seeds[0])
            where = f"study {study.name}, row {row.key}, stage {number} ({row.stages[number].name})"
            try:
                recipe = check(recipe)
                encoder = _weightless(recipe)
                if before is not None:
                    check_fit(encoder, before.state_dict(), "the encoder of the stage before")
                for column in (c for c in study.columns.values() if row.key in c.rows):
                    if column.stage % len(row.stages) == number:
                        ENCODERS.check(recipe.encoder.name, {**recipe.encoder.options, **column.encoder})
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            before = encoder


def _weightless(recipe: Recipe) -> torch.nn.Module:
    with torch.device("meta"), borrowed_global(generator("cpu", "weights that nobody sees")):
        return ENCODERS.build(recipe.encoder.name, recipe.encoder.options)
