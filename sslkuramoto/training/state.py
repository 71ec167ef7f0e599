"""What a run saves to go on later, and what it leaves behind at its end.

Draws are named by their step (see loop.py), so a step number, weights and optimiser state are all there is to save.
"""

from typing import Any

from torch import nn

from sslkuramoto.checkpoint import export_classifier, export_encoder, load_kind, load_strictly, save
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Part
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training.averaging import WeightAverage
from sslkuramoto.training.learner import Learner

KIND = "training"


def save_state(
    run: RunDirectory, step: int, learner: Learner, average: WeightAverage[Learner] | None, optimizer: Any
) -> None:
    """Write the checkpoint from which :func:`restore_state` goes on.

    Args:
        run: where.
        step: steps that are done.
        learner: encoder and objective, not wrapped.
        average: averaged weights, or None.
        optimizer: anything with ``state_dict``.

    Raises:
        UserError: it cannot be written; the one before is kept.
    """
    state = {
        "kind": KIND,
        "step": step,
        "learner": learner.state_dict(),
        "average": {} if average is None else average.module.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    save(run.last_checkpoint, state)


def restore_state(run: RunDirectory, learner: Learner, average: WeightAverage[Learner] | None, optimizer: Any) -> int:
    """Bring everything back to where :func:`save_state` left it.

    Returns:
        The steps that are done.

    Raises:
        UserError: a file that is damaged or foreign, or that does not fit.
    """
    path = run.last_checkpoint
    state = load_kind(path, KIND, {"step": int, "learner": dict, "average": dict, "optimizer": dict})
    load_strictly(learner, state["learner"], str(path))
    if average is not None:
        load_strictly(average.module, state["average"], f"{path} (weight_ema)")
    try:
        optimizer.load_state_dict(state["optimizer"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: the state of the optimizer does not fit: {error}") from None
    return state["step"]


def export(run: RunDirectory, encoder: Part, learner: Learner, average: WeightAverage[Learner] | None) -> None:
    """Write encoder and classifier; the encoder last of all, for its presence says that the run is finished.

    Args:
        run: where.
        encoder: the recipe section that rebuilds the encoder.
        learner: the last weights: all there is, or ``raw`` where they were also averaged.
        average: averaged weights, or None.
    """
    if average is not None:
        _export_one(run, "raw", encoder, learner)
    _export_one(run, "ema", encoder, learner if average is None else average.module)


def _export_one(run: RunDirectory, weights: Any, encoder: Part, learner: Learner) -> None:
    head = getattr(learner.objective, "head", None)
    if isinstance(head, nn.Linear):
        export_classifier(run.classifier_file(weights), head)
    export_encoder(run.encoder_file(weights), learner.exported(), encoder)
