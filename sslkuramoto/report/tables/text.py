"""The summary as a terminal table, plain text, Markdown and CSV."""

import csv
import io
from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from sslkuramoto.report.tables.columns import percent
from sslkuramoto.report.tables.escape import csv_field, visible
from sslkuramoto.report.tables.summary import Cell, Summary

WIDE = 120  # characters: a wider table goes over blocks
SUPERSCRIPT = str.maketrans("0123456789,", "⁰¹²³⁴⁵⁶⁷⁸⁹,")


def show(summary: Summary, console: Console | None = None, *, verbose: bool = False) -> None:
    """Print one headline per model, then the table with its footnotes.

    On a terminal the table has rules and is turned on its side where it is too wide; elsewhere it is plain text.

    Args:
        summary: of runs or of a study.
        console: standard output when left out.
        verbose: also how each number was scored.
    """
    console = console or Console(highlight=False)
    console.file.write(for_terminal(summary, console, verbose=verbose))


def for_terminal(summary: Summary, console: Console, *, verbose: bool = False) -> str:
    """Return what :func:`show` prints on ``console``."""
    summary = summary.informative()
    if not console.is_terminal:
        return plain(summary, verbose=verbose)
    whole = _rich(summary, turned=False)
    with console.capture() as captured:
        for line in summary.headlines:
            console.print(Text(visible(line)), soft_wrap=False)
        if _least_width(whole) <= console.width:
            console.print(whole)
        else:
            for first, last in _side_by_side(summary, console.width):
                console.print(_rich(summary, turned=True, first=first, last=last))
        for line in _below(summary, lambda k: f"{k}".translate(SUPERSCRIPT), verbose=verbose):
            console.print(Text(visible(line), style="dim"), soft_wrap=False)
    return captured.get()


def _least_width(table: RichTable) -> int:
    wide = Console(width=10_000, file=io.StringIO())
    return Measurement.get(wide, wide.options, table).minimum


def _side_by_side(summary: Summary, width: int) -> list[tuple[int, int]]:
    """Stretches of models whose turned table fits into ``width``; at least one model each."""
    stretches, first, count = [], 0, len(summary.labels)
    while first < count:
        last = first + 1
        while last < count and _least_width(_rich(summary, turned=True, first=first, last=last + 1)) <= width:
            last += 1
        stretches.append((first, last))
        first = last
    return stretches


def _rich(summary: Summary, *, turned: bool, first: int = 0, last: int | None = None) -> RichTable:
    grid = [[Text(f"model, {summary.unit}" if summary.unit else "model"), *map(_shown, summary.labels[first:last])]]
    if summary.groups:
        grid.append([Text("group"), *map(_shown, summary.groups[first:last])])
    for j, head in enumerate(summary.heads):
        name = head.name if turned else head.name.replace(": ", "\n")
        fields = (_two_lines(row[j]) for row in summary.cells[first:last])
        grid.append([_shown(_with_marks(name, head.marks)), *fields])
    if not turned:
        grid = [list(line) for line in zip(*grid, strict=True)]
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for j, title in enumerate(grid[0]):
        # A number and its interval never break; headings and labels may.
        texts = [line[j].plain for line in grid[1:]]
        width = max((len(part) for text in texts for part in text.split("\n")), default=1)
        is_text = j == 0 or (j == 1 and bool(summary.groups) and not turned)
        table.add_column(title, justify="left" if is_text else "right", min_width=min(width, 16) if is_text else width)
    for line in grid[1:]:
        table.add_row(*line)
    return table


def _shown(text: str) -> Text:
    return Text(visible(text))


def _with_marks(text: str, marks: tuple[int, ...]) -> str:
    return text + ",".join(map(str, marks)).translate(SUPERSCRIPT)


def _two_lines(cell: Cell) -> Text:
    text = Text().append(_with_marks(cell.text, cell.marks), style="bold" if cell.best else "")
    return text.append("".join(f"\n{visible(line)}" for line in cell.beside))


def _below(summary: Summary, number: Callable[[int], str], *, verbose: bool) -> list[str]:
    lines = [f"{number(k + 1)} {text}" for k, text in enumerate(summary.footnotes)] + summary.reading
    lines += summary.scored if verbose else ["-v adds how each number was scored"] if summary.scoring else []
    return lines + summary.below


def plain(summary: Summary, *, verbose: bool = True) -> str:
    """Return the headlines and the table in ASCII, for logs and pipes: one line per model, or one block where too wide.

    Args:
        summary: of runs or of a study.
        verbose: also how each number was scored.
    """
    summary = summary.informative()

    def one_line(cell: Cell) -> str:
        marks = f"({','.join(map(str, cell.marks))})" if cell.marks else ""
        return " ".join([f"{cell.text}{marks}", *cell.beside]).replace("±", "+-")

    names = [h.name + (f"({','.join(map(str, h.marks))})" if h.marks else "") for h in summary.heads]
    grid = [[*_corner(summary), *names]]
    grid += [[*labels, *map(one_line, row)] for labels, row in zip(_row_heads(summary), summary.cells, strict=True)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in grid]
    if max(map(len, lines)) > WIDE:
        lines = _blocks(grid, len(_corner(summary)))
    headlines = [line.replace("±", "+-") for line in summary.headlines]
    told = [*headlines, *lines, *_below(summary, lambda k: f"({k})", verbose=verbose)]
    return visible("\n".join(told)) + "\n"


def _blocks(grid: list[list[str]], corner: int) -> list[str]:
    """Return one block per row: its label and group, then a line per column."""
    heads = grid[0][corner:]
    width = max(map(len, heads), default=0)
    lines = [", ".join(grid[0][:corner])]
    for row in grid[1:]:
        lines.append(", ".join(filter(None, row[:corner])))
        lines += [f"  {head.ljust(width)}  {text}" for head, text in zip(heads, row[corner:], strict=True)]
    return lines


def _corner(summary: Summary) -> list[str]:
    return [f"model ({summary.unit})" if summary.unit else "model", *(["group"] if summary.groups else [])]


def _row_heads(summary: Summary) -> list[list[str]]:
    """The first cells of each row: its label and, where rows have groups, its group."""
    if not summary.groups:
        return [[label] for label in summary.labels]
    return [[label, group] for label, group in zip(summary.labels, summary.groups, strict=True)]


def in_markdown(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, in one line."""
    text = visible(text)
    for sign in "\\`*_[]|~#$":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def markdown(summary: Summary) -> str:
    """Return the table as GitHub Markdown, its footnotes below."""
    safe = in_markdown

    def sup(marks: tuple[int, ...]) -> str:
        return f"<sup>{','.join(map(str, marks))}</sup>" if marks else ""

    def field_of(cell: Cell) -> str:
        number = f"**{cell.text}**" if cell.best else cell.text
        return " ".join([f"{number}{sup(cell.marks)}", *map(safe, cell.beside)])

    summary = summary.informative()
    corner = _corner(summary)
    lines = ["| " + " | ".join([*corner, *(safe(head.name) + sup(head.marks) for head in summary.heads)]) + " |"]
    lines += ["|" + " :--- |" * len(corner) + " ---: |" * len(summary.heads)]
    for labels, row in zip(_row_heads(summary), summary.cells, strict=True):
        lines.append("| " + " | ".join([*map(safe, labels), *map(field_of, row)]) + " |")
    notes = [f"{sup((k + 1,))} {safe(text)}  " for k, text in enumerate(summary.footnotes)]
    notes += [f"{safe(line)}  " for line in [*summary.reading, *summary.scored, *summary.below]]
    return "\n".join(lines) + "\n" + (("\n" + "\n".join(notes) + "\n") if notes else "")


def csv_text(summary: Summary) -> str:
    """Return the table as CSV in full precision, shares in percent; published figures have columns of their own.

    ``KEY_seeds`` counts the training runs behind a value, ``KEY_std`` is their standard deviation (empty for one run);
    interval and standard deviation over draws belong to one run and are empty for several. ``KEY_departs`` says in what
    a number is other than its protocol's file describes; it is empty for one that is as described.
    """
    header = ["model"]
    for head in summary.heads:
        key = head.column.key
        ends = (
            ("reported", "reported_std", "reported_n", "reported_source")
            if head.published
            else ("", "low", "high", "std_over_draws", "std_over_seeds", "n", "draws", "seeds", "std", "departs")
        )
        header += [f"{key}_{end}" if end else key for end in ends]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(csv_field, header))
    for label, row in zip(summary.labels, summary.cells, strict=True):
        line: list[object] = [label]
        for head, cell in zip(summary.heads, row, strict=True):
            if head.published:
                figure = cell.published
                line += [None] * 4 if figure is None else [figure.value, figure.std, figure.n, figure.source]
            elif cell.found is None:
                line += [None] * 10
            else:
                metric = cell.found.metric
                of_one = (metric.low, metric.high, metric.std_over_draws, metric.std_over_seeds)
                scaled = [cell.value, *(percent(metric, x) if cell.seeds == 1 else None for x in of_one)]
                line += [None if x is None else round(x, 10) for x in scaled] + [metric.n, metric.draws]
                line += [cell.seeds, None if cell.std is None else round(cell.std, 10), cell.departs or None]
        writer.writerow(map(csv_field, line))
    return out.getvalue()
