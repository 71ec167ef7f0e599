"""Measure two ways of doing the same work side by side, and say how they compare.

CPU seconds count the work of all threads of this process, whatever else the machine does. On a GPU, where the CPU only
waits, wall seconds are compared.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch


@dataclass(frozen=True)
class Settings:
    """What the user asked for.

    Attributes:
        device: where networks run.
        threads: numbers of CPU threads to time with, one after the other.
        repeats: measurements of each work, >= 1; medians are reported.
        warmup: runs of each work before them that are not measured.
        small: whether networks and data are as small as possible: shows that all parts run, times say nothing.
        root: folder for what a part writes.
    """

    device: torch.device
    threads: tuple[int, ...]
    repeats: int
    warmup: int
    small: bool
    root: str

    @property
    def judged(self) -> Literal["cpu", "wall"]:
        """The clock that comparisons are judged by."""
        return "wall" if self.device.type == "cuda" else "cpu"

    def size(self, whole: int, small: int) -> int:
        """Return ``whole``, or ``small`` where everything is small."""
        return small if self.small else whole


class Spread(NamedTuple):
    """Median, smallest and largest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Times(NamedTuple):
    """Seconds of each repeat."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]


@dataclass(frozen=True)
class Figure:
    """One line of the benchmark.

    Attributes:
        part: that it belongs to.
        what: what was measured, with its sizes.
        unit: of ``ours`` and ``reference``.
        ours: the package.
        reference: what it is compared with, None where there is only a limit.
        against: what the reference is, in words.
        ratio: reference / ours, repeat by repeat; above 1: ours needs less.
        wanted: smallest ratio that is wanted, or with ``at_most`` the largest ``ours``; None for no wish.
        at_most: whether ``wanted`` limits ``ours``.
        note: what a reader should know, in one sentence.
    """

    part: str
    what: str
    unit: str
    ours: Spread
    reference: Spread | None = None
    against: str = ""
    ratio: Spread | None = None
    wanted: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted; None where nothing is."""
        if self.wanted is None:
            return None
        if self.at_most:
            return self.ours.median <= self.wanted
        assert self.ratio is not None, f"{self.what}: a wanted ratio needs a reference"
        return self.ratio.median >= self.wanted

    def record(self) -> dict[str, Any]:
        """Return all fields for JSON, and ``met``."""
        plain = {key: value._asdict() if isinstance(value, Spread) else value for key, value in vars(self).items()}
        return {**plain, "met": self.met}


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleaved(
    works: Mapping[str, Callable[[], object]], settings: Settings, *, clock: Callable[[], float] = time.process_time
) -> dict[str, Times]:
    """Time each work in turn (A B A B ...), so that changes in the machine's speed affect all alike.

    Args:
        works: by name.
        settings: how often.
        clock: of CPU seconds; that of this process unless the works run in others.
    """
    for _ in range(settings.warmup):
        for work in works.values():
            work()
    walls: dict[str, list[float]] = {name: [] for name in works}
    cpus: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(settings.repeats):
        for name, work in works.items():
            synchronise(settings.device)
            wall, cpu = time.perf_counter(), clock()
            work()
            synchronise(settings.device)
            walls[name].append(time.perf_counter() - wall)
            cpus[name].append(clock() - cpu)
    return {name: Times(tuple(walls[name]), tuple(cpus[name])) for name in works}


def compared(
    part: str,
    what: str,
    times: Mapping[str, Times],
    settings: Settings,
    *,
    ours: str = "ours",
    reference: str = "reference",
    against: str,
    wanted: float | None = None,
    note: str = "",
) -> Figure:
    """Return the figure of two of the timed works; the other clock's ratio is added to the note."""
    judged = settings.judged
    other: Literal["cpu", "wall"] = "wall" if judged == "cpu" else "cpu"

    def ratios(clock: str) -> Spread:
        pairs = zip(getattr(times[reference], clock), getattr(times[ours], clock), strict=True)
        return Spread.of([slow / fast for slow, fast in pairs])

    aside = f"By {other} seconds {ratios(other).median:.2f}."
    return Figure(
        part,
        what,
        "CPU s" if judged == "cpu" else "s",
        Spread.of(getattr(times[ours], judged)),
        Spread.of(getattr(times[reference], judged)),
        against,
        ratios(judged),
        wanted,
        note=f"{aside} {note}".strip(),
    )


def number(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| | ours | reference | ratio (lowest to highest) | wanted | |", "|---|---:|---:|---:|---:|---|"]
    for figure in figures:
        ratio = "" if figure.ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(*figure.ratio)
        reference = "" if figure.reference is None else f"{number(figure.reference.median)} {figure.unit}"
        wanted = ""
        if figure.wanted is not None:
            limit = f"at most {number(figure.wanted)} {figure.unit}" if figure.at_most else f"{figure.wanted:g}"
            wanted = f"{limit}: {'met' if figure.met else '**not met**'}"
        against = f"Against {figure.against}. " if figure.against else ""
        cells = (figure.what, f"{number(figure.ours.median)} {figure.unit}", reference, ratio, wanted)
        lines.append(f"| {' | '.join(cells)} | {against}{figure.note} |")
    return "\n".join(lines) + "\n"


def settings_record(settings: Settings) -> dict[str, Any]:
    """Return the settings for JSON."""
    return {**asdict(settings), "device": str(settings.device), "threads": list(settings.threads)}
