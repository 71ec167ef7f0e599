"""The summary as an HTML table: measured and published figures in columns of their own, footnotes below."""

from sslkuramoto.report.markup import bullets, element, fine, safe, table_of
from sslkuramoto.report.tables.table import MISSING, Cell, Head, Summary


def summary_table(summary: Summary, *, name: str = "note") -> str:
    """Return the table with its footnotes.

    Args:
        summary: of :func:`~sslkuramoto.report.tables.table.summarise` or of a study.
        name: goes before the number of a footnote to make its address, unique on the page.
    """

    def marks_of(marks: tuple[int, ...]) -> str:
        links = ",".join(f'<a href="#{name}-{k}">{k}</a>' for k in marks)
        return f"<sup>{links}</sup>" if links else ""

    def field_of(head: Head, cell: Cell) -> str:
        if cell.value is None:
            return element("td", MISSING + marks_of(cell.marks), data_sort="", class_="missing")
        interval = element("span", safe(cell.interval), class_="interval") if cell.interval else ""
        content = safe(cell.text) + marks_of(cell.marks) + interval
        return element("td", content, data_sort=repr(cell.value), class_=_kind(head))

    corner = element("th", "model", scope="col") + (
        element("th", "group", scope="col", class_="name") if summary.groups else ""
    )
    heads = "".join(
        element("th", safe(_title(head)) + marks_of(head.marks), scope="col", data_down="", class_=_kind(head))
        for head in summary.heads
    )
    lines = []
    for i, (label, row) in enumerate(zip(summary.labels, summary.cells, strict=True)):
        group = element("td", safe(summary.groups[i]), class_="name") if summary.groups else ""
        fields = "".join(map(field_of, summary.heads, row))
        lines.append(f"<tr>{element('th', safe(label), scope='row')}{group}{fields}</tr>")
    footnotes = "".join(element("li", safe(text), id=f"{name}-{k + 1}") for k, text in enumerate(summary.footnotes))
    unit = "Percent; below" if summary.unit == "%" else "Percent where no other unit is said; below"
    first = fine(
        f"{unit} a number its interval, or ± its standard deviation."
        + (" A heading sorts the table." if len(summary.labels) > 1 else "")
    )
    return (
        first
        + table_of(f"{_groups(summary)}<tr>{corner}{heads}</tr>", lines, "summary sortable")
        + (f'<ol class="notes">{footnotes}</ol>' if footnotes else "")
        + bullets([*summary.reading, *summary.scoring, *summary.below])
    )


def _groups(summary: Summary) -> str:
    """The line of headings above headings, where columns have some."""
    spans: dict[str, int] = {}
    for head in summary.heads:
        spans[head.column.group] = spans.get(head.column.group, 0) + 1
    if not any(spans):
        return ""
    heads = "".join(element("th", safe(name), scope="colgroup", colspan=str(span)) for name, span in spans.items())
    return f'<tr class="groups">{"<td></td>" * (2 if summary.groups else 1)}{heads}</tr>'


def _title(head: Head) -> str:
    return f"{head.column.title}, reported" if head.published else head.column.title


def _kind(head: Head) -> str | None:
    return "published" if head.published else None
