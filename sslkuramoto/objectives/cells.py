"""Cells: cross entropy of the symbol of each cell, for boards with a known solution: Sudoku, mazes.

AKOrN (Miyato et al. 2025, arXiv 2410.13821), section 5.2: its published code averages over all cells, givens included.
WONN (arXiv 2605.20922), section 3.3: its published code weights the cells of mazes by their symbol in the answer.
Shapes: b batch, y x cells, d features, k symbols.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards, Reads, Spec, given
from sslkuramoto.objectives.losses import cross_entropy, fair_share, weighted_cross_entropy
from sslkuramoto.objectives.objective import Objective, Step
from sslkuramoto.recipe import Part
from sslkuramoto.values import Count, Positive, checked


@checked
class Cells(Objective):
    """Boards: mean cross entropy of each cell's predicted symbol against the solution (Miyato et al. 2025).

    The prediction is ``head(map)``. Metrics of blank cells are of the free cells in mazes, which are to be decided;
    ``path_precision`` and ``path_recall`` are of the symbols that no input holds, which mark the path.

    Args:
        encoder: gives the channels of the map.
        num_classes: number of symbols.
        cells: over which cells the loss is averaged: "all" (AKOrN, WONN), or "blank" ones only (free ones in mazes).
        input_symbols: number of symbols of boards to be solved where none of their cells is blank: 4 of 5 in mazes.
            Null: blank cells are 0.
        weights: weight of a cell in the loss, for each symbol of the solution. The sum is divided by the number of
            cells, not by the sum of weights, as in the published code of WONN, where mazes have [1, 5, 2, 2, 5] (wall,
            free, start, goal, path). Null: all weigh the same.
        relu: whether the head rectifies the map first, as that of AKOrN; that of WONN (arXiv 2605.20922) does not.

    Attributes:
        head: logits of each cell; class k is symbol k + 1.
    """

    views = ("a",)
    needs_labels = True
    reads: ClassVar[Reads] = (Boards,)
    head_part = Part("per_cell")

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        *,
        cells: Literal["all", "blank"] = "all",
        input_symbols: Count | None = None,
        weights: tuple[Positive, ...] | None = None,
        relu: bool = True,
    ) -> None:
        super().__init__()
        if weights is not None and len(weights) != num_classes:
            raise UserError(f"weights={list(weights)}: must be {num_classes}, one for each symbol")
        self.cells, self.input_symbols = cells, input_symbols
        self.weights = None if weights is None else tuple(weights)
        if not relu:
            self.head_part = Part("per_cell", {"relu": False})
        self.head = self.new_head(encoder.num_features, num_classes)

    def check(self, source: str, spec: Spec) -> None:
        """Check that the boards hold the symbols that the objective was told of.

        Raises:
            UserError: they hold others.
        """
        assert isinstance(spec, Boards)
        if spec.input_symbols != self.input_symbols:
            told, right = (number or "null" for number in (self.input_symbols, spec.input_symbols))
            raise UserError(f"objective cells: input_symbols={told}: must be {right}: {source} gives {spec}")

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
        blank = ~given(boards, self.input_symbols)
        counted = blank if self.cells == "blank" else torch.ones_like(blank)
        scored, wanted = logits.permute(0, 2, 3, 1)[counted], labels[counted] - 1
        if self.weights is None and self.cells == "all":
            loss = cross_entropy(scored, labels=wanted)
        else:  # processes may hold unequal numbers of blank cells
            weights = torch.tensor(self.weights or [1.0] * logits.shape[1], device=scored.device)
            loss = weighted_cross_entropy(scored, weights, labels=wanted, count=fair_share(counted.sum()))
        with torch.no_grad():
            answers = logits.argmax(dim=1) + 1
            found = answers == labels
            metrics = {
                "cell_accuracy_blanks": (found & blank).sum() / fair_share(blank.sum()),
                "cell_accuracy_all_cells": found.float().mean(),
                "board_accuracy_blanks": (found | ~blank).flatten(1).all(dim=1).float().mean(),
            }
            if self.input_symbols is not None:
                marked, path = answers > self.input_symbols, labels > self.input_symbols
                both = (marked & path).sum()
                metrics |= {
                    "path_precision": both / fair_share(marked.sum()),
                    "path_recall": both / fair_share(path.sum()),
                }
        return Step(loss, metrics, features.pooled.detach())
