"""What is behind a trace, as a tile: an image, a Sudoku board with its symbols, or a maze with the path of its answer.

Shapes: b examples, y x pixels or cells.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from sslkuramoto.maze_rules import FREE, GOAL, PATH, START, WALL
from sslkuramoto.report.pictures.mazes import answer_tile
from sslkuramoto.report.pictures.tiles import GIVEN, WHITE, Tile, tiles_of

Kind = Literal["image", "board", "maze"]
MAZE_SIGNS = {START: "S", GOAL: "G", PATH: "•"}
MAZE_WORDS = {WALL: "wall", FREE: "free cell", START: "start", GOAL: "goal", PATH: "path cell"}
"""What is written on the cells of a maze and its answer, and what is said of them."""


def kind_of(inputs: Shaped[Tensor, "b ..."], answers: Shaped[Tensor, "b y x"] | None) -> Kind:
    """Return what examples are.

    Args:
        inputs: pixels in [0,1], "b 3 y x"; or boards, "b y x".
        answers: of mazes, and of nothing else.
    """
    if inputs.ndim == 4:
        return "image"
    return "board" if answers is None else "maze"


def input_tile(example: Shaped[Tensor, "..."], answer: Float[Tensor, "y x"] | None = None) -> Tile:
    """Return one example as a tile.

    Args:
        example: pixels in [0,1], "3 y x"; or a board, "y x".
        answer: of a maze.
    """
    if example.ndim == 3:
        return Tile(tiles_of(example[None])[0])
    board = example.numpy().astype(int)
    if answer is not None:
        path = answer.numpy().astype(int)
        return answer_tile(board, path, path)
    cells = np.where((board > 0)[..., None], GIVEN, WHITE).astype(np.uint8)
    return Tile(cells, tuple((y, x, str(symbol), "#222222") for (y, x), symbol in np.ndenumerate(board) if symbol))
