"""Clean against robust accuracy of a study's rows."""

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, element, figure, fine, joined
from sslkuramoto.report.pictures.drawing import legend
from sslkuramoto.report.pictures.scatter import Point, Spread, scatter_pictures
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.study import image_spread_of, labels_of, spread_of, unit_of
from sslkuramoto.study.parse import StudyColumn
from sslkuramoto.study.published import Published
from sslkuramoto.study.table import StudyCell, StudyTable

ROBUST = {"robust_accuracy", "union"}  # last part of the metric of a column of robust accuracy
HOW_TO_READ_POINTS = (
    "Thick lines are the standard deviation over seeds, thin ones the 95 % interval over images (of several seeds the "
    "mean of its ends). Hollow diamonds are reported figures."
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
            reported = reported_spread(cells[0].published), reported_spread(cells[1].published)
            for (x, y), is_reported in ((measured, False), (reported, True)):
                if x is not None and y is not None:
                    images = None if is_reported else _images(*cells)
                    points.append(Point(series, labels[row], x, y, is_reported, images))
        panels += [(column.title, points)] if points else []
    if not panels:
        return NOTHING
    drawn = {point.series for _, points in panels for point in points}
    pictures = joined(map(figure, scatter_pictures(panels, name="scatter")))
    return legend(numbered(table, drawn)) + fine(HOW_TO_READ_POINTS) + element("div", pictures, class_="panels")


def _images(clean: StudyCell, robust: StudyCell) -> tuple[Spread, Spread] | None:
    x, y = image_spread_of(clean), image_spread_of(robust)
    return None if x is None or y is None else (x, y)


def reported_spread(published: Published | None) -> Spread | None:
    """Return a published figure with the ends of its standard deviation."""
    if published is None:
        return None
    std = published.std or 0.0
    return published.value, published.value - std, published.value + std


def numbered(table: StudyTable, series: set[int]) -> dict[int, str]:
    """Return the labels of rows, with the numbers that pictures show."""
    return {k: f"{k + 1} {label}" for k, label in enumerate(labels_of(table).values()) if k in series}


def section() -> Section:
    """Clean against robust accuracy of a study's rows."""
    return Section(
        study=Half(20, "Clean against robust", lambda shown: clean_against_robust(shown.table)),
    )
