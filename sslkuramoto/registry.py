"""Named parts of a recipe: the signature of a constructor is the schema of its section.

``encoder: {name: akorn, channels: 64}`` becomes ``ENCODERS.build("akorn", {"channels": 64})``. Keys are checked against
the keyword-only parameters of the constructor and values against their annotations, before anything is built. An
option that is a dataclass is a mapping: ``projector: {hidden: 512}`` changes one field of its default. A member may
declare ``by_option = {"eps": ("norm", {"linf": "8/255", "l2": 0.5})}``: ``eps`` left out, or null, is that of ``norm``.
Another package adds a part by an entry point in the registry's group; nothing here has to be edited for it.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, get_type_hints

from sslkuramoto.errors import UserError, one_line, say_once, too_large, unknown
from sslkuramoto.values import Mark, bound, check_value, dataclass_in, marks, plain

T = TypeVar("T")
C = TypeVar("C")


def options_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options in ``locals()``, taken as the first act of a constructor."""
    return {key: value for key, value in arguments.items() if key != "self"}


@cache
def _options_of(constructor: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(constructor).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function, resolved.

    Raises:
        UserError: one names what its module lacks, such as an import for type checkers alone.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, AttributeError) as error:
        place = f"{function.__module__}.{function.__qualname__}"
        advice = "its module has to import what they name, not under TYPE_CHECKING"
        raise UserError(f"{place}: the annotations cannot be read: {one_line(error)}; {advice}") from None


@cache
def _annotations_of(constructor: Callable[..., Any]) -> dict[str, Any]:
    signed = constructor.__init__ if inspect.isclass(constructor) else constructor
    hints = _hints_of(signed)
    return {key: hints.get(key, Any) for key in _options_of(constructor)}


_SECTIONS = {
    "data": "sslkuramoto.data:DATA",
    "views": "sslkuramoto.views:VIEWS",
    "encoder": "sslkuramoto.encoders:ENCODERS",
    "objective": "sslkuramoto.objectives:OBJECTIVES",
    "optimizer": "sslkuramoto.training.optimizer:OPTIMIZERS",
    "schedule": "sslkuramoto.training.schedule:SCHEDULES",
}


def registry_of(section: str) -> "Registry[Any]":
    """Return the registry of a part of a recipe; it is imported when it is first asked for."""
    module, _, name = _SECTIONS[section].partition(":")
    return getattr(import_module(module), name)


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
        if not isinstance(name, str):
            raise unknown(self.kind, name, list(self))
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

    def module_of(self, name: str) -> str:
        """Return the module that a member is from: of an entry point the one that it names."""
        if name in self._places:
            return self._places[name].partition(":")[0]
        return self._found()[name].module if name in self._found() else self[name].__module__

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._members, *self._places, *self._found()}))

    def result_class(self, name: str, base: type[C]) -> type[C]:
        """Return the class of what a member returns, before it is called: the member, or its return annotation.

        Args:
            name: of the member.
            base: of all that members return; also returned for a member that states nothing more special.
        """
        member = self[name]
        found = member if inspect.isclass(member) else _hints_of(member).get("return")
        return found if inspect.isclass(found) and issubclass(found, base) else base

    def options(self, name: str) -> dict[str, inspect.Parameter]:
        """Return the options a recipe may set for ``name``: the keyword-only parameters of its constructor."""
        return dict(_options_of(self[name]))

    def small(self, name: str) -> Mapping[str, Any]:
        """Return the options with which tests build ``name`` in moments: what it declares by ``small``, else none."""
        return getattr(self[name], "small", {})

    def by_option(self, name: str) -> Mapping[str, tuple[str, Mapping[str, Any]]]:
        """Return the options whose default another option decides: option -> (the other, its value -> default)."""
        return getattr(self[name], "by_option", {})

    def annotations(self, name: str) -> dict[str, Any]:
        """Return the annotation of each option of ``name``, with its range."""
        return dict(_annotations_of(self[name]))

    def marked(self, name: str, mark: Mark) -> frozenset[str]:
        """Return the options of ``name`` whose annotation bears a mark."""
        return frozenset(key for key, hint in self.annotations(name).items() if mark in marks(hint))

    def places(self, name: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Return those of ``options`` that name files or folders."""
        places = self.marked(name, Mark.PLACE)
        return {key: value for key, value in options.items() if key in places and isinstance(value, str)}

    def check(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``options`` with checked values; of two spellings of one option the later counts.

        Raises:
            UserError: an unknown name or key, a value of the wrong type or out of range, or a required key left out.
        """
        allowed, hints = self.options(name), self.annotations(name)
        checked: dict[str, Any] = {}
        flat: dict[str, str] = {}
        for key, value in options.items():
            if key not in allowed:
                option, field = _nested(key, hints)
                if option is None:
                    raise unknown(f"key of {self.kind} {name}", key, allowed)
                flat[key] = f"{key}: {value} is written {option}: {{{field}: {value}}} now"
                key, value = option, {field: value}
            nested = dataclass_in(hints[key])
            if nested is not None and isinstance(value, Mapping):
                base = checked.get(key, allowed[key].default)
                value = bound(nested, value, f"{self.kind}.{key}.", base=base if isinstance(base, nested) else None)
            checked[key] = check_value(f"{self.kind}.{key}", value, hints[key])
        if flat:
            first, *others = flat
            say_once(f"{self.kind} {name}: {flat[first]}" + (f"; so are {', '.join(others)}" if others else ""))
        missing = [key for key, p in allowed.items() if p.default is inspect.Parameter.empty and key not in checked]
        if missing:
            raise UserError(f"{self.kind} {name} needs the key {missing[0]!r}")
        return checked

    def resolved(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return checked ``options`` with the defaults of those left out, in the order of the constructor.

        Options marked ``Mark.LATER`` are left out at their default. A dataclass comes as the mapping of its fields.

        Raises:
            UserError: as :meth:`check`.
        """
        checked = self.check(name, options)
        found = {key: plain(checked.get(key, parameter.default)) for key, parameter in self.options(name).items()}
        for key in self.marked(name, Mark.LATER):
            if found[key] == self.options(name)[key].default:
                del found[key]
        defaults = {key: table[found[other]] for key, (other, table) in self.by_option(name).items()}
        return found | {key: value for key, value in defaults.items() if found[key] is None}

    def check_change(self, name: str, stated: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
        """Refuse a change of an option that leaves another one as it was stated for the old value: a radius of a norm.

        Args:
            name: of the member.
            stated: the options before the change.
            changed: checked options that take their place.

        Raises:
            UserError: names both, and the usual value.
        """
        for key, (other, table) in self.by_option(name).items():
            if stated.get(key) is None or key in changed or other not in changed:
                continue
            old, new = stated.get(other, self.options(name)[other].default), changed[other]
            if old != new:
                why = f"{key}={stated[key]} was stated for {other}={old}"
                raise UserError(f"{other}={new}: {why}; set {key} too (usual: {table[new]})")

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
            if (found := too_large(error)) is not None:
                raise UserError(f"{self.kind} {name}: {found.what}; {found.advice}") from None
            if isinstance(error, TypeError):
                self._check_takes(name, given, checked)
            from sslkuramoto.randomness import without_memory  # imported here because listing members needs no torch

            if without_memory():
                rule = "a constructor is first called without memory (device meta) and may read no values of tensors"
                raise UserError(f"{self.kind} {name}: {rule}, see docs/plugins.md: {one_line(error)}") from error
            raise

    def _check_takes(self, name: str, given: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Refuse a member that another package wrote with other positional parameters than its kind is called with."""
        try:
            inspect.signature(self[name]).bind(*given, **options)
        except TypeError as error:
            call = f"{len(given)} positional argument{'s' * (len(given) != 1)}"
            raise UserError(
                f"{self.kind} {name}: is called with {call}, see docs/plugins.md: {one_line(error)}"
            ) from None


def _nested(key: str, hints: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the option and the field that a key of the old, flat spelling means (``projector_hidden``), or None."""
    for option, hint in hints.items():
        kind, field = dataclass_in(hint), key.removeprefix(f"{option}_")
        if kind is not None and field != key and field in {item.name for item in dataclasses.fields(kind)}:
            return option, field
    return None, key
