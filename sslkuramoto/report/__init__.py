"""What runs yielded, for people: a terminal table, Markdown, CSV and one self-contained HTML page.

rows = discover([Path("runs/digits")])
summary = summarise([load(row) for row in rows])
show(summary)
write_page(Path("report.html"), rows)
"""

from sslkuramoto.report.columns import COLUMNS, Column
from sslkuramoto.report.page import page, write_page
from sslkuramoto.report.pictures import energies_picture, phases_picture, record_phases, record_views, views_picture
from sslkuramoto.report.printing import csv_text, markdown, plain, show
from sslkuramoto.report.published import Published
from sslkuramoto.report.runs import Model, Row, discover, load
from sslkuramoto.report.table import Summary, summarise

__all__ = [
    "COLUMNS",
    "Column",
    "Model",
    "Published",
    "Row",
    "Summary",
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
    "summarise",
    "views_picture",
    "write_page",
]
