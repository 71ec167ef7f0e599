"""The summary of runs: a line a model."""

from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.html import summary_table
from sslkuramoto.report.tables.table import summarise


def section() -> Section:
    """The summary of runs: one line for each model."""
    return Section(
        runs=Half(10, "Summary", lambda shown: summary_table(summarise(shown.models, grouped=shown.grouped))),
    )
