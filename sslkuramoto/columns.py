"""What a summary of runs shows of a protocol's results. Protocols declare their columns; a report asks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sslkuramoto.results import Reading, Result


@dataclass(frozen=True)
class Column:
    """What a summary shows of a protocol: one number per model. The protocol declares it.

    Attributes:
        key: name in CSV files and of published figures. Several protocols may fill a column; then they declare it alike
            but for ``metrics`` and ``place``.
        title: heading inside its group.
        group: heading above.
        frozen: whether it measures the encoder as pretrained (else the finetuned classifier).
        place: of the column in the table, from the left; of protocols that fill one column, the smallest comes first.
        metrics: names of the number, the first that a result holds; for a robust accuracy its ``reading`` instead.
        reading: what the number must state to be.
        optional: whether the column is left out of a table in which no model has a number for it.
        made_with: (option, value) that a result must have been measured with.
        beside: where a result has none of ``metrics`` by itself, that of the way whose number states this reading.
        better: which of two numbers is the better one, for tables that mark the best; None: they mark none.
    """

    key: str
    title: str
    group: str
    frozen: bool
    place: float
    metrics: Sequence[str] = ()
    reading: Reading | None = None
    optional: bool = False
    made_with: tuple[str, object] | None = None
    beside: Reading | None = None
    better: Literal["higher", "lower"] | None = "higher"

    @property
    def name(self) -> str:
        """The heading where there is no row for groups."""
        return self.title if self.title.startswith(self.group) else f"{self.group}: {self.title}"

    def metric_of(self, result: Result) -> str | None:
        """Return the name of a result's number for the column; None for none, or for several of its reading."""
        if self.reading is not None:
            stated = self.stated_in(result)
            return stated[0] if len(stated) == 1 else None
        if own := [name for name in self.metrics if name in result.metrics]:
            return own[0]
        ways = [name.rpartition("/")[0] for name in _stated(result, self.beside)] if self.beside else []
        named = [name for way in ways for metric in self.metrics if (name := f"{way}/{metric}") in result.metrics]
        return named[0] if len(named) == 1 else None

    def stated_in(self, result: Result) -> list[str]:
        """Return the names of the numbers of a result that state the column's reading."""
        return _stated(result, self.reading)


def _stated(result: Result, reading: Reading | None) -> list[str]:
    return [name for name, metric in result.metrics.items() if metric.reading == reading]
