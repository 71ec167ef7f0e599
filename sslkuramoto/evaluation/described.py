"""What a result is beside the file that describes its protocol: that measurement, or one that departs from it.

The options' own marks (:class:`~sslkuramoto.values.Mark`) say which differences change no meaning.
"""

import json
from collections.abc import Mapping
from functools import cache
from inspect import Parameter
from typing import Any, NamedTuple, get_args

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import PROTOCOLS, load_protocol, protocol_files
from sslkuramoto.registry import Registry
from sslkuramoto.results import Result
from sslkuramoto.threat import parse_eps
from sslkuramoto.values import Mark, option_text, plain


class Departure(NamedTuple):
    """One thing in which a result is other than its protocol's file describes.

    Attributes:
        what: and how it is here: ``eps 0.1``.
        there: how the file has it; empty where that has no words.
    """

    what: str
    there: str = ""

    def __str__(self) -> str:
        return f"{self.what} (there {self.there})" if self.there else self.what


class _Description(NamedTuple):
    kind: str
    options: Mapping[str, Any]


def kind_of(result: Result) -> str:
    """Return the registered protocol that a result is of; empty where neither it nor the name of its file says so."""
    if result.kind:
        return result.kind
    described = _description(result.described_by) if result.described_by in protocol_files() else None
    return described.kind if described else result.described_by if result.described_by in set(PROTOCOLS) else ""


def incidental_options(result: Result) -> frozenset[str]:
    """Return the options of a result's protocol that change no meaning; none where the protocol is unknown here."""
    return _marked(PROTOCOLS, kind_of(result), Mark.INCIDENTAL)


def is_described(result: Result) -> bool:
    """Return whether something describes a result: a protocol file, or a registered protocol that has none by defaults
    that were not changed."""
    if result.described_by in protocol_files():
        return True
    return result.described_by in set(PROTOCOLS) and not any(departures(result, name) for name in result.metrics)


def named_as_described(result: Result) -> bool:
    """Return whether a result bears the name of what describes it: measured so, or put in its place (--as)."""
    return result.path.stem == result.described_by


def departures(result: Result, metric: str) -> list[Departure]:
    """Return in what a number departs from what describes its protocol; nothing for a number that does not.

    Options that a result does not know (it is older than they are) are not compared where it bears the name of what
    describes it. Of a protocol with ``ways``, the options are those of the number's way.

    Args:
        result: one that something describes.
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
    same_data = _marked(DATA, str(result.data.get("name")), Mark.INCIDENTAL)
    for part, said, same in (("encoder", result.encoder, frozenset()), ("data", result.data, same_data)):
        changed = (said.get("changed_options") or {}).items()
        found += [Departure(f"{part}.{key} {option_text(value)}") for key, value in changed if key not in same]
    return found


def options_behind(options: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return the options behind a number: of a protocol with ``ways``, those of the way that its name begins with."""
    ways, (way, *rest) = options.get("ways"), metric.split("/")
    if rest and isinstance(ways, dict) and isinstance(ways.get(way), dict):
        return {key: value for key, value in options.items() if key != "ways"} | ways[way]
    return dict(options)


def comparable(kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in which a radius is the same however it is written: 8/255, "8/255" and 0.031372549 are one.

    Radii are the options that take a number or text. What is none by :func:`~sslkuramoto.threat.parse_eps` stays.

    Args:
        kind: the registered protocol; options of an unknown one stay as they are.
        options: of a result or a file; those of each of the ``ways`` too.
    """
    radii = _radii(kind)
    found = {key: _radius(value, options) if key in radii else value for key, value in options.items()}
    if isinstance(ways := found.get("ways"), dict):
        found["ways"] = {way: comparable(kind, own) if isinstance(own, dict) else own for way, own in ways.items()}
    return found


def _radius(value: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_radius(item, options) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return float(f"{parse_eps(value, 'l2' if options.get('norm') == 'l2' else 'linf'):.6g}")
    except UserError:  # a damaged file, or an option with words of its own
        return value


def _radii(kind: str) -> frozenset[str]:
    hints = PROTOCOLS.annotations(kind) if kind in set(PROTOCOLS) else {}
    return frozenset(key for key, hint in hints.items() if {float, str} <= _types(hint))


def _types(hint: Any) -> set[Any]:
    """Return the types that an annotation is made of, those of its items too."""
    inner = get_args(hint)
    return {hint} if not inner else set().union(*map(_types, inner))


def _essential(options: Mapping[str, Any], idle: frozenset[str]) -> dict[str, Any]:
    """Leave out what changes no meaning, also of each of the ``ways``, which hold options of the protocol again."""
    kept = {key: value for key, value in options.items() if key not in idle}
    if isinstance(ways := kept.get("ways"), dict):
        kept["ways"] = {way: _essential(own, idle) if isinstance(own, dict) else own for way, own in ways.items()}
    return kept


def _marked(registry: Registry[Any], name: str, mark: Mark) -> frozenset[str]:
    return registry.marked(name, mark) if name in set(registry) else frozenset()


@cache
def _description(name: str) -> _Description | None:
    """Return what a protocol file says, or the defaults of a registered protocol; None for other names."""
    if name in protocol_files():
        loaded = load_protocol(name)
        return _Description(loaded.name, json.loads(json.dumps(loaded.options, default=str)))
    if name not in set(PROTOCOLS):
        return None
    defaults = {key: plain(option.default) for key, option in PROTOCOLS.options(name).items()}
    stated = {key: value for key, value in defaults.items() if value is not Parameter.empty}
    return _Description(name, json.loads(json.dumps(stated, default=str)))
