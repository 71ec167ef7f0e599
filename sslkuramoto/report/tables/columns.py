"""Which result fills which column of the summary table.

Protocols declare their columns. Of several results of one protocol the headline is the one that the protocol's own file
describes; variants of it (other options, weights or data) are named beside it. What no column takes still stands in the
page's table of all results.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, load_protocol, protocol_files
from sslkuramoto.evaluation.protocol import Loaded, Protocol
from sslkuramoto.report.members import importable
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Model
from sslkuramoto.results import Metric, Result

IN_PERCENT = {"fraction": 100, "percent": 1, "index": 100}  # index: NMI and ARI, times 100 as papers print them
# Options that say how a number was computed, not what it means.
INCIDENTAL = {"seed", "batch_size", "workers", "device", "precision", "cache", "chunk", "jobs"}
INCIDENTAL |= {"ledger", "store", "control"}
_FEW = 3  # metrics of a result that are named where the wanted one is missing


@dataclass(frozen=True)
class Found:
    """A number and the file that it stands in; ``remark`` is what a reader must know of the choice of this file."""

    metric: Metric
    name: str
    result: Result
    remark: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The options behind this number: of a protocol with ``ways``, those of the way that its name begins with."""
        options = {key: value for key, value in self.result.options.items() if key != "ways"}
        ways, (way, *rest) = self.result.options.get("ways"), self.name.split("/")
        return options | (ways[way] if rest and isinstance(ways, dict) and isinstance(ways.get(way), dict) else {})


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


def find(column: Column, model: Model) -> Found | str:
    """Return the number of ``model`` for ``column``, or the reason why there is none.

    Raises:
        UserError: the number is there, no percentage by its unit, and the column is not optional.
    """
    if not model.parts:
        return "published only: no run of ours"
    results = _results_for(column, model)
    if results is None:
        return "not measured: the run has no finetuned part"
    near: list[tuple[Result, Column]] = []
    by_protocol: list[list[Found]] = []
    for name, own in _sources()[column.key]:
        by_protocol.append([])
        for result in results:
            if kind_of(result) == name and (own.made_with is None or own.made_with in result.options.items()):
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

    What a protocol's own file describes comes first. A single variant is shown with what it changes; of several, none.
    """
    for found in by_protocol:
        described = sorted((item for item in found if not variant_of(item.result)), key=_weakness)
        if described:
            shown = described[0].result.path.stem
            others = {item.result.path.stem: None for item in found}
            others.pop(shown)
            beside = f"{shown}, as its file describes it; beside it, not shown: {', '.join(others)}" if others else ""
            return replace(described[0], remark=beside)
    for found in by_protocol:
        if len(found) == 1:
            return replace(found[0], remark=variant_of(found[0].result))
        names = ", ".join(item.result.path.stem for item in found)
        return f"not shown: {len(found)} variants and none that its protocol's file describes: {names}"
    return None


def _weakness(found: Found) -> tuple[bool, int]:
    """Of several files of one protocol, the l-inf ball comes before the l2 ball, then many images before few."""
    return found.result.options.get("norm") == "l2", -(found.metric.n or 0)


def kind_of(result: Result) -> str:
    """Return the registered protocol that a result is of; empty where neither it nor the name of its file says so."""
    described = _described(result.described_by)
    named = result.described_by if result.described_by in set(PROTOCOLS) else ""
    return result.kind or (described.name if described else named)


@cache
def _described(file: str) -> Loaded | None:
    """Return what a file of eval/protocols describes, None where there is no such file."""
    if file not in protocol_files():
        return None
    loaded = load_protocol(file)
    return loaded._replace(options=json.loads(json.dumps(loaded.options, default=str)))


def variant_of(result: Result) -> str:
    """Return in a line how a result departs from what its protocol's file describes; empty where it does not.

    Options that a result does not know (it is older than they are) and those that change no meaning are not compared.
    """
    described, own = _described(result.described_by), result.path.stem
    if described is None:
        return f"{own}: described by no file of eval/protocols"
    differs = []
    for key, value in result.options.items():
        if key not in INCIDENTAL and key in described.options and value != described.options[key]:
            theirs = described.options[key]
            plain = not isinstance(value, dict | list) and not isinstance(theirs, dict | list)
            differs.append(f"{key} {option_text(value)} (there {option_text(theirs)})" if plain else key)
    if result.encoder.get("weights") == "raw":
        differs.append("raw weights")
    for part, said in (("encoder", result.encoder), ("data", result.data)):
        changed = said.get("changed_options") or {}
        differs += [f"{part}.{key} {option_text(value)}" for key, value in changed.items()]
    if not differs and result.protocol == result.described_by:
        return ""
    return f"{own}: a variant of {result.described_by}, other in {', '.join(differs) or 'what its name says'}"


def _why_not(column: Column, near: Sequence[tuple[Result, Column]]) -> str:
    deterministic = any(result.encoder.get("stochastic") is False for result, _ in near)
    if column.reading in ("fixed", "EoT", "adaptive") and deterministic:
        return "the encoder is deterministic: there is one way only, in the column 'as published'"
    if not near:
        return "not measured: no result for it in the run directory"
    result, own = near[0]
    if own.reading is not None and (stated := own.stated_in(result)):
        return f"not shown: {result.path.name} holds {len(stated)} numbers of one reading: {', '.join(stated)}"
    if own.reading is not None:
        return f"not measured: {result.path.name} holds no number that states the reading {own.reading!r}"
    held = ", ".join(result.metrics) if len(result.metrics) <= _FEW else f"{len(result.metrics)} other metrics"
    return f"not measured: {result.path.name} holds {held or 'no metric'}, not {own.metrics[0]}"


def _checked(found: Found, column: Column) -> Found | str:
    unit = found.metric.unit
    if unit not in IN_PERCENT:
        wanted = ", ".join(IN_PERCENT)
        if column.optional:
            return f"{found.result.path.name} gives {found.name} in the unit {unit!r}, not one of {wanted}"
        raise UserError(f"{found.result.path}: metrics.{found.name}.unit={unit!r}: wanted: one of {wanted}")
    return found


def percent(metric: Metric, value: float | None) -> float | None:
    """Return a value of ``metric`` in percent."""
    return None if value is None else value * IN_PERCENT[metric.unit]


def number(found: Found | str) -> float | None:
    """Return what :func:`find` found, in percent; None where it is missing or not finite."""
    value = None if isinstance(found, str) else percent(found.metric, found.metric.value)
    return value if value is not None and math.isfinite(value) else None


def option_text(value: object) -> str:
    """An option as people write it: 8/255 rather than 0.03137254901960784, name(option=value) of a mapping."""
    if isinstance(value, float) and len(repr(value)) > 8:
        levels = value * 255
        return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 and round(levels) else f"{value:.4g}"
    if isinstance(value, dict):
        rest = ", ".join(f"{key}={option_text(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", ""))
    return "+".join(map(option_text, value)) if isinstance(value, list) else str(value)
