"""The sections of a study's page. Each is empty when there is nothing to show."""

from collections.abc import Mapping

from markupsafe import Markup

from sslkuramoto.report.evidence import Evidence, audit_of
from sslkuramoto.report.markup import (
    NOTHING,
    bullets,
    cells,
    element,
    figure,
    fine,
    heads_of,
    joined,
    line_of,
    table_of,
)
from sslkuramoto.report.pictures.bands import Together, band_panel, together
from sslkuramoto.report.pictures.scatter import Point, Spread, scatter_pictures
from sslkuramoto.report.runs import read_series
from sslkuramoto.report.sections import evidence as evidence_sections
from sslkuramoto.report.sections.runs import legend
from sslkuramoto.report.tables.pairs import HEADS, HOW_TO_READ, paired_table, untested_lines
from sslkuramoto.report.tables.study import image_spread_of, labels_of, result_of, spread_of, unit_of
from sslkuramoto.study.paired import comparisons
from sslkuramoto.study.parse import StudyColumn
from sslkuramoto.study.published import Published
from sslkuramoto.study.table import StudyCell, StudyTable

ROBUST = {"robust_accuracy", "union"}  # last part of the metric of a column of robust accuracy
WHAT_P_SAYS = (
    " A small p says that these networks would differ on other images of the same kind, not that other seeds would."
)
HOW_TO_READ_POINTS = (
    "Thick lines are the standard deviation over seeds, thin ones the 95 % interval over images (of several seeds the "
    "mean of its ends). Hollow diamonds are reported figures."
)


def paired_tests(table: StudyTable) -> Markup:
    """The tests of :mod:`sslkuramoto.study.paired`, pooled and seed by seed."""
    labels, lines = labels_of(table), []
    for line in paired_table(table, labels):
        names = (line.column, line.second, line.seeds)
        fields = cells(names, class_="name")
        for text, number in zip(line.texts, line.numbers, strict=True):
            fields += element("td", text, data_sort="" if number is None else repr(number))
        lines.append(line_of(line.first, fields))
    head = heads_of("first", "column", "second", "seeds", numbers=HEADS)
    return (
        (fine(HOW_TO_READ + WHAT_P_SAYS) if lines else NOTHING)
        + table_of(head, lines, "sortable")
        + bullets(untested_lines(comparisons(table), labels))
    )


def clean_column(table: StudyTable) -> StudyColumn | None:
    """The column of clean accuracy: by its name, else by what it measures."""
    columns = table.study.columns
    if "clean" in columns:
        return columns["clean"]
    measured = [c for c in columns.values() if _measures(c) == "clean_accuracy"]
    plain = [c for c in columns.values() if c.protocol.startswith("clean") and _measures(c) == "accuracy"]
    return next(iter([*plain, *measured]), None)


def _measures(column: StudyColumn) -> str:
    return column.metric.rpartition("/")[2]


def clean_against_robust(table: StudyTable) -> Markup:
    """One panel a column of robust accuracy, one point a row that has both numbers."""
    study, clean = table.study, clean_column(table)
    if clean is None or unit_of(table, clean) != "%":
        return NOTHING
    panels, labels = [], labels_of(table)
    for column in study.columns.values():
        if _measures(column) not in ROBUST or unit_of(table, column) != "%":
            continue
        points = []
        for series, row in enumerate(study.rows):
            cells = table.cells[row, clean.key], table.cells[row, column.key]
            measured = spread_of(cells[0]), spread_of(cells[1])
            reported = _reported(cells[0].published), _reported(cells[1].published)
            for (x, y), is_reported in ((measured, False), (reported, True)):
                if x is not None and y is not None:
                    images = None if is_reported else _images(*cells)
                    points.append(Point(series, labels[row], x, y, is_reported, images))
        panels += [(column.title, points)] if points else []
    if not panels:
        return NOTHING
    drawn = {point.series for _, points in panels for point in points}
    pictures = joined(map(figure, scatter_pictures(panels, name="scatter")))
    return legend(_numbered(table, drawn)) + fine(HOW_TO_READ_POINTS) + element("div", pictures, class_="panels")


def _images(clean: StudyCell, robust: StudyCell) -> tuple[Spread, Spread] | None:
    x, y = image_spread_of(clean), image_spread_of(robust)
    return None if x is None or y is None else (x, y)


def _reported(published: Published | None) -> Spread | None:
    if published is None:
        return None
    std = published.std or 0.0
    return published.value, published.value - std, published.value + std


def _numbered(table: StudyTable, series: set[int]) -> dict[int, str]:
    return {k: f"{k + 1} {label}" for k, label in enumerate(labels_of(table).values()) if k in series}


def curves(table: StudyTable) -> Markup:
    """The columns of metrics.csv that the study names, of each training run that it names: one panel a column."""
    labels = labels_of(table)
    drawn, missing, names, shown = NOTHING, [], [], set[int]()
    for place, number in enumerate(table.study.curves_stages):
        stage, by_row = _records(table, number)
        names.append(stage)
        for index, metric in enumerate(table.study.curves):
            rows: dict[int, tuple[str, Together]] = {}
            for series, seeds in by_row.items():
                if (found := together([one[metric] for one in seeds if metric in one])) is not None:
                    rows[series] = list(labels.values())[series], found
            shown |= set(rows)
            if rows:
                picture, remarks = band_panel(metric, rows, stage=stage, name=f"curve-{place}-{index}")
                told = [stage, *remarks] if len(table.study.curves_stages) > 1 else remarks
                drawn += figure(picture, ". ".join(told) + "." if told else "")
            else:
                missing.append(metric if len(table.study.curves_stages) == 1 else f"{metric} of {stage}")
    note = fine(f"No record of {', '.join(missing)}.") if missing else NOTHING
    if not drawn:
        return note
    text = fine(
        f"Metrics of {' and '.join(names)}. Lines are means over seeds, at the steps that all seeds recorded; the band "
        "is one standard deviation over seeds to each side, where there are several. Of a long curve the faint line is "
        "the mean of the records themselves. A cross marks the first value that is not finite."
    )
    series_names = {series: label for series, label in enumerate(labels.values()) if series in shown}
    return legend(series_names) + text + element("div", drawn, class_="panels") + note


def _records(table: StudyTable, stage: int) -> tuple[str, dict[int, list[Mapping]]]:
    """Return the name of a training run of the rows, and series -> what each of its seeds recorded."""
    found: dict[int, list[Mapping]] = {}
    names: set[str] = set()
    for series, (key, row) in enumerate(table.study.rows.items()):
        if -len(row.stages) <= stage < len(row.stages):
            files = [table.runs[key, s][stage] / "metrics.csv" for s in row.seeds if (key, s) in table.runs]
            found[series] = [read_series(file) for file in files if file.is_file()]
            names.add(row.stages[stage].name)
    return next(iter(names)) if len(names) == 1 else f"stage {stage}", found


def audits(table: StudyTable) -> Markup:
    """The audit's verdict on each row of the study, and on which rows there is none."""
    labels, items = labels_of(table), evidence_of(table, every_seed=True)
    audited = {item.series for item in items if audit_of(item.result)}
    return evidence_sections.audits(items, [label for k, label in enumerate(labels.values()) if k not in audited])


def evidence_of(table: StudyTable, *, every_seed: bool) -> list[Evidence]:
    """Each result of the study once, under the name of its row; of the first seed only, or of every one."""
    labels, found = labels_of(table), dict[object, Evidence]()
    for series, (key, row) in enumerate(table.study.rows.items()):
        for column in table.study.columns.values():
            values = table.cells[key, column.key].values
            for value in values if every_seed else values[:1]:
                if value.result in found:
                    continue
                changed = f", {column.title}" if column.encoder or column.settings else ""
                seed = f", seed {value.seed}" if len(row.seeds) > 1 else ""
                found[value.result] = Evidence(labels[key] + changed + seed, series, result_of(value.result))
    return list(found.values())
