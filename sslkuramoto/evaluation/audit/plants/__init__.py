"""Plants: fake defences that are put into any network to test the audit. Each hides a lack of robustness.

A member takes the encoder and the head of a network and returns both with the defence added; weights are shared, not
copied. Its keyword-only parameters are the options of ``plant={name: NAME, ...}``. Another package adds one through the
entry-point group ``sslkuramoto.plants``.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.audit.plants.altered import Planted
from sslkuramoto.evaluation.audit.plants.features import dropout, k_winners, pruned
from sslkuramoto.evaluation.audit.plants.logits import detached, quantised, rounded, scaled, tanh
from sslkuramoto.evaluation.audit.plants.pixels import blocks, branches, decoy, levels, thermometer
from sslkuramoto.evaluation.audit.plants.random_pixels import crop_resize, langevin, noisy
from sslkuramoto.evaluation.audit.plants.remembering import batch_norm, memory
from sslkuramoto.registry import Registry
from sslkuramoto.sources import PACKAGE, Plugins, plugins_of

PlantEntry = str | dict[str, Any]
"""The name of a plant, or ``{name: NAME, ...}`` with its options."""

PLANTS: Registry[Planted] = Registry("plant", "sslkuramoto.plants")
for _plant in (
    *(quantised, detached, scaled, tanh, rounded),
    *(levels, thermometer, blocks, decoy, branches),
    *(noisy, crop_resize, langevin),
    *(k_winners, dropout, pruned),
    *(batch_norm, memory),
):
    PLANTS.add(_plant.__name__, _plant)


def resolved(plant: PlantEntry) -> tuple[str, dict[str, Any]]:
    """Return the name and all options of a plant, defaults included.

    Raises:
        UserError: an unknown plant, key or value.
    """
    entry: Mapping[str, Any] = {"name": plant} if isinstance(plant, str) else plant
    options = {key: value for key, value in entry.items() if key != "name"}
    name = entry.get("name")
    if not isinstance(name, str):
        raise UserError(f"plant={plant!r}: needs the key 'name', one of {', '.join(PLANTS)}")
    return name, PLANTS.resolved(name, options)


def described_plant(plant: PlantEntry) -> str:
    """Return a plant in words: its name, with the options that are stated."""
    if isinstance(plant, str):
        return plant
    stated = ", ".join(f"{key}={value}" for key, value in plant.items() if key != "name")
    return f"{plant['name']}({stated})" if stated else plant["name"]


def code_of_plant(plant: PlantEntry | None) -> tuple[list[str], Plugins]:
    """Return the code of a plant: its source in this package, relative to it, or the other package that it is of."""
    if plant is None:
        return [], {}
    place = PLANTS.module_of(resolved(plant)[0])
    package, *module = place.split(".")
    return [f"{'/'.join(module)}.py"] if package == PACKAGE.name else [], plugins_of([place])


def planted(plant: PlantEntry | None, encoder: Encoder, head: nn.Module) -> Planted:
    """Return encoder and head with a fake defence added (None: unchanged); weights are shared, not copied."""
    if plant is None:
        return encoder, head
    name, options = resolved(plant)
    return PLANTS.build(name, options, encoder, head)
