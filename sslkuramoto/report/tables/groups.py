"""Runs that differ in the seed only, as one row: their mean, and the standard deviation from seed to seed."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from os.path import commonprefix
from pathlib import Path
from typing import Any

import yaml

from sslkuramoto.files import bounded_yaml
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Model
from sslkuramoto.run_directory import RunDirectory

NO_METHOD = ("measure", "engine")  # sections of a recipe that change no weight
HOW_TO_READ = (
    "A row of several seeds shows the mean over its runs and ± their standard deviation (n - 1); intervals over images "
    "belong to single runs."
)


def groups_of(models: Sequence[Model]) -> list[list[Model]]:
    """Return models whose recipes are equal but for the seed together, each group in order of its seeds.

    Runs of one recipe and one seed are repetitions, no seeds: all of that recipe then stay single.
    """
    groups: dict[str, list[Model]] = {}
    for model in models:
        method, seed = _method(model), seed_of(model)
        key = f"single {model.label}" if method is None or seed is None else yaml.safe_dump(method)
        groups.setdefault(key, []).append(model)
    found: list[list[Model]] = []
    for group in groups.values():
        repeated = len({seed_of(model) for model in group}) < len(group)
        found += [[model] for model in group] if repeated else [sorted(group, key=lambda model: seed_of(model) or 0)]
    return found


def seed_of(model: Model) -> int | None:
    """Return the seed of the last part of a model, None where its recipe states none."""
    recipes = [_recipe(model.parts[name].recipe) for name in (FINETUNE, PRETRAIN) if name in model.parts]
    seed = recipes[0].get("seed") if recipes else None
    return seed if isinstance(seed, int) else None


def label_of(group: Sequence[Model], taken: Sequence[str]) -> str:
    """Return what the row of a group is called: what its labels share, and its seeds.

    Args:
        group: the models.
        taken: labels of other rows.
    """
    if len(group) == 1:
        return group[0].label
    shared = commonprefix([model.label for model in group])  # noqa: RUF071  by characters: labels are no paths
    shared = re.sub(r"[\W_]*(seed)?[\W_]*\d*$", "", shared)
    label = f"{shared} (seeds {', '.join(str(seed_of(model)) for model in group)})"
    return label if shared and label not in taken else ", ".join(model.label for model in group)


def _method(model: Model) -> dict[str, Any] | None:
    """Return what identifies a model but for its seeds; None where a recipe is missing."""
    methods = {name: _without_seed(_recipe(part.recipe)) for name, part in model.parts.items()}
    return methods if methods and all(methods.values()) else None


def _without_seed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the seed, and put the recipe of the run it started from in place of that run's folder."""
    method = {key: value for key, value in recipe.items() if key not in ("seed", *NO_METHOD)}
    start = RunDirectory(Path(str(method.get("init"))))
    file = start.owner.recipe_file
    if method.get("init") and file.is_file():
        method["init"] = _without_seed(_recipe(file.read_text(encoding="utf-8", errors="replace")))
        if start.owner is not start:
            method["init"] |= {"kept": start.path.name}
    return method


@cache
def _recipe(text: str | None) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(bounded_yaml(text or ""))
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
