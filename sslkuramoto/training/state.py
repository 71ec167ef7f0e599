"""What a run saves to be continued later, and what it leaves behind at its end.

Draws are named by their step (see loop.py), so a step number, weights and optimiser state are all there is to save.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sslkuramoto.checkpoint import check_loads, export_encoder, export_head, load_kind, save
from sslkuramoto.errors import UserError, printable
from sslkuramoto.recipe import Part, Recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training.averaging import WeightAverage
from sslkuramoto.training.learner import Learner
from sslkuramoto.training.sharding import own_share, sharded_like, whole

KIND = "training"


def save_state(
    run: RunDirectory, step: int, learner: Learner, average: WeightAverage[Learner] | None, optimizer: Any, first: bool
) -> None:
    """Write the checkpoint from which :func:`restore_state` continues; every process has to call this.

    Args:
        run: where.
        step: steps that are done.
        learner: encoder and objective, not wrapped.
        average: averaged weights, or None.
        optimizer: anything with ``state_dict``.
        first: whether this is the process that writes.

    Raises:
        UserError: it cannot be written; the previous one remains.
    """
    state = {
        "kind": KIND,
        "step": step,
        "learner": learner.state_dict(),
        "average": {} if average is None else average.module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    state = whole(state, keep=first)
    if first:
        save(run.last_checkpoint, state)


def say_not_kept(run: RunDirectory, recipe: Recipe, epochs: int) -> None:
    """Say on stderr which epochs the recipe keeps that are past and were not kept: they were asked for too late.

    Args:
        run: where they would be.
        recipe: as asked for now.
        epochs: that are done.
    """
    kept = run.kept_epochs()
    missed = [epoch for epoch in recipe.measure.keep_checkpoints if epoch <= epochs and epoch not in kept]
    if missed:
        names = f"{'epoch' if len(missed) == 1 else 'epochs'} {', '.join(map(str, missed))}"
        line = f"{run.path}: measure.keep_checkpoints: {names} passed without being kept; only a new run keeps them"
        print(printable(line), file=sys.stderr, flush=True)


def not_finite(learner: Learner, optimizer: Any) -> dict[str, bool]:
    """Return which kinds of numbers of a checkpoint are not all finite in this process."""
    norms = [m for m in learner.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kinds = {
        "a weight": list(learner.parameters()),
        "a statistic of a BatchNorm": [v for norm in norms for v in norm.buffers()],
        "the optimizer's state": [v for entry in optimizer.state.values() for v in entry.values()],
    }
    return {kind: not _finite([v for v in values if isinstance(v, torch.Tensor)]) for kind, values in kinds.items()}


def _finite(tensors: list[torch.Tensor]) -> bool:
    """Return whether all that this process holds of these tensors is finite."""
    found = [own_share(t.detach()).isfinite().all() for t in tensors if t.is_floating_point()]
    return not found or bool(torch.stack([t.to(found[0].device) for t in found]).all())


def check_export(run: RunDirectory) -> None:
    """Check that what a finished run left behind can be read.

    Raises:
        UserError: the encoder is damaged.
    """
    try:
        load_kind(run.encoder_file(), "encoder", {})
    except UserError as error:
        raise UserError(f"{error}; remove that file, and the same command makes it again") from None


def restore_state(
    run: RunDirectory, total: int, learner: Learner, average: WeightAverage[Learner] | None, optimizer: Any
) -> int:
    """Bring everything back to where :func:`save_state` left it.

    Returns:
        The steps that are done.

    Raises:
        UserError: a file that is damaged or foreign, or that does not fit.
    """
    path = run.last_checkpoint
    state = load_kind(path, KIND, {"step": int, "learner": dict, "average": dict, "optimizer": dict})
    if not 0 <= state["step"] <= total:
        raise UserError(f"{path}: step {state['step']} is outside this run of {total} steps")
    _load(learner, state["learner"], str(path))
    if average is not None:
        _load(average.module, state["average"], f"{path} (weight_ema)")
    try:
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        entries = {
            index: {name: sharded_like(value, parameters[index]) for name, value in entry.items()}
            for index, entry in state["optimizer"]["state"].items()
        }
        optimizer.load_state_dict({**state["optimizer"], "state": entries})
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path}: the state of the optimizer does not fit: {error}") from None
    _check_optimizer(path, state["step"], optimizer)
    return state["step"]


def _load(module: Learner, weights: dict[str, Any], source: str) -> None:
    """Load whole weights into a module that is perhaps sharded over processes, all or nothing."""
    check_loads(module, weights, source)
    own = module.state_dict()
    module.load_state_dict({name: sharded_like(value, own[name]) for name, value in weights.items()})


def _check_optimizer(path: Path, step: int, optimizer: Any) -> None:
    """Refuse an empty state of an optimizer that has one, and tensors of other shapes than their parameters.

    A parameter that no gradient reached has no entry, so the number of entries tells nothing.
    """
    keeps_state = isinstance(getattr(optimizer, "optimizer", optimizer), torch.optim.Adam | torch.optim.AdamW)
    if step and keeps_state and not optimizer.state:
        raise UserError(f"{path}: the optimizer state is empty after {step} steps")
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            if isinstance(value, torch.Tensor) and value.ndim and value.shape != parameter.shape:
                raise UserError(
                    f"{path}: optimizer state {name!r} has shape {tuple(value.shape)}, not that of its weight"
                )


def export(run: RunDirectory, encoder: Part, learner: Learner, averaged: Learner | None) -> None:
    """Write encoder and head; the encoder last of all, because its presence marks the run as finished.

    Args:
        run: where.
        encoder: the recipe section that rebuilds the encoder.
        learner: the last weights: all there is, or ``raw`` where they were also averaged.
        averaged: the one with averaged weights, or None.
    """
    if averaged is not None:
        _export_one(run, "raw", encoder, learner)
    _export_one(run, "ema", encoder, learner if averaged is None else averaged)


def _export_one(run: RunDirectory, weights: Any, encoder: Part, learner: Learner) -> None:
    objective = learner.objective
    if objective.head_part is not None:
        export_head(run.head_file(weights), objective.head, objective.head_part)
    export_encoder(run.encoder_file(weights), learner.exported(), encoder)
