"""Compares a result with the protocol file that describes it: in which options does the measurement differ?

The marks of the options (:class:`~sslkuramoto.values.Mark`) tell which differences do not affect the meaning.
"""

import json
import os
from collections.abc import Mapping
from functools import cache
from inspect import Parameter
from typing import Any, NamedTuple, cast, get_args

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import PROTOCOL_FILES, PROTOCOLS, Protocol, load_protocol
from sslkuramoto.examples import Images
from sslkuramoto.registry import Registry
from sslkuramoto.results import Result, protocol_now
from sslkuramoto.threat import DEFAULT_EPS, parse_eps
from sslkuramoto.values import Mark, option_text, plain


class Departure(NamedTuple):
    """One difference between a result and its protocol file.

    Attributes:
        what: the option and its value in the result: ``eps 0.1``.
        there: its value in the file; empty if it cannot be shown in a few words.
    """

    what: str
    there: str = ""

    def __str__(self) -> str:
        return f"{self.what} (there {self.there})" if self.there else self.what


class _Description(NamedTuple):
    kind: str
    options: Mapping[str, Any]


def kind_of(result: Result) -> str:
    """Return the registered protocol of a result; empty if neither the result nor the name of its file tells it."""
    if result.kind:
        return result.kind
    described = _description(result.described_by) if _has_file(result.described_by) else None
    return described.kind if described else result.described_by if result.described_by in set(PROTOCOLS) else ""


def counted(result: Result) -> str:
    """Return what the numbers of a result count, in words: "images", "boards", "mazes"; "images" if unknown."""
    protocol = _protocol_of(result)
    return Images.kind if protocol is None else protocol.counts or protocol.reads[0].kind


def trained_further(result: Result) -> bool:
    """Return whether the numbers of a result are of weights that its protocol trained from those of the run."""
    protocol = _protocol_of(result)
    return protocol is not None and "recipe" in protocol.needs


def _protocol_of(result: Result) -> type[Protocol] | None:
    kind = kind_of(result)
    return cast(type[Protocol], PROTOCOLS[kind]) if kind in set(PROTOCOLS) else None


def incidental_options(result: Result) -> frozenset[str]:
    """Return the options of a result's protocol that do not affect its meaning; none if the protocol is unknown."""
    return _marked(PROTOCOLS, kind_of(result), Mark.INCIDENTAL)


def is_described(result: Result) -> bool:
    """Return whether a result is described: by a protocol file or, if there is none, by unchanged defaults."""
    if _has_file(result.described_by):
        return True
    return result.described_by in set(PROTOCOLS) and not any(departures(result, name) for name in result.metrics)


def named_as_described(result: Result) -> bool:
    """Return whether a result has the name of the protocol file that describes it, possibly by option --as."""
    return protocol_now(result.path.stem) == result.described_by


def departures(result: Result, metric: str) -> list[Departure]:
    """Return the differences between the options of a number and those of its protocol file.

    Options that the result lacks, since it is older than they are, are ignored if it has the name of the protocol file.
    For a protocol with ``ways``, the options are those of the entry that the number belongs to.

    Args:
        result: described by a protocol file or by defaults.
        metric: name of the number.
    """
    described = _description(result.described_by)
    assert described is not None, result.described_by
    idle, opened = incidental_options(result), _marked(PROTOCOLS, described.kind, Mark.OPEN)
    both = (result.options, described.options)
    own, theirs = (_essential(options_behind(options, metric), idle) for options in both)
    compared = comparable(described.kind, own), comparable(described.kind, theirs)
    found: list[Departure] = []
    for key, there in theirs.items():
        here = own.get(key)
        if key not in own:
            found += [] if named_as_described(result) else [Departure(f"{key} unknown")]
        elif compared[0][key] != compared[1][key] and not (key in opened and there is None):
            in_words = not isinstance(here, dict | list) and not isinstance(there, dict | list)
            found.append(Departure(f"{key} {option_text(here)}", option_text(there)) if in_words else Departure(key))
    if result.encoder.get("weights") == "raw":
        found.append(Departure("raw weights"))
    if (epoch := result.encoder.get("checkpoint")) is not None:
        found.append(Departure(f"after epoch {option_text(epoch)}"))
    return found + changed_options(result)


def changed_options(result: Result) -> list[Departure]:
    """Return the options of encoder and data that were changed for a measurement and affect its meaning."""
    found: list[Departure] = []
    same_data = _marked(DATA, str(result.data.get("name")), Mark.INCIDENTAL)
    for part, said, same in (("encoder", result.encoder, frozenset()), ("data", result.data, same_data)):
        changed = (said.get("changed_options") or {}).items()
        found += [Departure(f"{part}.{key} {option_text(value)}") for key, value in changed if key not in same]
    return found


def options_behind(options: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the options of a number: for a protocol with ``ways``, those of the entry that its name begins with.

    The union has the threat of the first entry: it is over those of that threat.
    """
    ways, (entry, *rest) = options.get("ways"), metric.split("/")
    if not rest or not isinstance(ways, dict) or not all(isinstance(own, dict) for own in ways.values()):
        return dict(options)
    if entry in ways:
        return _with_radius({key: value for key, value in options.items() if key != "ways"} | ways[entry])
    first = next(iter(ways.values()), {}) if entry == "union" else {}
    return _with_radius(dict(options) | {key: first[key] for key in ("norm", "eps") if key in first})


def _with_radius(options: dict[str, Any]) -> dict[str, Any]:
    """Return options of an attack with the radius of its norm in place of none."""
    unset, norm = "eps" in options and options["eps"] is None, options.get("norm")
    return options | {"eps": DEFAULT_EPS[norm]} if unset and isinstance(norm, str) and norm in DEFAULT_EPS else options


def comparable(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which equal radii are equal values: 8/255, "8/255" and 0.031372549.

    Radii are the options that take a number or text. A value that ``parse_eps`` refuses is kept.

    Args:
        kind: the registered protocol; options of an unknown one are returned unchanged.
        options: of a result or a file, with those of each of the ``ways``.
    """
    radii = _radii(kind)
    found = {key: _radius(value, options) if key in radii else value for key, value in options.items()}
    if isinstance(ways := found.get("ways"), dict):
        found["ways"] = {entry: comparable(kind, own) if isinstance(own, dict) else own for entry, own in ways.items()}
    return found


def _radius(value: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_radius(item, options) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return float(f"{parse_eps(value, 'l2' if options.get('norm') == 'l2' else 'linf'):.6g}")
    except UserError:  # a damaged file, or an option that takes other words
        return value


def _radii(kind: str) -> frozenset[str]:
    hints = PROTOCOLS.annotations(kind) if kind in set(PROTOCOLS) else {}
    return frozenset(key for key, hint in hints.items() if {float, str} <= _types(hint))


def _types(hint: Any) -> set[Any]:
    """Return the types in an annotation, with those of its items."""
    inner = get_args(hint)
    return {hint} if not inner else set().union(*map(_types, inner))


def _essential(options: Mapping[str, Any], idle: frozenset[str]) -> dict[str, Any]:
    """Remove options that do not affect the meaning, also from each of the ``ways``."""
    kept = {key: value for key, value in options.items() if key not in idle}
    if isinstance(ways := kept.get("ways"), dict):
        kept["ways"] = {entry: _essential(own, idle) if isinstance(own, dict) else own for entry, own in ways.items()}
    return kept


def _marked(registry: Registry[Any], name: str, mark: Mark) -> frozenset[str]:
    return registry.marked(name, mark) if name in set(registry) else frozenset()


def _has_file(name: str) -> bool:
    """Return whether there is a protocol file of that name, without a look at all the others."""
    return os.path.basename(name) == name and os.path.isfile(PROTOCOL_FILES / f"{name}.yaml")


@cache
def _description(name: str) -> _Description | None:
    """Return the content of a protocol file, or the defaults of a registered protocol; None for other names."""
    if _has_file(name):
        loaded = load_protocol(name)
        return _Description(loaded.name, json.loads(json.dumps(loaded.options, default=str)))
    if name not in set(PROTOCOLS):
        return None
    defaults = {key: plain(option.default) for key, option in PROTOCOLS.options(name).items()}
    stated = {key: value for key, value in defaults.items() if value is not Parameter.empty}
    return _Description(name, json.loads(json.dumps(stated, default=str)))
