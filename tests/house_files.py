"""The files that the contract tests run over, and recipes small enough to be carried out in a second."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import PROTOCOLS as PROTOCOL_REGISTRY
from sslkuramoto.evaluation.audit.plants import PLANTS
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.recipe import Recipe, load_recipe
from sslkuramoto.registry import Registry
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.study import Study
from sslkuramoto.study.parse import read_study
from sslkuramoto.training import train
from sslkuramoto.training.learner import resolved
from sslkuramoto.training.optimizer import OPTIMIZERS
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.views import VIEWS

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
REGISTRIES: list[Registry[Any]] = [
    *(DATA, VIEWS, ENCODERS, HEADS, OBJECTIVES, OPTIMIZERS, SCHEDULES, ATTACKS, PLANTS),
    PROTOCOL_REGISTRY,
]
PROTOCOLS = sorted((ROOT / "eval" / "protocols").glob("*.yaml"))
STUDIES = sorted((ROOT / "eval" / "studies").glob("*.yaml"))

# Two steps of eight images of 8 x 8 pixels through networks of a few channels.
TINY_DATA = ["data.limit=16", "data.limit_test=20", "data.size=8", "batch_size=8", "epochs=1"]


def tiny(path: Path) -> list[str]:
    """Return the overrides that bring a digits recipe down to two steps of a second."""
    recipe = load_recipe(path)
    small = [
        f"{kind}.{key}={json.dumps(value)}"
        for kind, options in (
            ("encoder", ENCODERS.small(recipe.encoder.name)),
            ("objective", OBJECTIVES.small(recipe.objective.name)),
        )
        for key, value in options.items()
    ]
    if "warmup_epochs" in recipe.schedule.options:
        small.append("schedule.warmup_epochs=0")
    return [*TINY_DATA, *small, "measure.monitor_images=16", "engine.device=cpu"]


def train_tiny(path: Path, run: Path, *overrides: str) -> RunDirectory:
    """Carry out a digits recipe, reduced to two steps."""
    return train(load_recipe(path, [*tiny(path), *overrides]), run)


@cache
def loaded_study(name: str) -> Study:
    """Return a study of eval/studies, once per process; test_studies.py checks that its recipes fit each other."""
    return read_study(ROOT / "eval" / "studies" / f"{name}.yaml")


@cache
def recipe_of(study: str, row: str, stage: int) -> Recipe:
    """Return the recipe of a stage for the first seed of its row, with its changes."""
    loaded = loaded_study(study)
    return loaded.recipe(row, stage, loaded.rows[row].seeds[0])


@cache
def resolved_recipe(study: str, row: str, stage: int, seed: int | None = None) -> Recipe:
    """Return :func:`recipe_of` with every default written out; ``seed`` is all in which another seed differs."""
    recipe = resolved(recipe_of(study, row, stage))
    return recipe if seed is None else replace(recipe, seed=seed)
