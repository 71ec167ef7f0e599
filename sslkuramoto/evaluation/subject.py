"""Loads the networks and data of a run directory for a measurement."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

from sslkuramoto.checkpoint import head_parts, load_encoder, load_head, weights_hash
from sslkuramoto.data import DataSet, expected_spec
from sslkuramoto.earlier_trainings import trainings_of
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Protocol, Subject
from sslkuramoto.examples import Reads, check_reads
from sslkuramoto.files import ABOUT
from sslkuramoto.heads import HEADS
from sslkuramoto.run_data import data_of, remember
from sslkuramoto.run_directory import RunDirectory, Weights
from sslkuramoto.sources import plugins_of
from sslkuramoto.training.learner import leaves_untrained
from sslkuramoto.training.log import log_result


def subject_of(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    weights: Weights = "ema",
    checkpoint: int | None = None,
    encoder_options: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    seed: int | None = None,
    batch_size: int = 100,
    measures: Sequence[Protocol] = (),
) -> Subject:
    """Load the encoder and, where there is one, the head of a finished run.

    Args:
        path: the run directory.
        device: where to measure.
        weights: ``"ema"`` (the exported weights) or ``"raw"`` (the last weights, if they were also averaged).
        checkpoint: epoch after which the run kept them (``measure.keep_checkpoints``); None: the end of training.
        encoder_options: options changed for the measurement, such as ``{"num_steps": 8}``; the weights must still fit.
        data_options: options of the run's data source changed for the measurement, such as ``{"root": ...}``.
        seed: of every draw of the measurement; None: that of the run.
        batch_size: images per forward pass.
        measures: protocols that will measure it; whether they read its data is checked before anything is loaded.

    Raises:
        UserError: no run directory, not finished, data that a protocol does not read or cannot measure,
            weights or a checkpoint that do not exist or do not fit, a head for another kind of spec.
    """
    if (path / ABOUT).is_file():
        raise UserError(f"{path}: holds results of a function's network; name the function again (see its {ABOUT})")
    run = RunDirectory(path)
    recipe = run.recipe()
    if not run.finished:
        raise UserError(f"{path}: the run is not finished (no encoder.safetensors); continue it with the train command")
    at = run if checkpoint is None else run.at_epoch(checkpoint)
    if not at.finished:
        kept = ", ".join(map(str, run.kept_epochs())) or "none"
        raise UserError(
            f"checkpoint={checkpoint}: {path} kept no such epoch (kept by measure.keep_checkpoints: {kept})"
        )
    if not at.encoder_file(weights).is_file():
        raise UserError(f"weights={weights!r}: {path} holds one set of weights only (weight_ema was off)")
    options = {**recipe.data.options, **(data_options or {})}
    spec, given = expected_spec(recipe.data.name, options), f"data {recipe.data.name}"
    for protocol in measures:
        protocol.check_spec(given, spec)
    encoder = load_encoder(at.encoder_file(weights), encoder_options).to(device)
    encoder.untrained = leaves_untrained(recipe)
    head_file = at.head_file(weights)
    head = load_head(head_file).to(device) if head_file.is_file() else None
    members = [ENCODERS.module_of(recipe.encoder.name)]
    if head is not None:
        members.append(HEADS.module_of(head_parts(head_file).section["name"]))
    check_reads(f"encoder {recipe.encoder.name}", encoder.reads, given, spec)
    if head is not None:
        check_reads(f"the head of {path}", cast(Reads, head.reads), given, spec)

    loaded: list[DataSet] = []

    @cache
    def data(split: str) -> DataSet:
        found = data_of(run, recipe.data, split, changed=data_options, named=head is not None)
        loaded.append(found)
        return found

    def remember_data() -> None:
        for found in loaded if not data_options else ():
            remember(run, recipe.data, found)

    return Subject(
        encoder=encoder,
        head=head,
        data=data,
        device=torch.device(device),
        run_dir=path,
        encoder_hash=weights_hash(encoder),
        seed=recipe.seed if seed is None else seed,
        batch_size=batch_size,
        weights=weights,
        checkpoint=checkpoint,
        encoder_options=dict(encoder_options or {}),
        data_options=dict(data_options or {}),
        workers=recipe.engine.workers,
        trained_on=recipe.data.name,
        trainings=trainings_of(run),
        spec=spec,
        log=lambda name, metrics: log_result(run, recipe, name, metrics),
        remember_data=remember_data,
        plugins=plugins_of(members),
    )
