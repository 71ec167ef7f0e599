"""The summary as an HTML table: measured and published figures in columns of their own, footnotes below."""

from markupsafe import Markup

from sslkuramoto.report.markup import rendered
from sslkuramoto.report.tables.summary import MISSING, Summary

FEW = 3  # footnotes that are shown unfolded


def summary_table(summary: Summary, *, name: str = "note") -> Markup:
    """Return the table with its footnotes.

    Args:
        summary: of :func:`~sslkuramoto.report.tables.table.summarise` or of a study.
        name: goes before the number of a footnote to make its address, unique on the page.
    """
    summary = summary.informative()
    bold = " Bold: the best value of a column." if any(cell.best for row in summary.cells for cell in row) else ""
    unit = "Percent; below" if summary.unit == "%" else "Percent where no other unit is said; below"
    sorts = " A heading sorts the table." if len(summary.labels) > 1 else ""
    spans: dict[str, int] = {}  # of the headings above headings
    for head in summary.heads:
        spans[head.column.group] = spans.get(head.column.group, 0) + 1
    return rendered(
        "summary.html",
        name=name,
        missing=MISSING,
        label="summary table",
        first=f"{unit} a number its interval, or ± its standard deviation.{bold}{sorts}",
        spans=list(spans.items()) if any(spans) else [],
        groups=summary.groups,
        heads=summary.heads,
        rows=list(zip(summary.labels, summary.cells, strict=True)),
        footnotes=summary.footnotes,
        below=[*summary.reading, *summary.below],
        scoring=summary.scoring,
        few=len(summary.footnotes) <= FEW,
    )
