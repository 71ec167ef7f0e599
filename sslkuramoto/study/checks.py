"""What can be checked of a study without data: recipes, encoders against the one before, what is measured on them."""

from pathlib import Path

import torch
from torch import nn

from sslkuramoto.checkpoint import check_fit
from sslkuramoto.data import ImageSet
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.study.model import Study
from sslkuramoto.study.overrides import check_one_source
from sslkuramoto.training import check


def check_recipes(study: Study) -> None:
    """Check every stage of every row as ``train --check`` does, and that it fits the one before and its measurements.

    Raises:
        UserError: the first thing that is wrong, with its place.
    """
    sources: list[tuple[str, str]] = []
    for row in study.rows.values():
        before = None
        for number in range(len(row.stages)):
            recipe = study.recipe(row.key, number, row.seeds[0])
            where = f"study {study.name}, row {row.key}, stage {number} ({row.stages[number].name})"
            try:
                recipe = check(recipe)
                encoder, classifies = _weightless(recipe)
                if before is not None:
                    check_fit(encoder, before.state_dict(), "the encoder of the stage before")
                for column in (c for c in study.columns.values() if row.key in c.rows):
                    if column.stage % len(row.stages) == number:
                        ENCODERS.check(recipe.encoder.name, {**recipe.encoder.options, **column.encoder})
                        if not classifies and needs_classifier(column.loaded().measure, encoder):
                            raise UserError(
                                f"columns.{column.key}: protocol {column.protocol} needs a classifier, and objective "
                                f"{recipe.objective.name} makes none; measure another stage, or leave the row out"
                            )
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            before = encoder
            if study.overrides.decide_data_of(row.key, number, row.stages[number].changes):
                sources.append((row.key, recipe.data.name))
    try:
        check_one_source(study.overrides, sources)
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from None


def _weightless(recipe: Recipe) -> tuple[Encoder, bool]:
    """Return the encoder without memory, and whether the training run leaves a classifier."""
    with torch.device("meta"), borrowed_global(generator("cpu", "weights that nobody sees")):
        encoder = ENCODERS.build(recipe.encoder.name, recipe.encoder.options)
        objective = OBJECTIVES.build(recipe.objective.name, recipe.objective.options, encoder, 2)
    return encoder, isinstance(getattr(objective, "head", None), nn.Linear)


class _ImagesAskedError(Exception):
    """A protocol came so far that it reads images."""


def needs_classifier(measure: Protocol, encoder: Encoder) -> bool:
    """Whether a protocol refuses a run without a classifier before it reads images, as those that need one do."""

    def images(split: str) -> ImageSet:
        raise _ImagesAskedError(split)

    device = torch.device("meta")
    try:
        measure(Subject(encoder, None, images, device, Path("nowhere"), encoder_hash=""))
    except UserError as error:
        return "needs a classifier" in str(error)
    except Exception:  # what it does with an encoder without weights is of no interest
        return False
    return False
