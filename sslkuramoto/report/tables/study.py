"""A study as a table: ours as mean and standard deviation over seeds, published figures in columns of their own.

Nothing else decides what a field shows: terminal, Markdown, LaTeX and page all print this one.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from sslkuramoto.evaluation.audit.record import Audited, record_of
from sslkuramoto.report.evidence import audit_of
from sslkuramoto.report.tables.columns import IN_PERCENT, Found, direction_of
from sslkuramoto.report.tables.main_numbers import main_numbers_of
from sslkuramoto.report.tables.pairs import paired_lines
from sslkuramoto.report.tables.summary import Cell, Head, Summary, with_best
from sslkuramoto.report.tables.table import (
    OVER_EXAMPLES,
    Mark,
    Scoring,
    marker,
    marks_unlike,
    number_text,
    published_cell,
    published_digits,
    scored,
    scoring_lines,
    untrained_lines,
)
from sslkuramoto.results import Reading, Result
from sslkuramoto.study.parse import StudyColumn, StudyRow
from sslkuramoto.study.table import SeedValue, StudyCell, StudyTable

_RUN = re.compile(r"/runs/[^/]+-[0-9a-f]{12}-[0-9a-f]+$")  # ROOT/runs/RECIPE-CONTENT-CODE


@dataclass(frozen=True)
class StudyHead:
    """The heading of a study's column, with its unit unless that is percent."""

    key: str
    title: str
    group: str = ""

    @property
    def name(self) -> str:
        """The heading."""
        return self.title


def study_summary(table: StudyTable) -> Summary:
    """Put a study into rows and columns, with footnotes for what is missing and where published figures come from.

    Raises:
        UserError: a result that cannot be read, or values of one column in several units.
    """
    study, footnotes = table.study, list[str]()
    mark = marker(footnotes)
    heads: list[Head] = []
    by_head: list[list[Cell]] = []
    scoring: Scoring = {}
    labels = labels_of(table)
    robust: dict[str, dict[Reading, list[Found]]] = {key: {} for key in study.rows}
    for column in study.columns.values():
        by_row = {key: table.cells[key, column.key] for key in study.rows}
        head = StudyHead(column.key, _title(table, column))
        found = {labels[key]: _found(column, cell.values) for key, cell in by_row.items() if cell.values}
        unlike = marks_unlike({label: items[0] for label, items in found.items()}, mark)
        cells = [_measured(study.rows[key], column, cell, mark) for key, cell in by_row.items()]
        by_head.append(cells if unlike else with_best(cells, _better(found.values())))
        heads.append(Head(head, marks=unlike))
        for key in study.rows:
            items = found.get(labels[key], [])
            if items and (reading := items[0].metric.reading) is not None:
                robust[key].setdefault(reading, items)
        quoted = f"'{head.name}'" if set(head.name) & set(",:") else head.name
        for items in found.values():
            for item in items:
                scoring.setdefault(scored(item), {}).setdefault(("", quoted), []).append(item)
        if any(cell.published for cell in by_row.values()):
            heads.append(Head(head, published=True))
            figures = [cell.published for cell in by_row.values()]
            by_head.append([published_cell(figure, mark, published_digits(figures)) for figure in figures])
    for text in untrained_lines({labels[key]: _results_of(table, key) for key in study.rows}):
        mark(text)
    rows = study.rows.values()
    return Summary(
        heads=heads,
        labels=[row.label for row in rows],
        cells=[[cells[i] for cells in by_head] for i in range(len(rows))],
        footnotes=footnotes,
        scoring=scoring_lines(scoring),
        groups=[row.group or "" for row in rows] if any(row.group for row in rows) else [],
        below=[*paired_lines(table, labels), *study.notes, *table.notes],
        reading=[*reading_lines(table), *plant_lines(table, labels)],
        unit="%" if all(unit_of(table, column) == "%" for column in study.columns.values()) else "",
        main_numbers=[main_numbers_of(labels[key], robust[key], results=_results_of(table, key)) for key in study.rows],
    )


def _results_of(table: StudyTable, row: str) -> list[Result]:
    """Every result of a row, once."""
    paths = (value.result for column in table.study.columns for value in table.cells[row, column].values)
    return [result_of(path) for path in dict.fromkeys(paths)]


def _better(found: Iterable[Sequence[Found]]) -> Literal["higher", "lower"] | None:
    """Return which of two numbers of a column is better, as the protocols declare it that measured them."""
    metrics: set[tuple[str, str, Reading | None]]
    metrics = {(item.result.kind, item.name, item.metric.reading) for items in found for item in items}
    stated: list[Literal["higher", "lower"] | None] = [
        direction_of(kind, name, reading) for kind, name, reading in metrics
    ]
    return stated[0] if len(set(stated)) == 1 else None


def labels_of(table: StudyTable) -> dict[str, str]:
    """A label for each row that names it without its group: no two are equal."""
    rows = table.study.rows
    labels = [row.label for row in rows.values()]
    return {
        key: f"{row.label} ({row.group})" if labels.count(row.label) > 1 and row.group else row.label
        for key, row in rows.items()
    }


def unit_of(table: StudyTable, column: StudyColumn) -> str:
    """The unit that a column is shown in: ``"%"``, or the word that its results state."""
    cells = (table.cells[key, column.key] for key in table.study.rows)
    units = [value.unit for cell in cells for value in cell.values] or [column.unit or "percent"]
    return "%" if all(unit in IN_PERCENT for unit in units) else next(unit for unit in units if unit not in IN_PERCENT)


def _title(table: StudyTable, column: StudyColumn) -> str:
    unit = unit_of(table, column)
    return column.title if unit == "%" else f"{column.title} [{unit or 'no unit'}]"


def shown_value(value: SeedValue) -> float:
    """The number of a seed as it is shown: percent of shares."""
    return value.value * IN_PERCENT.get(value.unit, 1)


def finite(cell: StudyCell) -> list[SeedValue]:
    """The seeds whose number is one."""
    return [value for value in cell.values if math.isfinite(value.value)]


def spread_of(cell: StudyCell) -> tuple[float, float, float] | None:
    """The shown number and the ends of what surrounds it: mean +- std, the interval of one seed, or itself."""
    values = finite(cell)
    if not values:
        return None
    shown = [shown_value(value) for value in values]
    mean = fmean(shown)
    if len(values) > 1:
        return mean, mean - stdev(shown), mean + stdev(shown)
    interval = interval_of(values[0])
    return (mean, *interval) if interval else (mean, mean, mean)


def interval_of(value: SeedValue) -> tuple[float, float] | None:
    """The interval of one seed as it is shown, if it has one."""
    if value.low is None or value.high is None or not math.isfinite(value.low + value.high):
        return None
    scale = IN_PERCENT.get(value.unit, 1)
    return value.low * scale, value.high * scale


def _measured(row: StudyRow, column: StudyColumn, cell: StudyCell, mark: Mark) -> Cell:
    marks = tuple(mark(text) for text in [*gaps(row, column, cell), *verdicts(cell)])
    spread = spread_of(cell)
    if spread is None:
        return Cell(marks=marks, absent=not row.changes or row.key not in column.rows)
    values, (mean, low, high) = finite(cell), spread
    unit, n = values[0].unit, min(value.n for value in values)
    interval = ""
    if len(values) > 1:
        interval = f"± {number_text(mean - low, unit, n)}"
    elif interval_of(values[0]):
        interval = f"[{number_text(low, unit, n)}, {number_text(high, unit, n)}]"
    count = f"{len(values)} seeds" if len(values) > 1 else ""
    return Cell(mean, number_text(mean, unit, n), interval, marks, seeds=len(values), count=count)


def image_spread_of(cell: StudyCell) -> tuple[float, float, float] | None:
    """The shown mean and the means over seeds of the ends of their intervals over images; None where one has none.

    The seeds were measured on the same images: several of them do not make this interval narrower.
    """
    values = finite(cell)
    ends = [interval for value in values if (interval := interval_of(value))]
    if not ends or len(ends) < len(values):
        return None
    return fmean(map(shown_value, values)), fmean(low for low, _ in ends), fmean(high for _, high in ends)


def reading_lines(table: StudyTable) -> list[str]:
    """Say beside a standard deviation over seeds how far chance in the images reaches: 54.6 ± 0.0 is not exact.

    It is the largest distance of an interval's end from its number, of cells in percent with several seeds.
    """
    cells = [
        table.cells[row, column.key]
        for column in table.study.columns.values()
        if unit_of(table, column) == "%"
        for row in table.study.rows
    ]
    over_draws = any(
        interval_of(value) and value.draws is not None and value.draws > 1 for cell in cells for value in finite(cell)
    )
    said = [OVER_EXAMPLES] if over_draws else []
    several = [spread for cell in cells if len(finite(cell)) > 1 and (spread := image_spread_of(cell))]
    if not several:
        return said
    most = max(max(mean - low, high - mean) for mean, low, high in several)
    return [
        f"± is the standard deviation over seeds; the 95 % interval over images is up to ± {most:.1f} points beside it",
        *said,
    ]


def plant_lines(table: StudyTable, labels: Mapping[str, str]) -> list[str]:
    """The record of the audits in each column that audits a plant, of its first seed; columns of one result once."""
    lines: dict[tuple[Path, ...], str] = {}
    for column in table.study.columns.values():
        audits: dict[Path, Audited] = {}
        for key, label in labels.items():
            for value in table.cells[key, column.key].values[:1]:
                if audit := audit_of(result_of(value.result)):
                    audits[value.result] = Audited(label, audit.plant, audit.word)
        if any(audit.plant for audit in audits.values()):
            lines.setdefault(tuple(audits), f"{column.title}: {'. '.join(record_of([*audits.values()]))}")
    return list(lines.values())


def verdicts(cell: StudyCell) -> list[str]:
    """The verdicts of audits on the network of a cell, seed by seed where they differ."""
    by_text: dict[str, list[int]] = {}
    for value in cell.values:
        if audit := audit_of(result_of(value.result)):
            said = audit.verdict if audit.verdict.startswith(audit.word) else f"{audit.word}: {audit.verdict}"
            by_text.setdefault(f"audit's verdict: {said}", []).append(value.seed)
    several = len(cell.values) > 1
    return [f"{seeds_text(seeds)}: {text}" if several else text for text, seeds in by_text.items()]


def gaps(row: StudyRow, column: StudyColumn, cell: StudyCell) -> list[str]:
    """Say in words what is missing in a cell."""
    if not row.changes:
        return ["published only: no run of ours"]
    if row.key not in column.rows:
        return ["not part of the study for this row"]
    by_reason: dict[str, list[int]] = {}
    for seed, reason in cell.failures.items():
        by_reason.setdefault(f"failed: {' '.join(reason.split())}", []).append(seed)
    for seed in cell.missing:
        by_reason.setdefault("not computed yet", []).append(seed)
    for value in cell.values:
        if not math.isfinite(value.value):
            by_reason.setdefault(f"the result records {column.metric} = {value.value}", []).append(value.seed)
    return [f"{seeds_text(seeds)}: {reason}" for reason, seeds in by_reason.items()]


def seeds_text(seeds: Sequence[int]) -> str:
    """``seed 0`` or ``seeds 0, 1``."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def _found(column: StudyColumn, values: Sequence[SeedValue]) -> list[Found]:
    results = [result_of(value.result) for value in values]
    return [Found(result.metrics[column.metric], column.metric, result) for result in results]


def result_of(path: Path) -> Result:
    """Read a result, once as long as its file stays the same; runs of studies in its options are called by their names.

    Raises:
        UserError: it cannot be read.
    """
    stamp = path.stat() if path.is_file() else None
    return _read(path, stamp and (stamp.st_mtime_ns, stamp.st_size))


@lru_cache(maxsize=4096)
def _read(path: Path, stamp: object) -> Result:
    result = Result.read(path, per_image=False)
    return replace(result, options=_by_name(result.options))


def _by_name(option: Any) -> Any:
    """Return an option with run directories of studies by their names, which say the same on every machine."""
    if isinstance(option, Mapping):
        return {key: _by_name(value) for key, value in option.items()}
    if isinstance(option, list):
        return [_by_name(value) for value in option]
    return Path(option).name if isinstance(option, str) and _RUN.search(option) else option
