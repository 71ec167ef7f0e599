"""The columns of a study as bars with their spread over seeds, as figure 24 of Miyato et al. 2025 shows its rows."""

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, element, figure, fine, joined, left_out_note
from sslkuramoto.report.pictures.bars import Bar, bars_picture
from sslkuramoto.report.pictures.drawing import legend
from sslkuramoto.report.sections.scatter import numbered, reported_spread
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section
from sslkuramoto.report.tables.study import labels_of, spread_of, unit_of
from sslkuramoto.study.parse import StudyColumn
from sslkuramoto.study.table import StudyTable

HOW_TO_READ_BARS = (
    "Lines are the standard deviation over seeds, or with one seed the 95 % interval over images. Hollow diamonds are "
    "reported figures of the same rows. Columns of which fewer than two rows are measured have no picture."
)


def bars(table: StudyTable) -> Markup:
    """One panel for each column that compares measured rows, as many as the page may weigh."""
    drawn, left_out, shown, budget = list[Markup](), list[str](), set[int](), PICTURE_BUDGET
    for number, column in enumerate(table.study.columns.values()):
        found = _bars(table, column)
        if sum(bar.measured is not None for bar in found) < 2:
            continue
        picture = figure(bars_picture(column.title, unit_of(table, column), found, name=f"bars-{number}"))
        if len(picture) > budget:
            left_out.append(column.title)
            continue
        budget -= len(picture)
        drawn.append(picture)
        shown |= {bar.series for bar in found}
    if not drawn:
        return NOTHING
    panels = element("div", joined(drawn), class_="panels")
    return legend(numbered(table, shown)) + fine(HOW_TO_READ_BARS) + panels + left_out_note(left_out, "Left out")


def _bars(table: StudyTable, column: StudyColumn) -> list[Bar]:
    """Return the rows that a column measures; figures of other rows stand in the table."""
    found, percent = [], unit_of(table, column) == "%"
    for series, (row, label) in enumerate(labels_of(table).items()):
        cell = table.cells[row, column.key]
        if (measured := spread_of(cell)) is not None:
            found.append(Bar(series, label, measured, reported_spread(cell.published) if percent else None))
    return found


def section() -> Section:
    """The columns of a study as bars."""
    return Section(
        study=Half(15, "Columns as bars", lambda shown: bars(shown.table)),
    )
