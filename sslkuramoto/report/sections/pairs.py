"""Paired tests of a study's rows."""

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, bullets, cells, fine, heads_of, line_of, number_field, table_of
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.pairs import HEADS, HOW_TO_READ, paired_table, untested_lines
from sslkuramoto.report.tables.study import labels_of
from sslkuramoto.study.paired import comparisons
from sslkuramoto.study.table import StudyTable

WHAT_P_SAYS = (
    " A small p says that these networks would differ on other images of the same kind, not that other seeds would."
)


def paired_tests(table: StudyTable) -> Markup:
    """The tests of :mod:`sslkuramoto.study.paired`, pooled and seed by seed."""
    labels, lines = labels_of(table), []
    for line in paired_table(table, labels):
        names = (line.column, line.second, line.seeds)
        fields = cells(names, class_="name")
        for text, number in zip(line.texts, line.numbers, strict=True):
            fields += number_field(text, number)
        lines.append(line_of(line.first, fields))
    head = heads_of("first", "column", "second", "seeds", numbers=HEADS)
    return (
        (fine(HOW_TO_READ + WHAT_P_SAYS) if lines else NOTHING)
        + table_of(head, lines, "sortable", label="table of paired tests")
        + bullets(untested_lines(comparisons(table), labels))
    )


def section() -> Section:
    """Paired tests of a study's rows."""
    return Section(
        study=Half(40, "Paired tests", lambda shown: paired_tests(shown.table)),
    )
