"""What can be checked of a study without data: recipes, encoders against the one before, what is measured on them."""

from dataclasses import replace

import torch

from sslkuramoto.any_network import AnyNetwork
from sslkuramoto.checkpoint import check_fit
from sslkuramoto.data import expected_spec
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.encoders.features import check_takes
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.examples import Spec, check_reads
from sslkuramoto.files import at_home
from sslkuramoto.objectives import Objective
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.study.model import Study, StudyColumn, StudyRow
from sslkuramoto.study.options import Settings
from sslkuramoto.study.overrides import check_one_source
from sslkuramoto.training.learner import weightless


def check_recipes(study: Study) -> None:
    """Check every stage of every row as ``train --check`` does, and that it fits the one before and its measurements;
    of functions' networks their data.

    Raises:
        UserError: the first thing that is wrong, with its place.
    """
    sources: list[tuple[str, str]] = []
    built: dict[str, tuple[Recipe, Encoder, Objective]] = {}  # many rows train the same and measure it otherwise
    measures = {key: column.loaded().measure for key, column in study.columns.items()}  # once, not for every row
    for row in study.rows.values():
        before = None
        for number in range(len(row.stages)):
            recipe = study.recipe(row.key, number, row.seeds[0])
            if recipe.init is not None and not RunDirectory(at_home(recipe.init)).finished:
                recipe = replace(recipe, init=None)  # gone: what began already continues, and the plan says what cannot
            where = f"study {study.name}, row {row.key}, stage {number} ({row.stages[number].name})"
            try:
                if (content := repr(recipe.to_dict())) not in built:
                    built[content] = weightless(recipe)
                recipe, encoder, objective = built[content]
                if before is not None:
                    check_fit(encoder, before.state_dict(), "the encoder of the stage before")
                for column in (c for c in study.columns.values() if row.key in c.rows):
                    if column.stage % len(row.stages) == number:
                        measure = column.of(row).loaded().measure if row.measure else measures[column.key]
                        _check_column(column, measure, recipe, encoder, objective)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            before = encoder
            if study.overrides.decide_data_of(row.key, number, row.stages[number].changes):
                sources.append((row.key, recipe.data.name))
        if row.model is not None:
            _check_network(study, row)
            if study.overrides.decide_data_of(row.key, 0, row.changes[0]):
                sources.append((row.key, study.data_of(row.key).name))
    try:
        check_one_source(study.overrides, sources)
    except UserError as error:
        raise UserError(f"study {study.name}: {error}") from None


def _check_network(study: Study, row: StudyRow) -> None:
    """Check the data of a function's network, and that the protocols of its columns read them."""
    data = study.data_of(row.key)
    try:
        spec = expected_spec(data.name, data.options)
        check_reads("a function's network", AnyNetwork.reads, f"data {data.name}", spec)
        for column in (c for c in study.columns.values() if row.key in c.rows):
            _check_spec(column, column.of(row).loaded().measure, data.name, spec)
    except UserError as error:
        raise UserError(f"study {study.name}, row {row.key}: {error}") from None


def _check_column(
    column: StudyColumn, measure: Protocol, recipe: Recipe, encoder: Encoder, objective: Objective
) -> None:
    """Check that the protocol of a column can measure what a training run produces."""
    spec = expected_spec(recipe.data.name, recipe.data.options)
    _check_spec(column, measure, recipe.data.name, spec)
    measured = _changed(recipe, column.encoder) if column.encoder else encoder
    name, spec = (recipe.data.name, spec) if (own := measure.own_source) is None else (own.name, own.spec)
    try:
        check_takes(f"encoder {recipe.encoder.name}", measured, f"data {name}", spec)
    except UserError as error:
        raise UserError(f"columns.{column.key}: {error}") from None
    if "head" in measure.needs and objective.head_part is None:
        raise UserError(
            f"columns.{column.key}: protocol {column.protocol} needs a classifier, and objective "
            f"{recipe.objective.name} makes none; measure another stage, or leave the row out"
        )


def _changed(recipe: Recipe, changes: Settings) -> Encoder:
    """Return the encoder with changed options; its weights take no memory."""
    with torch.device("meta"), borrowed_global(generator("cpu", "weights that are not used")):
        return ENCODERS.build(recipe.encoder.name, {**recipe.encoder.options, **changes})


def _check_spec(column: StudyColumn, measure: Protocol, data: str, spec: Spec) -> None:
    """Check that the protocol of a column can be measured on what a data source gives."""
    check_reads(f"columns.{column.key}: protocol {column.protocol}", measure.reads, f"data {data}", spec)
    try:
        measure.check_spec(f"data {data}", spec)
    except UserError as error:
        raise UserError(f"columns.{column.key}: protocol {error}") from None
