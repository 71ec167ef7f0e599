"""Loss and gradients of objectives: of a whole batch, and of the half that a process has of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "objectives"))

import torch
from conftest import build_pair, random_labels, random_views
from torch import nn

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.examples import Boards, Images
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import borrowed_global, generator

COUNT = 8
ON_IMAGES = [name for name in OBJECTIVES if Images in OBJECTIVES[name].reads]
BOARDS = Boards(4, 4)
ON_BOARDS = {"boards": {}, "boards, weighted": {"weights": (1.0, 2.0, 3.0, 4.0)}}


class Joined(nn.Module):
    """Encoder and objective as one module, so that DDP sees one forward pass."""

    def __init__(self, encoder: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective

    def forward(self, views, draw, labels):
        return self.objective(self.encoder, views, draw=draw, labels=labels).loss


def loss_and_gradients(name: str, rows: slice, wrap) -> dict[str, torch.Tensor]:
    fresh = {"fresh_directions": True} if name == "lejepa" else {}  # the first process's, whatever the second draws
    module = Joined(*build_pair(name, norms=False, dtype=torch.float64, **fresh))
    views = {key: images[rows] for key, images in random_views(COUNT, torch.float64).items()}
    wrapped = wrap(module)  # DDP averages gradients only while it is alive
    draw = torch.Generator().manual_seed(rows.start or 0)  # of the whole batch and of the first process: 0
    loss = wrapped(views, draw, random_labels(COUNT)[rows])
    loss.backward()
    gradients = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def of_boards(options: dict, rows: slice, wrap) -> dict[str, torch.Tensor]:
    """Return loss, gradients and metrics of boards of which the first half is nearly solved, over their blank cells."""
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build("board_akorn", {**ENCODERS.small("board_akorn"), "initial": "fixed"})
        module = Joined(encoder, OBJECTIVES.build("cells", {"cells": "blank", **options}, encoder, BOARDS.num_classes))
    batch = BOARDS.random(COUNT, generator("cpu", "boards"))
    inputs = batch.inputs.clone()
    inputs[: COUNT // 2, 1:] = batch.targets[: COUNT // 2, 1:]
    assert 0 < (inputs[: COUNT // 2] == 0).sum() < (inputs[COUNT // 2 :] == 0).sum() / 2
    module.double()
    outcome = module.objective(encoder, {"a": inputs[rows]}, labels=batch.targets[rows])
    wrapped = wrap(module)
    loss = wrapped({"a": inputs[rows]}, None, batch.targets[rows])
    loss.backward()
    gradients = {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "accuracy": outcome.metrics["cell_accuracy_blanks"], **gradients}


def half(rank: int) -> slice:
    return slice(rank * COUNT // 2, (rank + 1) * COUNT // 2)


def of_one_process(rank: int) -> dict:
    """Return loss and gradients of whole batches, and the loss of a half on its own; before the processes meet."""
    whole = {name: loss_and_gradients(name, slice(None), lambda module: module) for name in ON_IMAGES}
    whole |= {name: of_boards(ON_BOARDS[name], slice(None), lambda module: module) for name in ON_BOARDS}
    return {"whole": whole, "alone": loss_and_gradients("simclr", half(rank), lambda module: module)["loss"]}


def of_this_half(rank: int) -> dict:
    """Return loss and gradients of this process, after they have met."""
    parallel = nn.parallel.DistributedDataParallel
    found = {name: loss_and_gradients(name, half(rank), parallel) for name in ON_IMAGES}
    return found | {name: of_boards(ON_BOARDS[name], half(rank), parallel) for name in ON_BOARDS}
