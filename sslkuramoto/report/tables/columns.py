"""Which result fills which column of the summary table.

Protocols declare their columns. Of several results of one protocol the headline is the one that the protocol's own file
describes; variants of it (other options, weights or data) are named beside it. A result that no column takes is
still in the page's table of all results.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, cast

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.described import departures, is_described, kind_of, named_as_described, options_behind
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.report.members import importable
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Model
from sslkuramoto.results import Metric, Reading, Result

IN_PERCENT = {"fraction": 100, "percent": 1, "index": 100}  # index: NMI and ARI, times 100 as papers print them
_LONG = 40  # characters of a name in a cell
_FEW = 3  # metrics of a result that are named where the wanted one is missing


class Absent(str):
    """Why there is no number, where nothing was measured that could hold one: a column of such cells says nothing."""

    __slots__ = ()


class LeftOut(str):
    """Why a number that was measured is not shown: a column of such cells still says that there are results."""

    __slots__ = ()


@dataclass(frozen=True)
class Found:
    """A number and the file that holds it.

    Attributes:
        metric: the number.
        name: of it in the result.
        result: the file.
        departs: in what it is other than the heading's protocol is described, for the cell: ``eps 0.1``. Empty for a
            number that is as described.
        remark: what a reader must know of the choice of this file.
    """

    metric: Metric
    name: str
    result: Result
    departs: str = ""
    remark: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The options behind this number."""
        options = options_behind(self.result.options, self.name)
        return {key: value for key, value in options.items() if key != "ways"}


@cache
def columns() -> tuple[Column, ...]:
    """Return every column that a registered protocol declares, in order."""
    return tuple(sources[0][1] for sources in _sources().values())


@cache
def _sources() -> dict[str, list[tuple[str, Column]]]:
    """Return for each column the protocols that fill it with their declaration of it, the first before the others."""
    protocols = [(name, cast(type[Protocol], PROTOCOLS[name])) for name in importable(PROTOCOLS)]
    declared = [(name, column) for name, protocol in protocols for column in protocol.columns]
    found: dict[str, list[tuple[str, Column]]] = {}
    for name, column in sorted(declared, key=lambda item: item[1].place):
        found.setdefault(column.key, []).append((name, column))
    return found


def declares(kind: str) -> bool:
    """Return whether a protocol declares columns."""
    return any(protocol == kind for sources in _sources().values() for protocol, _ in sources)


def direction_of(kind: str, name: str, reading: Reading | None) -> Literal["higher", "lower"] | None:
    """Return which of two numbers is better, as a registered protocol declares it of one of its columns; else None.

    Args:
        kind: the protocol that measured the number.
        name: of the number in the result.
        reading: that it states.
    """
    for sources in _sources().values():
        for protocol, column in sources:
            by_name = column.reading is None and name.rpartition("/")[2] in column.metrics
            if protocol == kind and (by_name or (reading is not None and column.reading == reading)):
                return column.better
    return None


def find(column: Column, model: Model) -> Found | str:
    """Return the number of ``model`` for ``column``, or the reason why there is none.

    Raises:
        UserError: the number is there, not in the unit of the column, and the column is not optional.
    """
    if not model.parts:
        return Absent("published only: no run of ours")
    results = _results_for(column, model)
    if results is None:
        return Absent("not measured: the run has no finetuned part")
    near: list[tuple[Result, Column]] = []
    by_protocol: list[list[Found]] = []
    for name, own in _sources()[column.key]:
        by_protocol.append([])
        for result in results:
            if kind_of(result) == name and all(_option(result, option) == value for option, value in own.made_with):
                metric = own.metric_of(result)
                if metric is None:
                    near.append((result, own))
                else:
                    by_protocol[-1].append(Found(result.metrics[metric], metric, result))
    headline = _headline([found for found in by_protocol if found])
    if isinstance(headline, Found):
        return _checked(headline, column)
    return headline or _why_not(column, near)


def _results_for(column: Column, model: Model) -> list[Result] | None:
    """Where to look: a frozen number must not come from the finetuned encoder of a model that was pretrained."""
    order = [FINETUNE, PRETRAIN]
    if column.frozen:
        order = [PRETRAIN if PRETRAIN in model.parts else FINETUNE]
    parts = [model.parts[name].results for name in order if name in model.parts]
    return [result for results in parts for result in results] if parts else None


def _headline(by_protocol: Sequence[Sequence[Found]]) -> Found | str | None:
    """Return the number that is shown, or why none of them is; None without any.

    What a protocol's file describes comes first. A result that was put in its place (``--as``), or that no file of ours
    describes, is shown with what it departs in. Variants are named beside it, never shown.
    """
    for found in by_protocol:
        described = sorted((item for item in found if not _departs(item)), key=_weakness)
        if described:
            shown, others = described[0], _named(item for item in found if item is not described[0])
            beside = f"; beside it, not shown: {others}" if others else ""
            if beside or not named_as_described(shown.result):
                beside = f"{shown.result.path.stem}, as {_file_of(shown.result)} describes it{beside}"
            return replace(shown, remark=beside)
    for found in by_protocol:
        own = [item for item in found if not is_described(item.result)]
        placed = [item for item in found if named_as_described(item.result)] or own
        others = _named(item for item in found if item not in placed)
        beside = f"; beside it, not shown: {others}" if others else ""
        if len(placed) == 1:
            return replace(placed[0], departs=_departs(placed[0]), remark=_why_other(placed[0]) + beside)
        if placed:
            return LeftOut(
                f"left out: every result of it was measured with other options than its protocol file: {_named(found)}"
            )
    names = _named(item for found in by_protocol for item in found)
    return LeftOut(f"left out: measured with other options than its protocol file: {names}") if names else None


def _departs(found: Found) -> str:
    """Return what a cell says of a number that is not as its protocol's file describes it; nothing for one that is."""
    if not is_described(found.result):
        name = found.result.path.stem
        return name if len(name) <= _LONG else f"{name[:_LONG]}..."
    return ", ".join(item.what for item in departures(found.result, found.name))


def _why_other(found: Found) -> str:
    own, result = found.result.path.stem, found.result
    if not is_described(result):
        return f"{own}: described by no file of eval/protocols"
    other = ", ".join(map(str, departures(result, found.name)))
    return f"{own}: a variant of {result.described_by}, other in {other}"


def _named(items: Iterable[Found]) -> str:
    """Return the names of results, each with what it departs in."""
    named: dict[str, str] = {}
    for item in items:
        other = ", ".join(map(str, departures(item.result, item.name))) if is_described(item.result) else ""
        named[item.result.path.stem] = f"{item.result.path.stem} ({other})" if other else item.result.path.stem
    return ", ".join(named.values())


def _file_of(result: Result) -> str:
    return "its file" if named_as_described(result) else result.described_by


def _weakness(found: Found) -> tuple[bool, bool, int]:
    """Of several as described, that of its file's name comes first, l-inf before l2, many images before few."""
    result = found.result
    return not named_as_described(result), found.options.get("norm") == "l2", -(found.metric.n or 0)


def _why_not(column: Column, near: Sequence[tuple[Result, Column]]) -> str:
    deterministic = any(result.encoder.get("stochastic") is False for result, _ in near)
    if column.reading in ("fixed", "EoT", "adaptive") and deterministic:
        return Absent("the encoder is deterministic: 'as published' and this reading are one")
    if not near:
        return Absent("not measured: no result for it in the run directory")
    result, own = near[0]
    if own.reading is not None and (stated := own.stated_in(result)):
        return f"not shown: {result.path.name} holds {len(stated)} numbers of one reading: {', '.join(stated)}"
    if own.reading is not None:
        return f"not measured: {result.path.name} holds no number that states the reading {own.reading!r}"
    held = ", ".join(result.metrics) if len(result.metrics) <= _FEW else f"{len(result.metrics)} other metrics"
    return f"not measured: {result.path.name} holds {held or 'no metric'}, not {own.metrics[0]}"


def _option(result: Result, option: str) -> Any:
    """Return an option that a result was measured with; None where it is older than the option or has no such part."""
    value: Any = result.options
    for key in option.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _checked(found: Found, column: Column) -> Found | str:
    unit, allowed = found.metric.unit, [*IN_PERCENT] if column.unit == "%" else [column.unit]
    if unit not in allowed:
        wanted = ", ".join(allowed)
        if column.optional:
            return f"{found.result.path.name} gives {found.name} in the unit {unit!r}, not one of {wanted}"
        raise UserError(f"{found.result.path}: metrics.{found.name}.unit={unit!r}: must be one of {wanted}")
    return found


def percent(metric: Metric, value: float | None) -> float | None:
    """Return a value of ``metric`` in percent; as it is where it is no share."""
    return None if value is None else value * IN_PERCENT.get(metric.unit, 1)


def number(found: Found | str) -> float | None:
    """Return what :func:`find` found, shares in percent; None where it is missing or not finite."""
    value = None if isinstance(found, str) else percent(found.metric, found.metric.value)
    return value if value is not None and math.isfinite(value) else None
