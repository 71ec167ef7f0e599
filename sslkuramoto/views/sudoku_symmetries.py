"""Sudoku boards moved by a random symmetry, the puzzle and its solution alike, anew whenever a board is seen.

The augmentation with which networks are trained on few boards (HRM, Wang et al. 2025, arXiv 2506.21734).
Shapes: b batch, y x cells.
"""

from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Batch, Boards, Reads, Spec
from sslkuramoto.sudoku_rules import Side, random_symmetries, sudoku_side
from sslkuramoto.views.policy import ViewPolicy


class SudokuSymmetries(ViewPolicy):
    """Return the board as view ``a``, with symbols relabelled, rows and columns permuted and perhaps transposed.

    Every symmetry of Sudoku is equally likely. Solutions of 6 x 6 and 9 x 9 boards stay in the class by which splits
    are made.

    Args:
        side: side of the board in cells.

    Raises:
        UserError: no Sudoku boards have this side.
    """

    reads: ClassVar[Reads] = (Boards,)

    def __init__(self, side: int) -> None:
        super().__init__(side, a=torch.nn.Identity())
        self.side: Side = sudoku_side(side, "boards")

    def check(self, source: str, spec: Spec) -> None:
        """Check that the boards are of Sudoku.

        Raises:
            UserError: they are not.
        """
        if spec != Boards(self.side, self.side):
            raise UserError(f"views sudoku_symmetries: are of Sudoku; {source} gives {spec}")

    def forward(self, images: Int64[Tensor, "b y x"], draw: torch.Generator) -> dict[str, Int64[Tensor, "b y x"]]:
        """Return the boards as view ``a``; :meth:`moved` has changed them already."""
        return {"a": images}

    def moved(self, batch: Batch, draw: torch.Generator) -> Batch:
        """Return the boards, with their solutions and givens, as one random symmetry for each maps them."""
        assert batch.targets is not None, "boards have solutions"
        symmetry = random_symmetries(len(batch.inputs), self.side, draw)
        boards = symmetry(batch.inputs)
        return batch._replace(inputs=boards, targets=symmetry(batch.targets), extra={"givens": boards > 0})
