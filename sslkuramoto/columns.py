"""Columns of a summary of runs. Each protocol declares which of its numbers a summary shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sslkuramoto.results import Reading, Result


@dataclass(frozen=True)
class Column:
    """One column of a summary: one number per model. A protocol declares it.

    Attributes:
        key: name in CSV files and of published figures. Several protocols may fill one column; their declarations may
            then differ in ``metrics`` and ``place`` only.
        title: heading below that of the group.
        group: heading of the group.
        frozen: whether it measures the encoder as pretrained (else the finetuned classifier).
        place: position from the left. If several protocols fill the column, the smallest place takes precedence.
        metrics: possible names of the number, of which the first present in a result is shown; for a robust accuracy
            ``reading`` is used instead.
        reading: the reading that the number must state (:data:`~sslkuramoto.results.Reading`).
        optional: whether the column is omitted from tables in which it is empty, unless variants of it were measured.
        made_with: (option, value) pairs that a result must have been measured with; a dot in an option reaches into a
            mapping: ``("boards.family", "seeds")``.
        beside: if a result with several ``ways`` has none of ``metrics`` directly, the one of the entry of ``ways``
            whose robust accuracy states this reading is shown.
        better: which of two numbers is the better one, for tables that mark the best; None: they mark none.
        unit: that its numbers state, and its title names; "%" for shares, which are shown in percent.
    """

    key: str
    title: str
    group: str
    frozen: bool
    place: float
    metrics: Sequence[str] = ()
    reading: Reading | None = None
    optional: bool = False
    made_with: tuple[tuple[str, object], ...] = ()
    beside: Reading | None = None
    better: Literal["higher", "lower"] | None = "higher"
    unit: str = "%"

    @property
    def name(self) -> str:
        """The heading in tables without a row of group headings."""
        return self.title if self.title.startswith(self.group) else f"{self.group}: {self.title}"

    def metric_of(self, result: Result) -> str | None:
        """Return the name of a result's number for this column; None if there is none or several state its reading."""
        if self.reading is not None:
            stated = self.stated_in(result)
            return stated[0] if len(stated) == 1 else None
        if own := [name for name in self.metrics if name in result.metrics]:
            return own[0]
        readings = [name.rpartition("/")[0] for name in _stated(result, self.beside)] if self.beside else []
        named = [
            name for reading in readings for metric in self.metrics if (name := f"{reading}/{metric}") in result.metrics
        ]
        return named[0] if len(named) == 1 else None

    def stated_in(self, result: Result) -> list[str]:
        """Return the names of a result's numbers that state the reading of this column."""
        return _stated(result, self.reading)


def _stated(result: Result, reading: Reading | None) -> list[str]:
    return [name for name, metric in result.metrics.items() if metric.reading == reading]
