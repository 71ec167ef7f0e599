"""The table of a study, measured beside published."""

from markupsafe import Markup

from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.html import summary_table
from sslkuramoto.report.tables.study import study_summary
from sslkuramoto.study.table import StudyTable


def measured_and_reported(table: StudyTable) -> Markup:
    """The table with its footnotes; the notes that other outputs print below it are sections of their own here."""
    summary = study_summary(table)
    summary.below = []
    return summary_table(summary)


def section() -> Section:
    """The table of a study, measured beside published."""
    return Section(
        study=Half(10, "Results", lambda shown: measured_and_reported(shown.table)),
    )
