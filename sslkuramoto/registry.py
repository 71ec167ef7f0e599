"""Named parts of a recipe: the signature of a constructor is the schema of its section.

``encoder: {name: akorn, channels: 64}`` becomes ``ENCODERS.build("akorn", {"channels": 64})``. Keys are checked against
the keyword-only parameters of the constructor and values against their annotations, before anything is built. Another
package adds a part by an entry point in the registry's group; nothing here has to be edited for it.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from sslkuramoto.errors import UserError, too_large, unknown

T = TypeVar("T")
C = TypeVar("C")


def check_value(key: str, value: object, annotation: Any) -> Any:
    """Return ``value`` as ``annotation`` demands it, or raise a :class:`UserError` that names ``key``.

    Strict: text is never read as a number and a number never as a flag. Whole numbers pass for reals, lists for tuples.
    """
    if isinstance(value, str) and "\0" in value:  # no path and no name may hold it
        raise UserError(f"{key}={value!r}: holds a null character")
    try:
        adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except Exception:  # a type that brings its own pydantic config
        adapter = TypeAdapter(annotation)
    forms = [_tuples(value), value]  # YAML knows lists only
    if "tuple" not in str(annotation):
        forms.reverse()
    reasons = []
    for form in forms:
        try:
            return adapter.validate_python(form, strict=True)
        except ValidationError as error:
            reasons.append(_reason(value, error))
    raise UserError(f"{key}={value!r}: {reasons[0]}")


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _reason(value: object, error: ValidationError) -> str:
    found = error.errors()
    in_list = [item for item in found if _entry(item) is not None]
    reason = " or ".join(dict.fromkeys(_message(item) for item in in_list or found))
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return reason
        return f"{reason}; it was read as text, write the number without quotes, for example {number!r}"
    return reason


def _message(item: Any) -> str:
    """Return one of pydantic's messages in the words of YAML, with the entry of a list that it is about."""
    if item["type"] == "tuple_type":
        return "input should be a list"
    if item["type"] == "too_long":
        return f"has {item['ctx']['actual_length']} entries, must have {item['ctx']['max_length']}"
    entry = _entry(item)
    if item["type"] == "missing" and entry is not None:
        return f"lacks entry {entry}"
    message = item["msg"][0].lower() + item["msg"][1:]
    return message if entry is None else f"entry {entry}: {message}"


def _entry(item: Any) -> int | None:
    """Return which entry of a list, from 1, one of pydantic's messages is about."""
    return next((part + 1 for part in reversed(item["loc"]) if isinstance(part, int)), None)


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in ``locals()``, taken as the first act of a constructor."""
    return {key: value for key, value in arguments.items() if key != "self"}


class Registry(Generic[T]):
    """A table from names to constructors whose keyword-only parameters are the options of a recipe.

    Args:
        kind: what the members are, singular, as errors name it (``"encoder"``).
        group: entry-point group under which other packages add members.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._members: dict[str, Callable[..., T]] = {}
        self._places: dict[str, str] = {}
        self._plugins: dict[str, EntryPoint] | None = None

    def add(self, name: str, constructor: Callable[..., T] | str) -> None:
        """Register a member.

        Args:
            name: as recipes and protocol files write it.
            constructor: the member, or ``"MODULE:NAME"``, imported when it is first asked for.

        Raises:
            AssertionError: the name is already registered (a bug in this package).
        """
        assert name not in {*self._members, *self._places}, f"{self.kind} {name!r} is registered twice"
        if isinstance(constructor, str):
            self._places[name] = constructor
        else:
            self._members[name] = constructor

    def _found(self) -> dict[str, EntryPoint]:
        """Return what other packages add, not loaded yet; a name of ours stays ours."""
        if self._plugins is None:
            points = entry_points(group=self.group)
            own = {*self._members, *self._places}
            self._plugins = {point.name: point for point in points if point.name not in own}
        return self._plugins

    def __getitem__(self, name: str) -> Callable[..., T]:
        if name in self._places and name not in self._members:
            module, _, attribute = self._places[name].partition(":")
            self._members[name] = getattr(import_module(module), attribute)
        if name not in self._members:
            if name not in self._found():
                raise unknown(self.kind, name, list(self))
            point = self._found()[name]
            try:
                self._members[name] = point.load()
            except Exception as error:  # whatever the other package does when it is imported
                raise UserError(f"{self.kind} {name!r}: its package cannot load {point.value}: {error!r}") from error
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._members, *self._places, *self._found()}))

    def result_class(self, name: str, base: type[C]) -> type[C]:
        """Return the class of what a member returns, before it is called: the member, or its return annotation.

        Args:
            name: of the member.
            base: of all that members return; also returned for a member that states nothing more special.
        """
        member = self[name]
        found = member if inspect.isclass(member) else get_type_hints(member).get("return")
        return found if inspect.isclass(found) and issubclass(found, base) else base

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the options a recipe may set for ``name``: the keyword-only parameters of its constructor."""
        parameters = inspect.signature(self[name]).parameters.values()
        return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def check(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``options`` with checked values.

        Raises:
            UserError: an unknown name or key, a value of the wrong type, or a required key left out.
        """
        allowed = self.options(name)
        constructor = self[name]
        hints = get_type_hints(
            constructor.__init__ if inspect.isclass(constructor) else constructor, include_extras=True
        )
        checked = {}
        for key, value in options.items():
            if key not in allowed:
                raise unknown(f"key of {self.kind} {name}", key, allowed)
            checked[key] = check_value(f"{self.kind}.{key}", value, hints.get(key, Any))
        missing = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty and key not in checked]
        if missing:
            raise UserError(f"{self.kind} {name} needs the key {missing[0]!r}")
        return checked

    def resolved(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked ``options`` with the defaults of those left out, in the order of the constructor.

        Raises:
            UserError: as :meth:`check`.
        """
        checked = self.check(name, options)
        return {key: checked.get(key, parameter.default) for key, parameter in self.options(name).items()}

    def build(self, name: str, options: Mapping[str, Any], *given: Any) -> T:
        """Construct member ``name`` from checked ``options``.

        Args:
            name: of the member.
            options: as the recipe has them.
            given: positional arguments, which a recipe cannot set.

        Raises:
            UserError: as :meth:`check`, or whatever the constructor finds wrong, prefixed by kind and name.
        """
        checked = self.check(name, options)
        try:
            return self[name](*given, **checked)
        except UserError as error:
            raise UserError(f"{self.kind} {name}: {error}") from None
        except (MemoryError, RuntimeError, TypeError) as error:
            found = too_large(error)
            if found is None:
                raise
            raise UserError(f"{self.kind} {name}: {found.what}; {found.advice}") from None
