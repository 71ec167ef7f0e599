"""The constructor's signature is the schema, in every registry: keys, types, nearest names, entry points."""

import inspect
from importlib.metadata import EntryPoint
from typing import Any, get_type_hints

import pytest

from sslkuramoto import registry as registry_module
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import PROTOCOLS
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.registry import Registry
from sslkuramoto.training.optimizer import OPTIMIZERS
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.views import VIEWS

REGISTRIES: list[Registry[Any]] = [DATA, VIEWS, ENCODERS, HEADS, OBJECTIVES, OPTIMIZERS, SCHEDULES, PROTOCOLS]
MEMBERS = [(registry, name) for registry in REGISTRIES for name in registry]

every_registry = pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
every_member = pytest.mark.parametrize(
    ("registry", "name"), MEMBERS, ids=[f"{registry.kind}-{name}" for registry, name in MEMBERS]
)


@every_member
def test_every_option_is_annotated_and_its_default_passes_its_own_check(registry: Registry[Any], name: str) -> None:
    constructor = registry[name]
    hints = get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    for key, parameter in registry.options(name).items():
        assert key in hints, f"{key} has no annotation"
        if parameter.default is not inspect.Parameter.empty:
            registry_module.check_value(key, parameter.default, hints[key])


@every_member
def test_a_misspelt_option_is_refused_with_the_right_ones(registry: Registry[Any], name: str) -> None:
    options = registry.options(name)
    if not options:
        pytest.skip("has no options")
    right = max(options, key=len)
    with pytest.raises(UserError, match=f"unknown key of {registry.kind} {name} '{right}x': did you mean '{right}'"):
        registry.check(name, {f"{right}x": 1})


@every_member
def test_a_number_that_yaml_reads_as_text_is_refused(registry: Registry[Any], name: str) -> None:
    constructor = registry[name]
    hints = get_type_hints(constructor.__init__ if inspect.isclass(constructor) else constructor)
    numbers = [key for key in registry.options(name) if hints[key] in (float, int, float | None, int | None)]
    for key in numbers:
        with pytest.raises(UserError, match=rf"{key}='1e-3'.*read as text"):
            registry.check(name, {key: "1e-3"})


@every_member
def test_it_says_in_one_line_what_it_is(registry: Registry[Any], name: str) -> None:
    first = (registry[name].__doc__ or "").strip().splitlines()[0]
    assert len(first) > 10, "shown by 'sslkuramoto list'"


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
