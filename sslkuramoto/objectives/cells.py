"""Cells: cross entropy of the symbol of each cell, for boards with a known solution.

AKOrN (Miyato et al. 2025, arXiv 2410.13821), section 5.2: its published code averages over all cells, givens included.
Shapes: b batch, y x cells, d features, k symbols.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.objectives.losses import cross_entropy
from sslkuramoto.objectives.objective import Objective, Step
from sslkuramoto.recipe import Part


class Cells(Objective):
    """Boards: mean cross entropy of each cell's predicted symbol against the solution (Miyato et al. 2025).

    The prediction is ``head(map)``.

    Args:
        encoder: gives the channels of the map.
        num_classes: number of symbols.
        cells: over which cells the loss is averaged: "all" (AKOrN, WONN), or "blank" ones only.
        relu: whether the head rectifies the map first, as that of AKOrN; that of WONN (arXiv 2605.20922) does not.

    Attributes:
        head: logits of each cell; class k is symbol k + 1.
    """

    views = ("a",)
    needs_labels = True
    reads: ClassVar[Reads] = (Boards,)
    head_part = Part("per_cell")

    def __init__(
        self, encoder: Encoder, num_classes: int, *, cells: Literal["all", "blank"] = "all", relu: bool = True
    ) -> None:
        super().__init__()
        self.cells = cells
        if not relu:
            self.head_part = Part("per_cell", {"relu": False})
        self.head = self.new_head(encoder.num_features, num_classes)

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Int64[Tensor, "b y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b y x"] | None = None,
    ) -> Step:
        assert labels is not None, "the loop passes targets to an objective that needs them"
        boards = views["a"]
        features = encoder(boards, draw=draw)
        logits = self.head(features.map)
        blank = boards == 0
        counted = blank if self.cells == "blank" else torch.ones_like(blank)
        loss = cross_entropy(logits.permute(0, 2, 3, 1)[counted], labels=labels[counted] - 1)
        with torch.no_grad():
            found = logits.argmax(dim=1) + 1 == labels
            metrics = {
                "cell_accuracy_blanks": found[blank].float().mean(),
                "cell_accuracy_all_cells": found.float().mean(),
                "board_accuracy_blanks": (found | ~blank).flatten(1).all(dim=1).float().mean(),
            }
        return Step(loss, metrics, features.pooled.detach())
