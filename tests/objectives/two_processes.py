"""Worker of test_many_processes.py: one of two gloo processes, half a batch each, and the whole batch for comparison.

Called with: RANK FILE_OF_THE_PROCESS_GROUP FOLDER_FOR_THE_RESULT.
"""

import sys
from pathlib import Path

import torch
from conftest import build_pair, random_labels, random_views
from torch import distributed, nn

from sslkuramoto.examples import Images
from sslkuramoto.objectives import OBJECTIVES

WORLD, COUNT = 2, 8


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


ON_IMAGES = [name for name in OBJECTIVES if Images in OBJECTIVES[name].reads]


def main(rank: int, meeting: str, folder: str) -> None:
    torch.set_num_threads(1)
    share = COUNT // WORLD
    rows = slice(rank * share, (rank + 1) * share)
    whole = {name: loss_and_gradients(name, slice(None), lambda module: module) for name in ON_IMAGES}
    alone = loss_and_gradients("simclr", rows, lambda module: module)["loss"]
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=WORLD)
    parts = {name: loss_and_gradients(name, rows, nn.parallel.DistributedDataParallel) for name in ON_IMAGES}
    distributed.destroy_process_group()
    torch.save({"whole": whole, "part": parts, "alone": alone}, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
