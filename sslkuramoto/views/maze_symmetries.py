"""Mazes moved by a random rotation or reflection, the maze and its answer alike, anew whenever a maze is seen.

The augmentation with which networks are trained on few mazes (HRM, Wang et al. 2025, arXiv 2506.21734).
Shapes: b batch, y x cells.
"""

from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Batch, Boards, Reads, Spec, given
from sslkuramoto.maze_rules import INPUT_SYMBOLS, SYMBOLS, SYMMETRIES, turned
from sslkuramoto.views.policy import ViewPolicy


class MazeSymmetries(ViewPolicy):
    """Return the maze as view ``a`` under one of the eight symmetries of the square, each equally likely.

    The answer is moved with the maze. It stays a shortest path; but where there are several, it is not the one that the
    rule of the generator takes.

    Args:
        side: side of the maze in cells.
    """

    reads: ClassVar[Reads] = (Boards,)

    def __init__(self, side: int) -> None:
        super().__init__(side, a=torch.nn.Identity())
        self.side = side

    def check(self, source: str, spec: Spec) -> None:
        """Check that the boards are mazes.

        Raises:
            UserError: they are not.
        """
        if spec != Boards(self.side, SYMBOLS, INPUT_SYMBOLS):
            raise UserError(f"views maze_symmetries: are of mazes; {source} gives {spec}")

    def forward(self, images: Int64[Tensor, "b y x"], draw: torch.Generator) -> dict[str, Int64[Tensor, "b y x"]]:
        """Return the mazes as view ``a``; :meth:`moved` has changed them already."""
        return {"a": images}

    def moved(self, batch: Batch, draw: torch.Generator) -> Batch:
        """Return the mazes with their answers, each under a random symmetry."""
        assert batch.targets is not None, "mazes have answers"
        symmetry = torch.randint(SYMMETRIES, (len(batch.inputs),), generator=draw).to(batch.inputs.device)
        mazes, answers = (_each(boards, symmetry) for boards in (batch.inputs, batch.targets))
        return batch._replace(inputs=mazes, targets=answers, extra={"givens": given(mazes, INPUT_SYMBOLS)})


def _each(boards: Int64[Tensor, "b y x"], symmetry: Int64[Tensor, " b"]) -> Int64[Tensor, "b y x"]:
    """Return every board under its own symmetry."""
    moved = torch.stack([turned(boards, number) for number in range(SYMMETRIES)])
    return moved[symmetry, torch.arange(len(boards), device=boards.device)]
