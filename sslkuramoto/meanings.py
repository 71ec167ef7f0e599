"""What each option of a member is: default and range from the signature, one line of meaning from the docstring."""

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple, get_type_hints

from sslkuramoto.registry import Registry
from sslkuramoto.values import dataclass_in, in_words, plain

_IN_YAML = {"None": "null", "True": "true", "False": "false"}


class Option(NamedTuple):
    """One option of a member.

    Attributes:
        key: as a recipe or a protocol file writes it; ``projector.hidden`` is a field of ``projector``.
        default: as YAML writes it, or "(required)".
        allowed: type and range.
        meaning: the first sentence that the docstring has on it; empty where it has none.
    """

    key: str
    default: str
    allowed: str
    meaning: str


def options_in_words(registry: Registry[Any], name: str) -> list[Option]:
    """Return every option of a member; fields of an option that is a dataclass follow one by one in its place."""
    hints, known = registry.annotations(name), meanings(registry[name])
    found = []
    for key, parameter in registry.options(name).items():
        nested = dataclass_in(hints[key])
        if nested is None or not dataclasses.is_dataclass(parameter.default):
            found.append(Option(key, _written(parameter.default), in_words(hints[key]), known.get(key, "")))
            continue
        fields, inner = get_type_hints(nested, include_extras=True), meanings(nested)
        for field, value in plain(parameter.default).items():
            found.append(Option(f"{key}.{field}", _written(value), in_words(fields[field]), inner.get(field, "")))
    return found


def _written(default: Any) -> str:
    return "(required)" if default is inspect.Parameter.empty else json.dumps(default, ensure_ascii=False)


def meanings(member: Callable[..., Any]) -> dict[str, str]:
    """Return option -> first sentence of its entry under "Args" or "Attributes".

    A class has the entries of its bases too; "The other options are those of :func:`X`" adds those of X.
    """
    found: dict[str, str] = {}
    for documented in inspect.getmro(member) if inspect.isclass(member) else (member,):
        text = inspect.cleandoc(documented.__doc__ or "")
        for names, meaning in _entries(text):
            found |= {name: _first_sentence(meaning) for name in names if name not in found}
        for place in re.findall(r"[Oo]ptions (?:are those of|as)\s+:\w+:`~?([\w.]+)`", text):
            found = meanings(_named(place, documented.__module__)) | found
    return found


def _entries(text: str) -> Iterator[tuple[list[str], str]]:
    """Yield the names and the text of each entry of the sections "Args" and "Attributes" of a docstring."""
    for section in re.findall(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)+)", text, flags=re.MULTILINE):
        for entry in re.findall(r"^    (?! )(.*(?:\n     .*)*)", section, flags=re.MULTILINE):
            names, colon, meaning = entry.partition(": ")
            if colon:
                yield [name.strip() for name in names.split(",")], " ".join(meaning.split())


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[^.][^.])\. (?=[A-Z])", as_text(text), maxsplit=1)[0].rstrip(".")


def as_text(text: str) -> str:
    """Return a docstring's words without its markup, with null, true and false as recipes write them."""
    bare = re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "")
    return re.sub(r"\b(None|True|False)\b", lambda found: _IN_YAML[found[0]], bare)


def _named(place: str, module: str) -> Any:
    """Return what a docstring refers to: ``a.b.NAME``, or a name of its own module."""
    within, _, name = place.rpartition(".")
    return getattr(import_module(within or module), name)
