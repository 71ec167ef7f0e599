"""The files that the contract tests run over, and recipes small enough to be carried out in a second."""

import json
from pathlib import Path

from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.recipe import load_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
PROTOCOLS = sorted((ROOT / "eval" / "protocols").glob("*.yaml"))

# Two steps of eight images of 8 x 8 pixels through networks of a few channels.
TINY_DATA = ["data.limit=16", "data.limit_test=20", "data.size=8", "batch_size=8", "epochs=1"]
TINY_ENCODER = {
    "akorn": ["encoder.channels=4", "encoder.kernel_sizes=[3,3]"],
    "timm": ["encoder.model=test_resnet", "encoder.small_stem=false"],
}


def tiny(path: Path) -> list[str]:
    """Return the overrides that bring a digits recipe down to two steps of a second."""
    recipe = load_recipe(path)
    small = [f"objective.{key}={json.dumps(value)}" for key, value in OBJECTIVES.small(recipe.objective.name).items()]
    return [*TINY_DATA, *TINY_ENCODER[recipe.encoder.name], *small, "measure.monitor_images=16", "engine.device=cpu"]


def train_tiny(path: Path, run: Path, *overrides: str) -> RunDirectory:
    """Carry out a digits recipe, reduced to two steps."""
    return train(load_recipe(path, [*tiny(path), *overrides]), run)
