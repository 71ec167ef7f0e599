"""What a study found: one cell a row and column, measured values over seeds beside the published figure."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.results import DAMAGED, Result
from sslkuramoto.study.jobs import Evaluation, Network
from sslkuramoto.study.parse import Study, StudyColumn
from sslkuramoto.study.plan import Plan, plan_study
from sslkuramoto.study.published import Published

ROUNDED = 1e-4
"""How far the mean of a per-image list may lie from the number of its column: both are rounded."""


class NotInResultError(UserError):
    """A column names a number that its protocol does not give."""


@dataclass(frozen=True)
class SeedValue:
    """The number of one seed.

    Attributes:
        seed: of the runs.
        value: in ``unit``.
        low, high: 95 % interval over images, or None.
        n: images behind it.
        draws: of the initial oscillators, or None where the result does not state them.
        unit: ``"fraction"`` for shares in [0,1], otherwise a word.
        result: the file that holds it.
        correct: share of correct draws per image; None unless the column names it.
        images: which images these are, as :meth:`~sslkuramoto.results.Result.images` states it.
        groups: of images that depend on each other (:meth:`~sslkuramoto.results.Result.groups`).
    """

    seed: int
    value: float
    low: float | None
    high: float | None
    n: int
    draws: int | None
    unit: str
    result: Path
    correct: list[float] | None = None
    images: Mapping[str, Any] = field(default_factory=dict)
    groups: list | None = None


@dataclass
class StudyCell:
    """One row in one column.

    Attributes:
        values: one per seed that was measured.
        failures: seed -> why there is no number.
        missing: seeds that were not computed yet.
        published: the source's figure, never mixed with ``values``.
    """

    values: list[SeedValue] = field(default_factory=list)
    failures: dict[int, str] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    published: Published | None = None

    @property
    def n_seeds(self) -> int:
        """Seeds behind the mean."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean over seeds, None without any."""
        return fmean(value.value for value in self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1) over seeds, None for fewer than two."""
        return stdev(value.value for value in self.values) if len(self.values) > 1 else None


@dataclass
class StudyTable:
    """What a study found.

    Attributes:
        study: the study.
        cells: (row, column) -> cell, of every row and column.
        runs: (row, seed) -> run directories, one a stage, whether or not they are there.
        networks: (row, seed) -> the network of a function, of rows that have no runs.
        notes: what a reader must know beyond the notes of the study.
    """

    study: Study
    cells: dict[tuple[str, str], StudyCell]
    runs: dict[tuple[str, int], list[Path]]
    notes: list[str] = field(default_factory=list)
    networks: dict[tuple[str, int], Network] = field(default_factory=dict)


def collect(study: Study, root: Path, *, any_code: bool = False) -> StudyTable:
    """Read what is computed of a study so far; computes nothing.

    Args:
        study: from :func:`~sslkuramoto.study.parse.load_study`.
        root: of all studies.
        any_code: take results of other code versions too; a note counts them.

    Raises:
        UserError: a result that cannot be read.
    """
    plan = plan_study(study, root, any_code=any_code, record=False)
    cells = {
        (row.key, column): StudyCell(published=row.published.get(column))
        for row in study.rows.values()
        for column in study.columns
    }
    for (row, column, seed), key in plan.cells.items():
        _fill(cells[row, column], plan, key, study.columns[column], seed)
    for cell in cells.values():
        cell.values.sort(key=lambda value: value.seed)
    runs = {at: [plan.root / "runs" / key for key in keys] for at, keys in plan.chains.items()}
    return StudyTable(study, cells, runs, _notes(plan), plan.networks)


def _fill(cell: StudyCell, plan: Plan, key: str, column: StudyColumn, seed: int) -> None:
    task = plan.tasks[key]
    assert isinstance(task, Evaluation)
    if task.done():
        try:
            cell.values.append(value_of(task.path, column, seed))
        except UserError as error:
            cell.failures[seed] = str(error)
    elif (failure := plan.failure(key) or plan.problem(key)) is not None:
        cell.failures[seed] = failure
    else:
        cell.missing.append(seed)


def check_metrics(plan: Plan) -> None:
    """Check, by what is computed already, that columns name numbers that their protocols give.

    Results of another version of the code, which may have had other names, are not looked at.

    Raises:
        NotInResultError: the first that does not.
    """
    for (_, column, seed), key in plan.cells.items():
        task = plan.tasks[key]
        if task.done() and key not in plan.other_code:
            try:
                value_of(task.path, plan.study.columns[column], seed)
            except NotInResultError as error:
                where = f"study {plan.study.name}: columns.{column}"
                raise NotInResultError(f"{where}: {error} (read from {task.path})") from None
            except UserError:
                continue  # a damaged result is a dash with its reason


def value_of(path: Path, column: StudyColumn, seed: int) -> SeedValue:
    """Read the number of a column from a result.

    Raises:
        NotInResultError: the result lacks what the column names, or its per-image list is not of shares.
        UserError: it is damaged, says itself that the number is void, or the number is not the mean of the list.
    """
    result = Result.read(path)
    if column.metric not in result.metrics:
        raise _lacks(f"metric of protocol {column.protocol}", column.metric, result.metrics)
    metric, per_image = result.metrics[column.metric], result.per_image
    if math.isnan(metric.value) and (void := result.details.get("void")):
        raise UserError(f"{path}: {void}")
    if metric.n is None or math.isnan(metric.value):
        raise UserError(f"{path}: metrics.{column.metric}: must have a finite value and its n ({DAMAGED})")
    if column.per_image is not None and column.per_image not in per_image:
        raise _lacks(f"per-image result of protocol {column.protocol}", column.per_image, per_image)
    correct = None if column.per_image is None else per_image[column.per_image]
    if correct == []:
        raise UserError(f"{path}: per_image.{column.per_image}: must have one entry per image ({DAMAGED})")
    if correct is not None and (column.per_image not in result.verdicts or not _of_shares(correct)):
        raise _no_shares(column, result)
    if correct is not None and abs(fmean(correct) - metric.value) > ROUNDED:
        raise UserError(
            f"{path}: per-image list {column.per_image!r} of protocol {column.protocol} does not belong to "
            f"{column.metric!r}, or the file was edited: "
            f"its mean is {fmean(correct):.4g}, the number {metric.value:.4g}"
        )
    return SeedValue(
        seed=seed,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        n=metric.n,
        draws=metric.draws,
        unit=column.unit or metric.unit,
        result=path,
        correct=None if correct is None else [float(value) for value in correct],
        images=result.images(),
        groups=result.groups(),
    )


def _of_shares(values: Any) -> bool:
    numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    return numbers and bool(values) and 0 <= min(values) <= max(values) <= 1


def _no_shares(column: StudyColumn, result: Result) -> NotInResultError:
    names = ", ".join(sorted(name for name in result.verdicts if _of_shares(result.per_image.get(name))))
    return NotInResultError(
        f"per-image list {column.per_image!r} of protocol {column.protocol} holds no shares of correct draws; "
        + (f"these hold shares: {names}" if names else "no other does")
    )


def _lacks(kind: str, name: str, allowed: Iterable[str]) -> NotInResultError:
    return NotInResultError(str(unknown(kind, name, allowed)))


def _notes(plan: Plan) -> list[str]:
    notes = plan.study.changes
    used = {key for key in plan.other_code if plan.tasks[key].done()}
    if used:
        runs = sum(not isinstance(plan.tasks[key], Evaluation) for key in used)
        notes.append(
            f"{len(used) - runs} results and {runs} training runs come from another version of the code than this one"
        )
    return notes
