"""A table of numbers, of runs or of a study, before any output decides how it looks: heads, rows, cells, footnotes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from sslkuramoto.report.tables.columns import Found
from sslkuramoto.report.tables.main_numbers import MainNumbers
from sslkuramoto.study.published import Published

MISSING = "-"


@dataclass(frozen=True)
class Cell:
    """What one field shows.

    Attributes:
        value: the number; of several runs their mean. None where there is none.
        text: of the number, or a dash.
        interval: the interval over images, or ``±`` and a standard deviation.
        marks: numbers of footnotes.
        found: the number and its file, in measured columns of runs; of several runs the first.
        published: the figure of a paper, in its columns.
        seeds: training runs behind the value.
        std: their standard deviation.
        departs: how the measurement differs from what the heading's protocol describes.
        absent: whether nothing was measured that could hold the number.
        count: of training runs, where each cell says its own.
        best: whether no other row of the column has a better value.
        every: the numbers of all runs behind the value, with their files.
    """

    value: float | None = None
    text: str = MISSING
    interval: str = ""
    marks: tuple[int, ...] = ()
    found: Found | None = None
    published: Published | None = None
    seeds: int = 1
    std: float | None = None
    departs: str = ""
    count: str = ""
    absent: bool = False
    best: bool = False
    every: tuple[Found, ...] = ()

    @property
    def beside(self) -> tuple[str, ...]:
        """What is shown beside the number: its interval, and how it departs from what the heading promises."""
        count = f" ({self.count})" if self.count else ""
        return tuple(text for text in (f"{self.interval}{count}", self.departs) if text)


class Titled(Protocol):
    """What is printed above a column: of run directories (:class:`Column`) or of a study."""

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Head:
    """One column of the table: measured, or (``published``) the figures of papers for the same quantity."""

    column: Titled
    published: bool = False
    marks: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """ "Reported" is the word for published figures: "as published" already names a reading."""
        return f"{self.column.name} (reported)" if self.published else self.column.name


@dataclass
class Summary:
    """The table: ``cells[i][j]`` belongs to ``labels[i]`` and ``heads[j]``. ``footnotes[k]`` has the number k + 1.

    ``groups[i]`` is the group of row i, if any row has one. ``scoring`` says how each number was scored, ``reading``
    how to read the numbers, ``below`` all else that belongs under the table. ``main_numbers`` are the main numbers
    of its rows.
    """

    heads: list[Head]
    labels: list[str]
    cells: list[list[Cell]]
    footnotes: list[str] = field(default_factory=list)
    scoring: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    reading: list[str] = field(default_factory=list)
    unit: str = "%"
    main_numbers: list[MainNumbers] = field(default_factory=list)

    @property
    def headlines(self) -> list[str]:
        """One line per row that has a number to tell first."""
        return [numbers.line for numbers in self.main_numbers if numbers.line]

    @property
    def scored(self) -> list[str]:
        """How each number was scored, one line per protocol and options."""
        return [f"scored: {line}" for line in self.scoring]

    @property
    def seeds(self) -> int | None:
        """Training runs behind every measured number, where it is the same count for all; else None."""
        counts = {cell.seeds for row in self.cells for cell in row if cell.value is not None and not cell.published}
        return counts.pop() if len(counts) == 1 else None

    def informative(self) -> "Summary":
        """Return the summary without columns and rows for which nothing was measured or reported.

        One line says which they are. Footnotes that only they refer to are left out, the others numbered anew.
        """
        columns = [j for j in range(len(self.heads)) if not all(_says_nothing(row[j]) for row in self.cells)]
        rows = [i for i, row in enumerate(self.cells) if not all(_says_nothing(row[j]) for j in columns)]
        kept = {mark for i in rows for j in columns for mark in self.cells[i][j].marks}
        kept |= {mark for j in columns for mark in self.heads[j].marks}
        used = {mark for row in self.cells for cell in row for mark in cell.marks}
        used |= {mark for head in self.heads for mark in head.marks}
        notes = [k for k in range(1, len(self.footnotes) + 1) if k in kept or k not in used]
        number = {old: new + 1 for new, old in enumerate(notes)}
        left_out = [self.labels[i] for i in range(len(self.labels)) if i not in rows]
        cells = [[self.cells[i][j] for j in columns] for i in rows]
        return replace(
            self,
            heads=[replace(self.heads[j], marks=_renumbered(self.heads[j].marks, number)) for j in columns],
            labels=[self.labels[i] for i in rows],
            cells=[[replace(cell, marks=_renumbered(cell.marks, number)) for cell in row] for row in cells],
            footnotes=[self.footnotes[k - 1] for k in notes],
            groups=[self.groups[i] for i in rows] if self.groups else [],
            below=[*([f"no number in this table: {', '.join(left_out)}"] if left_out else []), *self.below],
        )


def _says_nothing(cell: Cell) -> bool:
    return cell.value is None and cell.absent


def _renumbered(marks: tuple[int, ...], number: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(number[mark] for mark in marks)


def with_best(cells: Sequence[Cell], better: Literal["higher", "lower"] | None) -> list[Cell]:
    """Mark the best values of a column; none where all are equal or not measured alike.

    Args:
        cells: of the column.
        better: the direction that its protocol declares.
    """
    numbers = {cell.value for cell in cells if cell.value is not None}
    if better is None or len(numbers) < 2 or len({cell.departs for cell in cells if cell.value is not None}) > 1:
        return list(cells)
    best = max(numbers) if better == "higher" else min(numbers)
    return [replace(cell, best=cell.value == best) for cell in cells]
