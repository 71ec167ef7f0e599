"""Values of options: the signature states types and ranges, and one place checks them.

A constructor states ``temperature: Positive = 0.5``; recipes, protocol files and calls from Python are then all checked
against that, and ``sslkuramoto list`` prints it. An option may be a dataclass: a mapping in YAML.
"""

import dataclasses
import enum
import inspect
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from yaml import MarkedYAMLError, YAMLError

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import check_numbers, odd_number
from sslkuramoto.ranges import AtMost, Must, python_numbers, tuples

T = TypeVar("T")


class Mark(enum.Enum):
    """What an option states about itself: ``Annotated[Count, Mark.INCIDENTAL]``."""

    INCIDENTAL = "affects how or where a number is computed, not what it means"
    OPEN = "has no value in the protocol's file: the user gives one"
    PLACE = "names a file or folder, which a run saves as an absolute path"
    LATER = "came later than runs without it: a resolved recipe leaves it out at its default and so keeps its hash"
    UNSEEN = "of a data source: decides which examples are for the test and never for training"
    HELD_OUT = "of a data source: decides which training examples are kept back as val"


def marks(annotation: Any) -> frozenset[Mark]:
    """Return the marks of an option."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return frozenset(item for item in inner[1:] if isinstance(item, Mark)) | marks(inner[0])
    return frozenset().union(*map(marks, inner)) if get_origin(annotation) in (Union, UnionType) else frozenset()


Place = Annotated[str, Mark.PLACE]
Count = Annotated[int, Field(ge=1)]
"""How many: 1, 2, 3, ..."""
Whole = Annotated[int, Field(ge=0)]
"""0, 1, 2, ..."""
Odd = Annotated[int, Must("odd and >= 1", lambda value: value >= 1 and value % 2 == 1)]
MOST_STEPS = 10_000
Seed = Annotated[Whole, AtMost(2**63 - 1)]
"""What names random numbers; those next to it must fit into 64 bits."""
Steps = Annotated[Count, AtMost(MOST_STEPS)]
"""Steps of one layer in one pass; the papers have at most 512."""
Layers = Annotated[Count, AtMost(1_000)]
"""Layers of a network."""
Kernel = Annotated[Odd, AtMost(999)]
"""Side of a convolution's kernel."""
Side = Annotated[Count, AtMost(100_000)]
"""Side of an image in pixels, or of a board in cells."""
Repeats = Annotated[Count, AtMost(1_000_000)]
"""How often something is done again: draws, iterations and restarts of attacks, epochs, scenes to be made."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
"""A probability, or a share of the whole."""
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]


def check_value(key: str, value: object, annotation: Any) -> Any:
    """Return ``value`` as ``annotation`` demands it, or raise a :class:`UserError` that names ``key``.

    Strict: text is never read as a number and a number never as a flag. Whole numbers pass for reals, lists for tuples,
    mappings for dataclasses, and numbers and arrays of numpy and torch for Python's.
    """
    given, value = value, python_numbers(value)
    if isinstance(value, str) and "\0" in value:  # no path and no name may hold it
        raise UserError(f"{key}={value!r}: holds a null character")
    nested = dataclass_in(annotation)
    if nested is not None and not isinstance(value, nested) and value is not None:
        return bound(nested, value, f"{key}.")
    forms = [tuples(value), value] if _holds_tuple(annotation) else [value, tuples(value)]  # YAML knows lists only
    forms += [given] * (given is not value)
    errors = []
    for form in forms:
        try:
            return _adapter(annotation).validate_python(form, strict=True)
        except ValidationError as error:
            errors.append(error)
    raise UserError(f"{key}={_shown(value)}: {_reason(value, errors[0], annotation)}")


def read_text(key: str, text: str, annotation: Any) -> Any:
    """Return the value that a word of the command line means for an option.

    Text stays text where the option is text, whatever YAML would make of it: ``2024``, ``on``, ``@data`` and
    ``my data #3`` are names of folders. Anything else is YAML; quotes around a text are YAML's too.

    Args:
        key: in errors.
        text: as it was typed.
        annotation: of the option; ``Any`` where it is not known.

    Raises:
        UserError: no YAML, or a number that begins with 0 or holds a colon (YAML reads 010 as eight, 1:30 as ninety).
    """
    kinds, choices = _kinds(annotation)
    words = str in kinds or bool(choices)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if words and not re.fullmatch(r"[+-]?(\d|\.\d)[\d_.eE+-]*", text):
        kinds = kinds - {int, float}  # 12:30:00 and nan are numbers to YAML
    nothing = text == "null" and NoneType in kinds
    if text in choices or (words and not quoted and not nothing and kinds <= {str, NoneType}):
        return text
    if kinds & {int, float} and (odd := odd_number(text)):
        if words:
            return text
        raise UserError(f"{key}={text}: {odd}")
    try:
        value = OmegaConf.from_dotlist([f"value={text}"])["value"]
        check_numbers(text)
    except (YAMLError, OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        if words:
            return text
        problem = error.problem if isinstance(error, MarkedYAMLError) else None
        raise UserError(f"{key}={text}: no YAML: {problem or (str(error).splitlines() or [''])[0]}") from None
    if isinstance(value, str) and not quoted and float in kinds:
        with suppress(ValueError):
            return float(value)  # YAML takes 1e-3 and inf for text
    if isinstance(value, str):
        return text if words and not quoted else value
    if not words or (OmegaConf.is_config(value) and kinds & {list, tuple, dict, Mapping}):
        return value
    try:
        return check_value(key, value, annotation)
    except UserError:
        return text


def _kinds(annotation: Any) -> tuple[set[Any], set[str]]:
    """Return the types that an option may have, and the words that it may be."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kinds(inner[0])
    if origin is Literal:
        return {type(choice) for choice in inner} - {str}, {choice for choice in inner if isinstance(choice, str)}
    if origin in (Union, UnionType):
        kinds, choices = zip(*map(_kinds, inner), strict=True)
        return set().union(*kinds), set().union(*choices)
    return {annotation if origin is None else origin}, set()


def bound(
    cls: type[T],
    mapping: object,
    prefix: str,
    *,
    base: T | None = None,
    read: Callable[[str, object, Any], Any] = check_value,
) -> T:
    """Return a dataclass from a mapping of its fields.

    Args:
        cls: the dataclass.
        mapping: its fields; those left out come from ``base``, or have their defaults.
        prefix: of keys in errors, with its dot: ``"objective.projector."``.
        base: what the mapping changes.
        read: returns a field's value from key, value and annotation.

    Raises:
        UserError: no mapping, an unknown key (the nearest right one is named), a missing one, a value of the wrong type
            or out of range.
    """
    if not isinstance(mapping, Mapping):
        raise UserError(f"{prefix.rstrip('.') or 'recipe'}={mapping!r}: must be a mapping of keys to values")
    fields = {item.name: item for item in dataclasses.fields(cast(Any, cls))}
    hints = get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in mapping.items():
        if key not in fields:
            raise unknown(f"key {prefix}{key}" if prefix else "key", key, fields)
        values[key] = read(f"{prefix}{key}", value, hints[key])
    if base is not None:
        return dataclasses.replace(cast(Any, base), **values)
    for name, item in fields.items():
        required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(f"{prefix.rstrip('.') or 'the recipe'} lacks the key {name!r}")
    return cls(**values)


def dataclass_in(annotation: Any) -> type[Any] | None:
    """Return the dataclass that an option is, or may be besides null; None for any other option."""
    options = (annotation, *get_args(annotation))
    return next((option for option in options if inspect.isclass(option) and dataclasses.is_dataclass(option)), None)


def plain(value: Any) -> Any:
    """Return an option's value as YAML and JSON hold it: a dataclass as the mapping of its fields."""
    if dataclasses.is_dataclass(value) and not inspect.isclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    return value


def option_text(value: object) -> str:
    """An option as in YAML, but 8/255 in place of 0.03137254901960784 and name(option=value) for a mapping."""
    if isinstance(value, float) and len(repr(value)) > 8:
        levels = value * 255
        return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 and round(levels) else f"{value:.4g}"
    if isinstance(value, dict):
        rest = ", ".join(f"{key}={option_text(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", ""))
    if isinstance(value, list):
        return "+".join(map(option_text, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def checked(constructor: T) -> T:
    """Let a function or a class refuse arguments out of the ranges that its signature states, whoever calls it.

    Only arguments whose annotation states a range are checked; they are passed on unchanged, but for numbers of numpy
    and torch, which become Python's.

    Raises:
        UserError: from each call with such an argument: key, value and what is allowed.
    """
    if inspect.isclass(constructor):
        kind = cast(Any, constructor)
        kind.__init__ = checked(kind.__init__)
        return constructor
    function = cast(Callable[..., Any], constructor)
    signature = inspect.signature(function)
    hints = get_type_hints(function, include_extras=True)
    ranged = {name: hint for name, hint in hints.items() if name in signature.parameters and has_range(hint)}

    @wraps(function)
    def call(*given: Any, **options: Any) -> Any:
        bound_to = signature.bind_partial(*given, **options)
        for name, value in bound_to.arguments.items():
            if name in ranged:
                found = check_value(name, value, ranged[name])
                bound_to.arguments[name] = found if hasattr(value, "tolist") else python_numbers(value)
        return function(*bound_to.args, **bound_to.kwargs)

    return cast(T, call)


def small(**options: Any) -> Callable[[T], T]:
    """Let a member declare the options with which contract tests build it in moments."""

    def declare(constructor: T) -> T:
        cast(Any, constructor).small = options
        return constructor

    return declare


def _holds_tuple(annotation: Any) -> bool:
    """Whether an option is a tuple, or may hold one."""
    return tuple in (annotation, get_origin(annotation)) or any(map(_holds_tuple, get_args(annotation)))


def has_range(annotation: Any) -> bool:
    """Whether an annotation states a range, itself or within a list or a union."""
    return bool(_ranges(annotation))


def in_words(annotation: Any) -> str:
    """Return what an option may be, for a reader: ``"whole number >= 1 or null"``."""
    if annotation is None or annotation is NoneType:
        return "null"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated and Mark.PLACE in inner[1:]:
        return "path"
    if origin is Annotated:
        comma = "," if any(isinstance(item, Must) for item in inner[1:]) else ""
        most = "".join(f", at most {item.limit:,}" for item in inner[1:] if isinstance(item, AtMost))
        return f"{in_words(inner[0])}{comma} {_limits(inner[1:])}".rstrip() + most
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(in_words(option) for option in inner))
    if origin is Literal:
        return " | ".join(str(option) for option in inner)
    if origin is tuple and Ellipsis not in inner and len(set(inner)) == 1:
        return f"list of {len(inner)} ({in_words(inner[0])})"
    if origin in (tuple, list):
        return f"list ({in_words(inner[0])})"
    if annotation is dict or origin in (dict, Mapping) or dataclass_in(annotation):
        return "mapping"
    names = {int: "whole number", float: "number", bool: "true | false", str: "text", Any: "anything"}
    return names.get(annotation) or getattr(annotation, "__name__", str(annotation))


def _limits(metadata: tuple[Any, ...]) -> str:
    """Return the range that an ``Annotated`` states, as it follows "must be": ``"> 0"``, ``"in [0, 1)"``."""
    found: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, Must):
            return item.words
        for each in item.metadata if isinstance(item, FieldInfo) else (item,):
            limits = {name: getattr(each, name, None) for name in ("gt", "ge", "lt", "le")}
            found |= {name: limit for name, limit in limits.items() if limit is not None}
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    if low is not None and high is not None:
        return f"in {'[' if 'ge' in found else '('}{low}, {high}{']' if 'le' in found else ')'}"
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return " ".join(f"{signs[name]} {limit}" for name, limit in found.items())


def _ranges(annotation: Any) -> list[str]:
    """Return every range that an annotation states, itself or within."""
    inner = get_args(annotation)
    own = _limits(inner[1:]) if get_origin(annotation) is Annotated else ""
    return [own] * bool(own) + [words for part in inner for words in _ranges(part)]


@cache
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a type that has its own pydantic config
        return TypeAdapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed
        return _cached_adapter.__wrapped__(annotation)


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


_OUT_OF_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number", "must")


def _reason(value: object, error: ValidationError, annotation: Any) -> str:
    found = error.errors()
    if beyond := [item for item in found if item["type"] == "at_most"]:
        return _message(beyond[0])
    ranges = list(dict.fromkeys(_ranges(annotation)))
    outside = [item for item in found if item["type"] in _OUT_OF_RANGE]
    if outside and ranges:
        entries = list(dict.fromkeys(place for item in outside if (place := _entry(item)) is not None))
        where = f"entry {entries[0]} " if entries else ""
        open_ended = not any(words.startswith("in ") for words in ranges)
        finite = "finite and " if open_ended and isinstance(value, float) and not math.isfinite(value) else ""
        union = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
        rest = "".join(f", or {in_words(option)}" for option in union if not has_range(option))
        return f"{where}must be {finite}{' or '.join(ranges)}{rest}"
    in_list = [item for item in found if _entry(item) is not None]
    first, *others = dict.fromkeys(_message(item) for item in in_list or found)
    reason = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    numbers = {int, float} & _kinds(annotation)[0]
    if isinstance(value, str) and numbers:
        try:
            number = float(value)
        except ValueError:
            return reason
        example = int(number) if float not in numbers and number.is_integer() else number
        return f"{reason}; it was read as text, write the number without quotes, for example {example!r}"
    return reason


_WANTED = {"int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number"}
_WANTED |= {"string_type": "text", "bool_type": "true or false", "none_required": "null"}
_WANTED |= dict.fromkeys(("list_type", "tuple_type", "sequence_str"), "a list")
_WANTED |= dict.fromkeys(("dict_type", "mapping_type", "dataclass_exact_type"), "a mapping")
"""What a value must be, in the words of YAML, by pydantic's name of the error."""


def _message(item: Any) -> str:
    """Return one of pydantic's messages in the words of YAML, with the entry of a list that it is about."""
    if item["type"] == "too_long":
        return f"has {item['ctx']['actual_length']} entries, must have {item['ctx']['max_length']}"
    entry = _entry(item)
    if item["type"] == "missing" and entry is not None:
        return f"lacks entry {entry}"
    whole = item["msg"][0].lower() + item["msg"][1:]
    kind = item["ctx"]["class"] if item["type"] == "is_instance_of" else ""
    wanted = _WANTED.get(item["type"], {"Sequence": "a list", "Path": "a path"}.get(kind))
    message = f"must be {wanted}" if wanted else whole.replace("input should be", "must be", 1)
    if item["loc"][-1:] == ("[key]",):
        return message.replace("must be", "a key must be", 1)
    return message if entry is None else f"entry {entry}: {message}"


def _entry(item: Any) -> int | None:
    """Return which entry of a list, from 1, one of pydantic's messages is about; None for a key of a mapping."""
    if item["loc"][-1:] == ("[key]",):
        return None
    return next((part + 1 for part in reversed(item["loc"]) if isinstance(part, int)), None)
