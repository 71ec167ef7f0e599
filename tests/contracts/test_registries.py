"""In every registry the constructor's signature is the schema: keys, types, nearest names, entry points."""

import inspect
import re
from importlib.metadata import EntryPoint
from types import NoneType, UnionType
from typing import Annotated, Any, get_args, get_origin

import pytest
from house_files import REGISTRIES

from sslkuramoto import registry as registry_module
from sslkuramoto.cli_list import _REGISTRIES, _kinds
from sslkuramoto.errors import UserError
from sslkuramoto.meanings import options_in_words
from sslkuramoto.registry import Registry
from sslkuramoto.report.sections import SECTIONS
from sslkuramoto.values import check_value, has_range

EVERY = [*REGISTRIES, SECTIONS]
MEMBERS = [(registry, name) for registry in EVERY for name in registry]

every_registry = pytest.mark.parametrize("registry", EVERY, ids=lambda registry: registry.kind)
every_member = pytest.mark.parametrize(
    ("registry", "name"), MEMBERS, ids=[f"{registry.kind}-{name}" for registry, name in MEMBERS]
)


@every_member
def test_every_option_is_annotated_and_its_default_passes_its_own_check(registry: Registry[Any], name: str) -> None:
    hints = registry.annotations(name)
    for key, parameter in registry.options(name).items():
        assert hints[key] is not Any, f"{key} has no annotation"
        if parameter.default is not inspect.Parameter.empty:
            check_value(key, parameter.default, hints[key])


@every_member
def test_every_option_has_a_range_in_words_and_a_line_of_meaning(registry: Registry[Any], name: str) -> None:
    options = options_in_words(registry, name)
    assert {option.key.partition(".")[0] for option in options} == set(registry.options(name))
    assert [option.key for option in options if len(option.meaning) < 4 or "\n" in option.meaning] == []
    assert [option.key for option in options if "Annotated" in option.allowed or not option.allowed] == []


@every_member
def test_what_it_declares_as_small_are_options_of_it(registry: Registry[Any], name: str) -> None:
    hints = registry.annotations(name)
    for key, value in registry.small(name).items():
        check_value(key, value, hints[key])


OUTSIDE = (-5, 0, (-5,), (-5, -5), (-5,) * 4)  # one of them is of the right type and out of each range


def outside(annotation: Any) -> Any:
    for value in OUTSIDE:
        try:
            check_value("key", value, annotation)
        except UserError as error:
            if "must be" in str(error):
                return value
    raise AssertionError(f"no value is known to be outside {annotation}")


@every_member
def test_a_value_out_of_range_is_refused_by_name_whoever_calls(registry: Registry[Any], name: str) -> None:
    ranged = {key: hint for key, hint in registry.annotations(name).items() if has_range(hint)}
    if not ranged:
        pytest.skip("has no ranges")
    parameters = inspect.signature(registry[name]).parameters.values()
    given = [8 for p in parameters if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]  # a size, for views
    for key, hint in ranged.items():
        wrong = {**registry.small(name), key: outside(hint)}
        with pytest.raises(UserError, match=rf"^{registry.kind}\.{key}=.*must be"):
            registry.check(name, wrong)
        with pytest.raises(UserError, match=rf"^{key}=.*must be"):
            registry[name](*given, **wrong)


@every_member
def test_a_misspelt_option_is_refused_with_the_right_ones(registry: Registry[Any], name: str) -> None:
    options = registry.options(name)
    if not options:
        pytest.skip("has no options")
    right = max(options, key=len)
    with pytest.raises(UserError, match=f"unknown key of {registry.kind} {name} '{right}x': did you mean '{right}'"):
        registry.check(name, {f"{right}x": 1})


def is_number(hint: Any) -> bool:
    """Whether an option is a number or null, with or without a range."""
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if get_origin(hint) is UnionType else [hint]
    return [get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in kinds] in ([int], [float])


@every_member
def test_a_number_that_yaml_reads_as_text_is_refused(registry: Registry[Any], name: str) -> None:
    numbers = [key for key, hint in registry.annotations(name).items() if is_number(hint)]
    for key in numbers:
        with pytest.raises(UserError, match=rf"{key}='1e-3'.*read as text"):
            registry.check(name, {key: "1e-3"})


LISTED = [(kind, name, line) for kind, listed in _kinds().items() for name, line in listed().items()]
MARKUP = re.compile(r":\w+:`|``|\bNone\b|\bTrue\b|\bFalse\b")


@pytest.mark.parametrize("line", [line for *_, line in LISTED], ids=[f"{kind}-{name}" for kind, name, _ in LISTED])
def test_what_list_prints_of_a_member_is_a_whole_sentence_in_words(line: str) -> None:
    assert len(re.findall("[A-Za-z-]{3,}", line)) >= 4, "in words"
    assert not re.search(r"[|^]| \* |<-|sum_", line), "no formula"
    assert not MARKUP.search(line)
    assert line.endswith((".", "?", ")")), "cut off"
    assert not line.startswith("Return this")


@pytest.mark.parametrize("what", [*_REGISTRIES, "protocols"])
def test_members_of_one_kind_are_told_apart_by_their_lines(what: str) -> None:
    lines = [line for kind, _, line in LISTED if kind == what]
    assert len(set(lines)) == len(lines)


@every_member
def test_the_meaning_of_an_option_is_plain_text_as_a_recipe_writes_it(registry: Registry[Any], name: str) -> None:
    assert [option.key for option in options_in_words(registry, name) if MARKUP.search(option.meaning)] == []


@every_registry
def test_an_unknown_name_is_answered_with_the_nearest(registry: Registry[Any]) -> None:
    name = next(iter(registry))
    with pytest.raises(UserError, match=f"unknown {registry.kind} '{name}x': did you mean '{name}'"):
        registry[f"{name}x"]


@every_registry
def test_another_package_adds_a_member_by_an_entry_point(
    registry: Registry[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("elsewhere", "collections:OrderedDict", registry.group)
    asked = []

    def entry_points(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [point]

    monkeypatch.setattr(registry_module, "entry_points", entry_points)
    fresh: Registry[Any] = Registry(registry.kind, registry.group)
    assert "elsewhere" in list(fresh)
    assert fresh["elsewhere"].__name__ == "OrderedDict"
    assert set(asked) == {registry.group}
    assert registry.group.startswith("sslkuramoto.")
