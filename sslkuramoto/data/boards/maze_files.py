"""Mazes in the published layout: arrays of symbols, or CSV files of characters. Every maze is checked.

Source: the mazes of HRM (Wang et al. 2025, arXiv 2506.21734), 30 x 30. Shapes: n mazes, y x cells.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from sslkuramoto.data.boards.board_set import BoardSet, check_limit
from sslkuramoto.data.boards.sudoku_files import rows_of
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, one_line, unknown
from sslkuramoto.examples import Boards
from sslkuramoto.files import at_home, content_of
from sslkuramoto.maze_rules import (
    CHARACTERS,
    FREE,
    GOAL,
    INPUT_SYMBOLS,
    PATH,
    START,
    SYMBOLS,
    WALL,
    is_optimal,
    is_valid,
    path_lengths,
)
from sslkuramoto.values import Count, Mark, Place, Whole, checked

INPUTS, LABELS = "all__inputs.npy", "all__labels.npy"
Where = Callable[[int], str]
"""Names a maze for errors, by its number."""


class MazeFile(BoardSet):
    """Mazes of a file, each with one start and one goal, a path between them and an answer that is one.

    Args:
        split: "train" or "test".
        mazes: symbols 1 to 4.
        answers: symbols 1 to 5.
        where: returns the name of a maze for errors, by its number.

    Raises:
        UserError: other symbols; not one start and one goal; no path; an answer that changes the maze or marks no path.
    """

    def __init__(
        self, split: str, mazes: Int64[Tensor, "n y x"], answers: Int64[Tensor, "n y x"], where: Where
    ) -> None:
        check_mazes(mazes, where)
        check_answers(mazes, answers, where)
        super().__init__("maze_files", split, Boards(mazes.shape[1], SYMBOLS, INPUT_SYMBOLS), mazes, answers)
        optimal = int(is_optimal(mazes, answers).sum())
        self.notes = (f"the answers of {optimal} of {len(mazes)} mazes are shortest paths",)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards:
        return Boards(options["side"], SYMBOLS, INPUT_SYMBOLS)


@checked
def maze_files(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    side: Count = 30,
    train_mazes: Annotated[Whole | None, Mark.UNSEEN] = None,
    limit: Count | None = None,
    limit_test: Count | None = None,
) -> MazeFile:
    """Return mazes of a folder: ``all__inputs.npy`` and ``all__labels.npy``, or ``train.csv`` and ``test.csv``.

    Arrays hold whole numbers, [n, side * side]: 1 wall, 2 free, 3 start, 4 goal, and in labels 5 path. CSV files have
    the header ``source,q,a,rating``; q and a are texts of the characters ``#``, space, ``S``, ``G`` and ``o``, row by
    row.

    Args:
        split: "train" or "test".
        root: folder that holds the CSV files, or ``train`` and ``test`` with two arrays each, or two arrays for both.
        side: of the mazes in cells.
        train_mazes: where both splits are in two arrays: how many at the start are for training; the others are for
            testing. Null: each split has its own file.
        limit: number of training mazes to use, the first ones (null: all).
        limit_test: the same for test mazes.

    Raises:
        UserError: no such file, a damaged one, arrays of another shape, or a maze with a fault (:class:`MazeFile`).
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if split == "val":
        raise UserError("maze_files has no val mazes, only train, test")
    folder, first = at_home(root), 0
    own, table = folder / split, folder / f"{split}.csv"
    if train_mazes is None and table.is_file() and not own.is_dir():
        mazes, answers, where = _from_table(table, side)
    elif train_mazes is None and not own.is_dir():
        if (folder / INPUTS).is_file():
            raise UserError(f"root={root}: has arrays for both splits; train_mazes says how many are for training")
        raise UserError(f"root={root}: must hold {split}/{INPUTS} and {split}/{LABELS}, or {split}.csv")
    else:
        place = own if train_mazes is None else folder
        mazes, answers, where = _from_arrays(place, side)
        if train_mazes is not None:
            if not train_mazes < len(mazes):
                raise UserError(f"train_mazes={train_mazes}: must be below {len(mazes)}, the mazes of {root}")
            first = 0 if split == "train" else train_mazes
            mazes, answers = (_part(each, split, train_mazes) for each in (mazes, answers))
            if not len(mazes):
                raise UserError(f"train_mazes={train_mazes}: leaves no mazes for {split}")
    most = limit if split == "train" else limit_test
    check_limit(split, most, len(mazes), "mazes")
    return MazeFile(split, mazes[:most], answers[:most], lambda number: where(first + number))


def check_mazes(mazes: Int64[Tensor, "n y x"], where: Where) -> None:
    """Check that mazes can be solved.

    Args:
        mazes: as they were read.
        where: returns the name of a maze for errors, by its number.

    Raises:
        UserError: symbols that a maze may not hold; not one start and one goal; no path between them.
    """
    _check_symbols(mazes, INPUT_SYMBOLS, where)
    for name, symbol in (("start", START), ("goal", GOAL)):
        count = (mazes == symbol).flatten(1).sum(dim=1)
        if (wrong := count != 1).any():
            place = _first(wrong)
            raise UserError(f"{where(place)}: has {count[place]} cells that are the {name}; a maze has one")
    if (wrong := path_lengths(mazes) < 0).any():
        raise UserError(f"{where(_first(wrong))}: no path leads from the start to the goal")


def check_answers(mazes: Int64[Tensor, "n y x"], answers: Int64[Tensor, "n y x"], where: Where) -> None:
    """Check that answers are those of their mazes: the maze itself with one path marked.

    Raises:
        UserError: other symbols; a wall, start or goal that is changed, or a free cell that is neither free nor path;
            cells of the path that are no single way from start to goal.
    """
    _check_symbols(answers, SYMBOLS, where)
    wrong = (torch.where(answers == PATH, FREE, answers) != mazes).flatten(1).any(dim=1)
    if wrong.any():
        raise UserError(f"{where(_first(wrong))}: the label changes the maze")
    if (wrong := ~is_valid(mazes, answers)).any():
        raise UserError(f"{where(_first(wrong))}: the label marks no single path from the start to the goal")


def _check_symbols(boards: Int64[Tensor, "n y x"], most: int, where: Where) -> None:
    wrong = ((boards < WALL) | (boards > most)).flatten(1).any(dim=1)
    if not wrong.any():
        return
    board = boards[place := _first(wrong)]
    found = int(board[(board < WALL) | (board > most)][0])
    words = f"{where(place)}: a cell holds {found}, must hold 1 to {most} ({CHARACTERS[:most]!r})"
    raise UserError(f"{words}: the path is marked in the maze itself" if found == PATH else words)


def _first(wrong: Bool[Tensor, " n"]) -> int:
    return int(wrong.nonzero()[0])


def _part(boards: Tensor, split: str, train_mazes: int) -> Tensor:
    return boards[:train_mazes] if split == "train" else boards[train_mazes:]


def _from_arrays(folder: Path, side: int) -> tuple[Tensor, Tensor, Where]:
    mazes, answers = (_array(folder / name, side) for name in (INPUTS, LABELS))
    if len(mazes) != len(answers):
        raise UserError(f"{folder}: {INPUTS} holds {len(mazes)} mazes, {LABELS} {len(answers)}")
    return mazes, answers, lambda number: f"{folder}, maze {number}"


def _array(path: Path, side: int) -> Int64[Tensor, "n y x"]:
    """Return the boards of one array; pickles are never opened."""
    content = content_of(path)
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # what damaged bytes make of the reader is any kind of error
        raise UserError(f"{path}: damaged, or no array: {one_line(error) or type(error).__name__}") from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or not len(found) or found.dtype.kind not in "iu":
        shape = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "several arrays"
        raise UserError(f"{path}: must be whole numbers [n, {side**2}], not {shape}")
    _check_cells(str(path), found.shape[1], side)
    if (most := int(found.max())) > torch.iinfo(torch.int64).max:
        maze = int((found == most).any(axis=1).argmax())
        raise UserError(f"{path}, maze {maze}: a cell holds {most}, must hold 1 to {SYMBOLS}")
    return torch.from_numpy(found.astype(np.int64)).view(-1, side, side)


def _check_cells(where: str, cells: int, side: int) -> None:
    """Check the number of cells of a maze.

    Raises:
        UserError: it is not that of a square of this side.
    """
    if cells == side**2:
        return
    other = math.isqrt(cells)
    square = f" ({other} x {other}: side={other})" if other**2 == cells else ", which is no square"
    raise UserError(f"{where}: a maze of {cells} cells{square}; side={side} has {side**2}")


def _from_table(path: Path, side: int) -> tuple[Tensor, Tensor, Where]:
    head, *rows = rows_of(path, None)
    if not {"q", "a"} <= set(head):
        raise UserError(f"{path}, row 1: must be a header with q and a, not {','.join(head)!r:.60}")
    if not rows:
        raise UserError(f"{path}: holds no mazes")

    def where(number: int) -> str:
        return f"{path}, row {number + 2}"

    places = head.index("q"), head.index("a")
    for number, row in enumerate(rows):
        if len(row) <= max(places):
            raise UserError(f"{where(number)}: has {len(row)} fields of the {len(head)} of the header")
        for place in places:
            _check_cells(where(number), len(row[place]), side)
    mazes, answers = (_symbols([row[place] for row in rows], side, where) for place in places)
    return mazes, answers, where


def _symbols(texts: Sequence[str], side: int, where: Where) -> Int64[Tensor, "n y x"]:
    """Return the symbols of mazes of characters."""
    for number, text in enumerate(texts):
        if wrong := set(text) - set(CHARACTERS):
            raise UserError(f"{where(number)}: {min(wrong)!r}: a cell must be one of {CHARACTERS!r}")
    signs = np.frombuffer("".join(texts).encode(), dtype=np.uint8)
    symbols = np.zeros(128, dtype=np.int64)
    symbols[[*CHARACTERS.encode()]] = range(1, 1 + len(CHARACTERS))
    return torch.from_numpy(symbols[signs]).view(-1, side, side)
