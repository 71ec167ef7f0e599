"""The files that the contract tests run over, and recipes small enough to be carried out in a second."""

import json
from pathlib import Path
from typing import Any

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.evaluation import PROTOCOLS as PROTOCOL_REGISTRY
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.recipe import load_recipe
from sslkuramoto.registry import Registry
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train
from sslkuramoto.training.optimizer import OPTIMIZERS
from sslkuramoto.training.schedule import SCHEDULES
from sslkuramoto.views import VIEWS

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
REGISTRIES: list[Registry[Any]] = [
    *(DATA, VIEWS, ENCODERS, HEADS, OBJECTIVES, OPTIMIZERS, SCHEDULES, ATTACKS),
    PROTOCOL_REGISTRY,
]
PROTOCOLS = sorted((ROOT / "eval" / "protocols").glob("*.yaml"))

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
    return [*TINY_DATA, *small, "measure.monitor_images=16", "engine.device=cpu"]


def train_tiny(path: Path, run: Path, *overrides: str) -> RunDirectory:
    """Carry out a digits recipe, reduced to two steps."""
    return train(load_recipe(path, [*tiny(path), *overrides]), run)
