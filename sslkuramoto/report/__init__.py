"""What runs yielded, for people: a terminal table, Markdown, CSV and one self-contained HTML page.

rows = discover([Path("runs/digits")])
summary = summarise([load(row) for row in rows])
show(summary)
write_page(Path("report.html"), rows)
write_readings(Path("readings.pdf"), summary.main_numbers)

table = collect(load_study("digits"), Path("runs/studies"))
print(study_text(table))
write_study_page(Path("study.html"), table)

Pictures, LaTeX and tables of studies load when they are first used: a table of runs needs no matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sslkuramoto.columns import Column
from sslkuramoto.report.page import page, write_page
from sslkuramoto.report.runs import Model, Row, discover, load
from sslkuramoto.report.study_page import study_page, write_study_page
from sslkuramoto.report.tables.columns import columns
from sslkuramoto.report.tables.summary import Summary
from sslkuramoto.report.tables.table import summarise
from sslkuramoto.report.tables.text import csv_text, markdown, plain, show
from sslkuramoto.study.published import Published

if TYPE_CHECKING:
    from sslkuramoto.report.pictures.oscillators import (
        energies_picture,
        phases_picture,
        record_phases,
        record_views,
        views_picture,
    )
    from sslkuramoto.report.pictures.readings import write_readings
    from sslkuramoto.report.tables.latex import study_latex, summary_latex
    from sslkuramoto.report.tables.study_text import study_csv, study_markdown, study_text

_OSCILLATORS = ("energies_picture", "phases_picture", "record_phases", "record_views", "views_picture")
_PLACES = {
    **dict.fromkeys(_OSCILLATORS, "pictures.oscillators"),
    "write_readings": "pictures.readings",
    **dict.fromkeys(("study_latex", "summary_latex"), "tables.latex"),
    **dict.fromkeys(("study_csv", "study_markdown", "study_text"), "tables.study_text"),
}

__all__ = [
    "Column",
    "Model",
    "Published",
    "Row",
    "Summary",
    "columns",
    "csv_text",
    "discover",
    "energies_picture",
    "load",
    "markdown",
    "page",
    "phases_picture",
    "plain",
    "record_phases",
    "record_views",
    "show",
    "study_csv",
    "study_latex",
    "study_markdown",
    "study_page",
    "study_text",
    "summarise",
    "summary_latex",
    "views_picture",
    "write_page",
    "write_readings",
    "write_study_page",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
