"""Reads what runs left behind: recipe, environment, metrics over steps, results. Their text is never trusted.

A model is one row of the report. Its run directory holds the pretraining; a finetuned run may be in ``RUN/finetune``.
"""

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.held_weights import HeldWeights
from sslkuramoto.files import ABOUT, bounded_yaml, read_object
from sslkuramoto.objectives import OBJECTIVES, head_of
from sslkuramoto.results import Result
from sslkuramoto.study.published import Published

PRETRAIN, FINETUNE = "pretrain", "finetune"
SIGNS_OF_A_RUN = ("recipe.yaml", "metrics.csv", "results", "environment.json", ABOUT)


@dataclass(frozen=True)
class Row:
    """One model of the report.

    Attributes:
        label: its name in the report.
        run: its run directory; None for a model that is only published.
        parts: the run directory of each part (``"pretrain"``, ``"finetune"``); found under ``run`` when left out.
        published: figures of a paper, by the key of the column that they belong to. Never mixed with measured ones.
    """

    label: str
    run: Path | None = None
    parts: Mapping[str, Path] = field(default_factory=dict)
    published: Mapping[str, Published] = field(default_factory=dict)


Series = tuple[list[float], list[float]]  # steps, values


@dataclass(frozen=True)
class Part:
    """One run directory, read.

    Attributes:
        results: on weights that it holds, as far as that can be told.
        of_others: results on other weights, which no table and no picture shows.
    """

    name: str
    path: Path
    recipe: str | None
    environment: Mapping[str, Any]
    series: Mapping[str, Series]
    results: tuple[Result, ...]
    of_others: tuple[Result, ...] = ()


@dataclass(frozen=True)
class Model:
    """A row with everything that its run directories hold."""

    row: Row
    parts: Mapping[str, Part]

    @property
    def label(self) -> str:
        return self.row.label


def is_run(path: Path) -> bool:
    """Return whether ``path`` looks like a run directory."""
    return path.is_dir() and any((path / sign).exists() for sign in SIGNS_OF_A_RUN)


def discover(paths: Iterable[Path]) -> list[Row]:
    """Return one row for each run directory among ``paths`` or one level below them.

    Raises:
        UserError: a path that is neither a run directory nor holds one.
    """
    runs: list[Path] = []
    for path in paths:
        path = Path(path)
        if is_run(path):
            found = [path]
        else:
            found = sorted(child for child in path.iterdir() if is_run(child)) if path.is_dir() else []
        if not found:
            what = "is not a directory" if not path.is_dir() else "holds no run directory"
            raise UserError(
                f"run={str(path)!r}: {what}; must be a directory with {', '.join(SIGNS_OF_A_RUN)}, or one of such"
            )
        runs += [run for run in found if run not in runs]
    return [Row(label, run) for label, run in zip(_labels(runs), runs, strict=True)]


def _labels(runs: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    whole = [run.resolve().parts for run in runs]
    longest = max(map(len, whole), default=1)
    for length in range(1, longest + 1):
        labels = ["/".join(parts[-length:]) for parts in whole]
        if len(set(labels)) == len(labels):
            return labels
    return [str(run) for run in runs]


def load(row: Row) -> Model:
    """Read the run directories of a row.

    Raises:
        UserError: a directory that is missing, or a file (named) that is truncated or not what its name says.
    """
    places = dict(row.parts) or (_parts_below(row.run) if row.run is not None else {})
    for name, path in places.items():
        if not Path(path).is_dir():
            raise UserError(f"run={str(path)!r} ({name} of {row.label!r}): is not a directory")
    return Model(row, {name: read_part(name, Path(path)) for name, path in places.items()})


def _parts_below(run: Path) -> dict[str, Path]:
    run = Path(run)
    if is_run(run / FINETUNE):
        return {PRETRAIN: run, FINETUNE: run / FINETUNE}
    return {FINETUNE if _left_a_head(run) else PRETRAIN: run}


def _left_a_head(run: Path) -> bool:
    """Return whether the objective of a run trains the head that answers, such as a classifier."""
    if (run / ABOUT).is_file():
        return True
    try:
        recipe = OmegaConf.to_container(OmegaConf.create(bounded_yaml(read_text(run / "recipe.yaml") or "")))
    except Exception as error:  # omegaconf's own, or its YAML reader's
        reason = " ".join(str(error).split())
        raise UserError(f"{run / 'recipe.yaml'}: not a readable recipe ({reason})") from None
    objective = recipe.get("objective") if isinstance(recipe, dict) else None
    name = objective.get("name") if isinstance(objective, dict) else None
    return name in set(OBJECTIVES) and head_of(name) is not None


def read_part(name: str, path: Path) -> Part:
    """Read one run directory. Files that are missing are left out, files that are broken raise :class:`UserError`."""
    environment = read_object(path / "environment.json") if (path / "environment.json").exists() else {}
    held = HeldWeights(path)
    found: dict[bool, list[Result]] = {True: [], False: []}
    for file in sorted((path / "results").glob("*.json")):
        result = Result.read(file, per_image=False)
        found[held.include(result)].append(result)
    return Part(
        name=name,
        path=path,
        recipe=read_text(path / "recipe.yaml"),
        environment=environment,
        series=read_series(path / "metrics.csv"),
        results=tuple(found[True]),
        of_others=tuple(found[False]),
    )


def read_text(path: Path) -> str | None:
    """Return the text of a file, None where there is none."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def read_series(path: Path) -> dict[str, Series]:
    """Read metrics over steps, one series per column, without gaps, with nan and inf.

    Rows of the same step are joined (a resumed run may repeat one: the later value counts). The last line may be cut.

    Raises:
        UserError: no ``step`` column, or text where a number should be, before the last line.
    """
    text = (read_text(path) or "").replace("\0", "")
    reader = csv.DictReader(text.splitlines())
    try:
        names = [name for name in reader.fieldnames or () if name]
        rows = list(reader)
    except csv.Error as error:  # a field of 128 KiB
        raise UserError(f"{path}: damaged ({error})") from None
    if rows and "step" not in names:
        raise UserError(f"{path}: no column 'step' among {', '.join(names)}")
    joined: dict[float, dict[str, float]] = {}
    for index, row in enumerate(rows):
        values = {name: value.strip() for name in names if (value := row.get(name)) and value.strip()}
        try:
            numbers = {name: _parse(path, index + 2, name, value) for name, value in values.items()}
        except UserError:
            if index == len(rows) - 1:
                break
            raise
        step = numbers.pop("step", None)
        if step is not None and math.isfinite(step):
            joined.setdefault(step, {}).update(numbers)
    series: dict[str, Series] = {name: ([], []) for name in names if name != "step"}
    for step in sorted(joined):
        for name, value in joined[step].items():
            series[name][0].append(step)
            series[name][1].append(value)
    return {name: points for name, points in series.items() if points[0]}


def _parse(path: Path, line: int, name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError(f"{path}, line {line}: {name}={value!r}: must be a number or nothing") from None
