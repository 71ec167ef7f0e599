"""One row a model: measured numbers with their interval, published ones in columns of their own, footnotes for what is missing."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from sslkuramoto.errors import unknown
from sslkuramoto.report.columns import COLUMNS, Column, Found, find, percent
from sslkuramoto.report.published import Published
from sslkuramoto.report.runs import Metric, Model


MISSING = "-"
SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹,")  # noqa: RUF001
# Options that say how a number was computed, not what it means.
INCIDENTAL = {"seed", "batch_size", "workers", "device", "precision", "cache", "chunk", "jobs"}


@dataclass(frozen=True)
class Cell:
    """What one field shows. ``marks`` are numbers of footnotes; ``found`` is set in measured columns only."""

    value: float | None = None
    text: str = MISSING
    interval: str = ""
    marks: tuple[int, ...] = ()
    found: Found | None = None
    published: Published | None = None


@dataclass(frozen=True)
class Head:
    """One column of the table: measured, or (``published``) the figures of papers for the same quantity."""

    column: Column
    published: bool = False
    marks: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.column.name} (published)" if self.published else self.column.name


@dataclass
class Summary:
    """The table: ``cells[i][j]`` belongs to ``labels[i]`` and ``heads[j]``. ``footnotes[k]`` has the number k + 1."""

    heads: list[Head]
    labels: list[str]
    cells: list[list[Cell]]
    footnotes: list[str] = field(default_factory=list)
    scoring: list[str] = field(default_factory=list)


def summarise(models: Sequence[Model], columns: Sequence[Column] = COLUMNS) -> Summary:
    """Put the models' numbers in their columns.

    Raises:
        UserError: a published figure under a key that is no column, or a result that does not say what its unit is.
    """
    footnotes: list[str] = []

    def mark(text: str) -> int:
        if text not in footnotes:
            footnotes.append(text)
        return footnotes.index(text) + 1

    keys = [column.key for column in columns]
    for model in models:
        for key in model.row.published:
            if key not in keys:
                raise unknown(f"column of a published figure of {model.label!r}", key, keys)
    heads: list[Head] = []
    by_head: list[list[Cell]] = []
    scoring: dict[str, list[str]] = {}
    for column in columns:
        found = {model.label: find(column, model) for model in models}
        measured = {label: item for label, item in found.items() if isinstance(item, Found)}
        by_head.append([_measured(item, mark) for item in found.values()])
        marks = tuple(mark(f"not alike in every row: {item}") for item in _unlike(measured))
        heads.append(Head(column, marks=marks))
        for line in dict.fromkeys(map(_scored, measured.values())):
            scoring.setdefault(line, []).append(column.name)
        if any(column.key in model.row.published for model in models):
            heads.append(Head(column, published=True))
            by_head.append([_published(model.row.published.get(column.key), mark) for model in models])
    for text in _mixed_weights(models):
        mark(text)
    return Summary(
        heads=heads,
        labels=[model.label for model in models],
        cells=[[cells[i] for cells in by_head] for i in range(len(models))],
        footnotes=footnotes,
        scoring=[f"{', '.join(names)}: {line}" for line, names in scoring.items()],
    )


def _measured(item: Found | str, mark: Any) -> Cell:
    if isinstance(item, str):
        return Cell(marks=(mark(item),))
    metric = item.metric
    value = percent(metric, metric.value)
    if value is None or not math.isfinite(value):
        return Cell(marks=(mark(f"{item.result.path.name} records {item.name} = {metric.value}"),))
    return Cell(value, decimals(value, metric), interval_of(metric), found=item)


def decimals(value: float, metric: Metric) -> str:
    """One decimal, two where n can bear them."""
    return f"{value:.{2 if (metric.n or 0) >= 5000 else 1}f}"


def interval_of(metric: Metric) -> str:
    """``[low, high]`` in percent, else ``± std over draws``, else nothing."""
    low, high, std = (percent(metric, bound) for bound in (metric.low, metric.high, metric.std_over_draws))
    if low is not None and high is not None and math.isfinite(low + high):
        return f"[{decimals(low, metric)}, {decimals(high, metric)}]"
    return f"± {decimals(std, metric)}" if std is not None and math.isfinite(std) else ""


def _published(figure: Published | None, mark: Any) -> Cell:
    if figure is None:
        return Cell()
    runs = f", {figure.n} run{'s' if figure.n > 1 else ''}" if figure.n else ""
    interval = "" if figure.std is None else f"± {figure.std:g}"
    return Cell(figure.value, f"{figure.value:g}", interval, (mark(f"published: {figure.source}{runs}"),), published=figure)


def _scored(found: Found) -> str:
    result, metric = found.result, found.metric
    options = ", ".join(f"{key}={value}" for key, value in result.options.items() if isinstance(value, int | float | str))
    data = " ".join(str(result.data[key]) for key in ("name", "split") if result.data.get(key))
    n = metric.n or result.data.get("n")
    parts = [result.protocol + (f" ({options})" if options else "")]
    parts += [f"{n or 'unknown number of'} images{f' of {data}' if data else ''}"]
    parts += [f"mean over {metric.draws} draws of the oscillators"] if metric.draws and metric.draws > 1 else []
    return "; ".join(parts)


def _conditions(found: Found) -> dict[str, str]:
    result = found.result
    conditions = {"protocol": result.protocol, "number of images": found.metric.n or result.data.get("n")}
    conditions |= {f"data {key}": result.data.get(key) for key in ("name", "split", "fingerprint")}
    conditions |= {f"option {key}": value for key, value in result.options.items() if key not in INCIDENTAL}
    return {key: str(value) for key, value in conditions.items()}


def _unlike(measured: dict[str, Found]) -> list[str]:
    """What differs between the rows of one column and would make comparing them unfair."""
    conditions = {label: _conditions(item) for label, item in measured.items()}
    keys = dict.fromkeys(key for each in conditions.values() for key in each)
    unlike = []
    for key in keys:
        values = {label: each.get(key, MISSING) for label, each in conditions.items()}
        if len(set(values.values())) > 1:
            unlike.append(f"{key} (" + ", ".join(f"{label}: {_short(value)}" for label, value in values.items()) + ")")
    return unlike


def _short(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _mixed_weights(models: Sequence[Model]) -> list[str]:
    notes = []
    for model in models:
        for part in model.parts.values():
            hashes: dict[str, set[str]] = {}
            for result in part.results:
                if result.encoder.get("sha256"):
                    hashes.setdefault(str(result.encoder.get("weights")), set()).add(str(result.encoder["sha256"]))
            if any(len(group) > 1 for group in hashes.values()):
                notes.append(f"{model.label}: the results of {part.name} were measured on different encoder weights; measure again")
    return notes


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the table: with rules and, where it is too wide, turned on its side, on a terminal; plain columns elsewhere."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.file.write(plain(summary))
        return
    table = _rich(summary, turned=False)
    if Measurement.get(console, console.options, table).minimum > console.width:
        table = _rich(summary, turned=True)
    console.print(table)
    for line in _below(summary, lambda k: f"{k}".translate(SUPERSCRIPT)):
        console.print(Text(line, style="dim"), soft_wrap=False)


def _rich(summary: Summary, *, turned: bool) -> RichTable:
    grid = [["model, %", *summary.labels]]
    for j, head in enumerate(summary.heads):
        grid.append([_with_marks(head.name, head.marks), *(_two_lines(row[j]) for row in summary.cells)])
    if not turned:
        grid = [list(line) for line in zip(*grid, strict=True)]
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for j, title in enumerate(grid[0]):
        # A number and its interval never break; headings and labels may.
        texts = [line[j] for line in grid[1:]]
        width = max((len(part) for text in texts for part in text.split("\n")), default=1)
        table.add_column(Text(title), justify="right" if j else "left", min_width=width if j else min(width, 16))
    for line in grid[1:]:
        table.add_row(*map(Text, line))
    return table


def _with_marks(text: str, marks: tuple[int, ...]) -> str:
    return text + ",".join(map(str, marks)).translate(SUPERSCRIPT)


def _two_lines(cell: Cell) -> str:
    return _with_marks(cell.text, cell.marks) + (f"\n{cell.interval}" if cell.interval else "")


def _below(summary: Summary, number: Any) -> list[str]:
    lines = [f"{number(k + 1)} {text}" for k, text in enumerate(summary.footnotes)]
    return lines + [f"scored: {line}" for line in summary.scoring]


def plain(summary: Summary) -> str:
    """Return the table as aligned columns in ASCII, one line a model, for logs and pipes."""

    def one_line(cell: Cell) -> str:
        marks = f"({','.join(map(str, cell.marks))})" if cell.marks else ""
        return f"{cell.text}{marks} {cell.interval}".replace("±", "+-").rstrip()

    grid = [["model (%)", *(h.name + (f"({','.join(map(str, h.marks))})" if h.marks else "") for h in summary.heads)]]
    grid += [[label, *map(one_line, row)] for label, row in zip(summary.labels, summary.cells, strict=True)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in grid]
    return "\n".join([*lines, *_below(summary, lambda k: f"({k})")]) + "\n"


def markdown(summary: Summary) -> str:
    """Return the table as GitHub Markdown, its footnotes below."""

    def safe(text: str) -> str:
        for sign in "\\`*_[]|~#$":
            text = text.replace(sign, f"\\{sign}")
        return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())

    def sup(marks: tuple[int, ...]) -> str:
        return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""

    def field_of(cell: Cell) -> str:
        return f"{cell.text}{sup(cell.marks)} {safe(cell.interval)}".strip()

    lines = ["| model (%) | " + " | ".join(safe(head.name) + sup(head.marks) for head in summary.heads) + " |"]
    lines += ["|" + " :--- |" + " ---: |" * len(summary.heads)]
    for label, row in zip(summary.labels, summary.cells, strict=True):
        lines.append(f"| {safe(label)} | " + " | ".join(map(field_of, row)) + " |")
    notes = [f"{sup((k + 1,))} {safe(text)}  " for k, text in enumerate(summary.footnotes)]
    notes += [f"scored: {safe(line)}  " for line in summary.scoring]
    return "\n".join(lines) + "\n" + (("\n" + "\n".join(notes) + "\n") if notes else "")


def csv_text(summary: Summary) -> str:
    """Return the table as CSV in full precision, percent; measured and published figures in columns of their own."""
    header = ["model"]
    for head in summary.heads:
        key = head.column.key
        ends = ("published", "published_std", "published_n", "published_source") if head.published else ("", "low", "high", "std_over_draws", "n", "draws")
        header += [f"{key}_{end}" if end else key for end in ends]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for label, row in zip(summary.labels, summary.cells, strict=True):
        line: list[object] = [label]
        for head, cell in zip(summary.heads, row, strict=True):
            if head.published:
                figure = cell.published
                line += [None] * 4 if figure is None else [figure.value, figure.std, figure.n, figure.source]
            elif cell.found is None:
                line += [None] * 6
            else:
                metric = cell.found.metric
                scaled = [percent(metric, x) for x in (metric.value, metric.low, metric.high, metric.std_over_draws)]
                line += [None if x is None else round(x, 10) for x in scaled] + [metric.n, metric.draws]
        writer.writerow(line)
    return out.getvalue()
