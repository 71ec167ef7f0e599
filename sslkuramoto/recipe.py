"""A recipe: one complete run, read strictly from one YAML file.

Three sections, titled by consequence: *method* (what a paper's table states), *measurement* (what is recorded) and
*engine* (what should not affect results). Unknown keys, values of the wrong type and values out of range are errors
before anything else happens. Parts such as ``encoder: {name: akorn, channels: 64}`` are checked against the
constructors they name by the registries, not here.
"""

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sslkuramoto.errors import UserError, say_once, unknown
from sslkuramoto.files import at_home, content_of, packaged
from sslkuramoto.registry import registry_of
from sslkuramoto.run_options import Engine, Measure
from sslkuramoto.values import (
    Count,
    Positive,
    Repeats,
    Seed,
    ShareBelowOne,
    Whole,
    bound,
    check_value,
    checked,
    dataclass_in,
    read_text,
)
from sslkuramoto.yaml_files import parsed_yaml


@dataclass(frozen=True)
class Part:
    """A named member of a registry with its options: ``{name: akorn, channels: 64}``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the mapping this part was read from."""
        return {"name": self.name, **self.options}


@checked
@dataclass(frozen=True)
class WeightEMA:
    """Average of the weights over training (AKOrN, Miyato et al. 2025, arXiv 2410.13821; ema_pytorch's rule).

    Every ``update_every`` steps the average moves towards the weights with decay min(decay, 1 - (1 + s)**(-2/3)), s
    steps after ``update_after``; before that it is a copy.
    """

    decay: ShareBelowOne = 0.99
    update_after: Whole = 200
    update_every: Count = 10


PARTS = ("data", "views", "encoder", "objective", "optimizer", "schedule")
"""The sections of a recipe that name a member of a registry."""


@checked
@dataclass(frozen=True)
class Recipe:
    """A run.

    Attributes:
        seed: of every draw of the run (initial weights, order, views, oscillators).
        data, views, encoder, objective, optimizer, schedule: parts by name.
        epochs: passes over the training set, >= 1.
        batch_size: images per step, over all processes and accumulated parts together, >= 1.
        accumulate: parts a batch is cut into; gradients are summed before the step (BatchNorm then sees the parts).
        clip_grad_norm: largest L2 norm of the gradient, None for no clipping; the norm is logged in any case.
        weight_ema: averaging of the weights, None for none.
        init: run directory whose exported encoder the run starts from, None for fresh weights.
        measure, engine: see there.
    """

    data: Part
    views: Part
    encoder: Part
    objective: Part
    optimizer: Part
    epochs: Repeats
    batch_size: Count
    schedule: Part = Part("constant")
    seed: Seed = 0
    accumulate: Count = 1
    clip_grad_norm: Positive | None = None
    weight_ema: WeightEMA | None = None
    init: str | None = None
    measure: Measure = Measure()
    engine: Engine = Engine()

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise UserError(f"accumulate={self.accumulate}: must divide batch_size={self.batch_size}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain mappings and lists, as :func:`recipe_from` reads them."""
        return _plain(self)

    def method(self) -> dict[str, Any]:
        """Return what identifies the run: everything but measurement and engine."""
        return {key: value for key, value in self.to_dict().items() if key not in ("measure", "engine")}


_DEFAULTS = {item.name: item.default.name for item in dataclasses.fields(Recipe) if isinstance(item.default, Part)}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {"name": value.name, **{key: _plain(item) for key, item in value.options.items()}}
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def recipe_from(mapping: Mapping[str, Any]) -> Recipe:
    """Bind a mapping to a :class:`Recipe`.

    Raises:
        UserError: an unknown key (the nearest right one is named), a missing one, a wrong type, a value out of range.
    """
    known = {item.name for item in dataclasses.fields(Recipe)}
    for key in mapping:
        if key not in known and (inner := _sections_with(str(key), mapping)):
            raise UserError(f"unknown key {key!r}: did you mean {inner[0]!r}?")
    return bound(Recipe, mapping, "", read=_bound_part)


def _sections_with(key: str, mapping: Mapping[str, Any]) -> list[str]:
    """Return the keys of sections that end with ``key``."""
    found = [f"{name}.{key}" for name in ("engine", "measure") if key in _fields_of(name)]
    for part in PARTS:
        name, registry = _name_of(mapping.get(part)), registry_of(part)
        if name in set(registry) and key in registry.options(str(name)):
            found.append(f"{part}.{key}")
    return found


def _fields_of(section: str) -> set[str]:
    kind = get_type_hints(Recipe)[section]
    return {item.name for item in dataclasses.fields(kind)}


def _bound_part(key: str, value: object, hint: Any) -> Any:
    """Return the value of one key of a recipe; a part is left to its registry."""
    return part_from(value, key) if hint is Part else check_value(key, value, hint)


def part_from(value: object, key: str) -> Part:
    """Read ``{name: NAME, option: value}`` (or the bare ``NAME``)."""
    if isinstance(value, str):
        return Part(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise UserError(f"{key}={value!r}: must be a mapping with a key 'name', for example {{name: ..., option: ...}}")
    return Part(value["name"], {name: item for name, item in value.items() if name != "name"})


def read_yaml(path: Path) -> DictConfig:
    """Read a YAML mapping.

    Raises:
        UserError: no such file, no YAML, no mapping, a number such as 010 (8 to YAML).
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        config = copy.deepcopy(parsed_yaml(content_of(path).decode()))
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{path}: no valid YAML: nested too deeply") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:  # ValueError: undecodable text
        raise UserError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: must hold a mapping of keys to values")
    return config


def key_and_text(word: str, complaint: str) -> tuple[str, str]:
    """Split ``key=value``.

    Raises:
        UserError: ``complaint``, where there is no key or no ``=``.
    """
    key, sign, text = word.partition("=")
    if not sign or not key:
        raise UserError(complaint)
    return key, text


def override(config: DictConfig, overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``key=value`` overrides (dots reach into sections) and resolve to plain values.

    A value is read by its option's type (:func:`~sslkuramoto.values.read_text`): text stays text.

    Raises:
        UserError: an override without ``=``, one that does not fit the structure, another name for a part whose
            options the new one does not have.
    """
    before = {part: _name_of(config.get(part)) for part in PARTS}
    stated = {part: _stated(config[part]) for part in PARTS if isinstance(config.get(part), DictConfig)}
    changed: set[str] = set()
    for item in overrides:
        key, text = key_and_text(item, f"{item!r}: overrides are written key=value")
        section, reaches_inside, _ = key.partition(".")
        if reaches_inside and section in PARTS and not isinstance(config.get(section), DictConfig):
            # the bare NAME of a part, or one that is left out
            config[section] = {"name": _name_of(config.get(section)) or _DEFAULTS.get(section)}
        try:
            value = read_text(key, text, _annotation(config, key))
            OmegaConf.update(config, key, escaped(value), merge=False)
        except OmegaConfBaseException as error:
            raise UserError(f"{item!r}: {_first_line(error)}") from None
        except RecursionError:
            raise UserError(f"{key}: nested too deeply") from None
        except (yaml.YAMLError, TypeError, AttributeError) as error:
            raise UserError(f"{item!r}: {' '.join(str(error).split())}") from None
        changed.add(key)
    for part, options in stated.items():
        own = {key.partition(".")[2] for key in changed if key.startswith(f"{part}.")}
        if part not in changed and before[part] == _name_of(config[part]) and before[part] in set(registry_of(part)):
            registry_of(part).check_change(before[part], options, {key: config[part].get(key) for key in own})
    for part, name in before.items():
        if f"{part}.name" in changed and name and part not in changed:
            _check_swapped(config, part, name, changed)
    try:
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_first_line(error)) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _stated(section: DictConfig) -> dict[str, Any]:
    """Return the options of a part that have a value: ``???`` leaves it to the user."""
    return {str(key): section[key] for key in section if not OmegaConf.is_missing(section, key)}


def _name_of(section: Any) -> Any:
    return section.get("name") if isinstance(section, Mapping | DictConfig) else section


def _annotation(config: DictConfig, key: str) -> Any:
    """Return the type of what ``key`` names, as far as its parts are known; ``Any`` where they are not."""
    first, *rest = key.split(".")
    hints: Mapping[str, Any] = get_type_hints(Recipe, include_extras=True)
    if first in PARTS and rest:
        name, registry = _name_of(config.get(first)), registry_of(first)
        if rest == ["name"] or name not in set(registry):
            return str if rest == ["name"] else Any
        first, *rest = rest
        hints = registry.annotations(str(name))
    found = hints.get(first, Any)
    for step in rest:
        nested = dataclass_in(found)
        found = Any if nested is None else get_type_hints(nested, include_extras=True).get(step, Any)
    return found if found is not Part else Any


def escaped(value: Any) -> Any:
    """Return text so that OmegaConf finds nothing in it to put in place of ``${...}``."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def _check_swapped(config: DictConfig, part: str, old: str, changed: set[str]) -> None:
    """Check that a part of another name has only options of its own."""
    new, registry = _name_of(config[part]), registry_of(part)
    if new == old or new not in set(registry):
        return
    own = registry.options(new)
    kept = [str(key) for key in config[part] if key not in own and key != "name" and f"{part}.{key}" not in changed]
    if kept:
        mapping = ", ".join([f"name: {new}", *(f"{name}: ..." for name in list(own)[:1])])
        raise UserError(
            f"{part}.name={new}: {', '.join(kept)} of {old} stay in the recipe, and {new} has no such options;"
            f" write {part}='{{{mapping}}}' to replace the whole part"
        )


def _first_line(error: OmegaConfBaseException) -> str:
    """Return what went wrong, without OmegaConf's own types in the lines below."""
    return (str(error).splitlines() or [type(error).__name__])[0]


RENAMED = {
    f"cifar10-{name}": f"cifar10-{name.replace('phinet', 'xphinet')}"
    for name in (
        *("akorn-phinet-200", "akorn-phinet-400", "akorn-phinet-400-clip1", "akorn-phinet-400-clip10"),
        "resnet18-phinet-400",
    )
}
"""Old name of a recipe -> the name that it has now; the old one keeps working wherever a recipe is named."""
PHINET_ITSELF = "cifar10-akorn-phinet-original-200 and -400"


def recipe_files() -> dict[str, Path]:
    """Return the recipes that come with the package by name."""
    return {path.stem: path for path in sorted(packaged("recipes").glob("*.yaml"))}


def recipe_file(name: str) -> Path:
    """Return the file that a command or a study means: a path, or the name of one of :func:`recipe_files`.

    Raises:
        UserError: there is none.
    """
    if (place := at_home(name)).is_file():
        return place
    if name and place.exists():
        raise UserError(f"{name}: is no regular file")
    known = recipe_files()
    stem = Path(name).stem if name.startswith("recipes/") else name
    if stem in RENAMED and stem not in known:
        say_once(f"recipe {stem} is called {RENAMED[stem]} now (it trains X-PhiNet; PhiNet itself: {PHINET_ITSELF})")
        stem = RENAMED[stem]
    if stem in known:
        return known[stem]
    if name.endswith((".yaml", ".yml")) and not name.startswith("recipes/"):
        raise UserError(f"{name}: no such file")
    raise unknown("recipe", stem, known)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply overrides; every error names the file."""
    config = read_yaml(path)
    try:
        return recipe_from(override(config, overrides))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def dump_recipe(recipe: Recipe) -> str:
    """Return the YAML text that :func:`load_recipe` reads back to an equal recipe."""
    return yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True)
