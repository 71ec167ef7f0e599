"""9 x 9 Sudoku boards in three published layouts: SATNet, RRN and Sudoku-Extreme. Every row is checked.

Sources: SATNet (Wang et al. 2019, arXiv 1905.12149), RRN (Palm et al. 2018, arXiv 1711.08028), Sudoku-Extreme (HRM,
Wang et al. 2025, arXiv 2506.21734). Shapes: n boards, y x cells, s symbols.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.data.boards.board_set import BoardSet, check_limit
from sslkuramoto.data.boards.solver import Solver
from sslkuramoto.data.images.subset import SPLITS
from sslkuramoto.errors import UserError, one_line, unknown
from sslkuramoto.examples import Boards
from sslkuramoto.files import at_home, content_of
from sslkuramoto.saved_tensors import check_plain, read_saved
from sslkuramoto.sudoku_rules import contradicts, obeys
from sslkuramoto.values import Count, Mark, Place, Whole, checked

SIDE = 9
CELLS = SIDE**2
BLANKS = b".0"


class SudokuFile(BoardSet):
    """9 x 9 boards of a file: puzzles with answers that obey the rules and keep the givens.

    Args:
        name: name of the source in the recipe.
        split: "train", "val" or "test".
        puzzles: 0 is a blank cell.
        solutions: the answers of the file.
        where: returns the name of a board for errors, by its number.
        unique: number of puzzles, at equal distances, that are solved.

    Raises:
        UserError: givens that contradict each other; an answer that breaks the rules or changes a given cell; a puzzle
            without a blank cell, which any network would solve; of the puzzles that are solved, one with two solutions.
    """

    def __init__(
        self,
        name: str,
        split: str,
        puzzles: Int64[Tensor, "n y x"],
        solutions: Int64[Tensor, "n y x"],
        where: Callable[[int], str],
        unique: int,
    ) -> None:
        wrong = contradicts(puzzles, SIDE)
        if wrong.any():
            raise UserError(f"{where(_first(wrong))}: givens contradict each other (a row, column or box holds two)")
        changed = ((puzzles > 0) & (puzzles != solutions)).flatten(1).any(dim=1)
        wrong = changed | ~obeys(solutions, SIDE)
        solver = Solver(SIDE)
        if wrong.any():
            place = _first(wrong)
            if next(solver.solutions(puzzles[place].flatten().tolist()), None) is None:
                raise UserError(f"{where(place)}: the puzzle has no solution")
            fault = "changes a given cell" if changed[place] else "breaks the rules"
            raise UserError(f"{where(place)}: the answer {fault}")
        if (full := (puzzles > 0).flatten(1).all(dim=1)).any():
            raise UserError(f"{where(_first(full))}: the puzzle has no blank cell, so that nothing is to be solved")
        solved = sorted({step * len(puzzles) // unique for step in range(unique)}) if unique else []
        for place in solved:
            if not solver.single(puzzles[place].flatten().tolist()):
                raise UserError(f"{where(place)}: the puzzle has more than one solution")
        super().__init__(name, split, Boards(SIDE, SIDE), puzzles, solutions)
        self.notes = (f"{len(solved)} of {len(puzzles)} puzzles were solved: each of these has one solution",)

    @classmethod
    def expected(cls, options: Mapping[str, Any]) -> Boards:
        return Boards(SIDE, SIDE)


@checked
def sudoku_satnet(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    train_boards: Annotated[Count, Mark.UNSEEN] = 9000,
    limit: Count | None = None,
    limit_test: Count | None = None,
    unique: Annotated[Whole, Mark.INCIDENTAL] = 100,
) -> SudokuFile:
    """Return the boards of SATNet: ``features.pt`` (puzzles) and ``labels.pt`` (answers), [n, 9, 9, 9] one-hot.

    Args:
        split: "train" (the first ``train_boards``) or "test" (the others).
        root: folder that holds the two files. They are read without running code. A blank cell is a row of zeros.
        train_boards: number of boards at the start that are for training.
        limit: number of training boards to use, the first ones (null: all).
        limit_test: the same for test boards.
        unique: number of puzzles of the split, at equal distances, that are solved to check that the answer is the only
            solution; the other checks are of all.
    """
    _check_split(split, ("train", "test"), "sudoku_satnet")
    folder = at_home(root)
    puzzles, solutions = (_one_hot(folder / name) for name in ("features.pt", "labels.pt"))
    if len(puzzles) != len(solutions):
        raise UserError(f"root={root}: features.pt holds {len(puzzles)} boards, labels.pt {len(solutions)}")
    if len(puzzles) <= train_boards:
        raise UserError(f"train_boards={train_boards}: must be below {len(puzzles)}, the boards of {root}")
    start = 0 if split == "train" else train_boards
    end = train_boards if split == "train" else len(puzzles)
    limit = limit if split == "train" else limit_test
    check_limit(split, limit, end - start, "boards")
    part = slice(start, end if limit is None else start + limit)
    file = folder / "features.pt"
    return SudokuFile(
        "sudoku_satnet", split, puzzles[part], solutions[part], lambda n: f"{file}, board {start + n}", unique
    )


@checked
def sudoku_rrn(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    limit: Count | None = None,
    limit_test: Count | None = None,
    unique: Annotated[Whole, Mark.INCIDENTAL] = 100,
) -> SudokuFile:
    """Return the boards of RRN: ``train.csv``, ``valid.csv`` and ``test.csv`` of lines ``puzzle,answer``, no header.

    Args:
        split: "train", "val" or "test".
        root: folder that holds the files. A board has 81 characters, 0 for a blank cell.
        limit: number of training boards to use, the first ones (null: all).
        limit_test: the same for val and test boards.
        unique: number of puzzles of the split, at equal distances, that are solved to check that the answer is the only
            solution; the other checks are of all.
    """
    _check_split(split, SPLITS, "sudoku_rrn")
    path = at_home(root) / {"train": "train.csv", "val": "valid.csv", "test": "test.csv"}[split]
    most = limit if split == "train" else limit_test
    rows = rows_of(path, most)
    check_limit(split, most, len(rows), "boards")
    return _from_rows("sudoku_rrn", split, path, rows, 1, unique)


@checked
def sudoku_extreme(
    split: str,
    *,
    root: Annotated[Place, Mark.INCIDENTAL],
    limit: Count | None = None,
    limit_test: Count | None = None,
    unique: Annotated[Whole, Mark.INCIDENTAL] = 100,
) -> SudokuFile:
    """Return Sudoku-Extreme: ``train.csv`` and ``test.csv`` with the header ``source,question,answer,rating``.

    Args:
        split: "train" or "test".
        root: folder that holds the files. A board has 81 characters, a point for a blank cell.
        limit: number of training boards to use, the first ones (null: all).
        limit_test: the same for test boards; the published file has 422,786.
        unique: number of puzzles of the split, at equal distances, that are solved to check that the answer is the only
            solution; the other checks are of all.
    """
    _check_split(split, ("train", "test"), "sudoku_extreme")
    path = at_home(root) / f"{split}.csv"
    most = limit if split == "train" else limit_test
    head, *rows = rows_of(path, None if most is None else most + 1)
    if not {"question", "answer"} <= set(head):
        raise UserError(f"{path}, row 1: must be a header with question and answer, not {','.join(head)!r:.60}")
    places = head.index("question"), head.index("answer")
    check_limit(split, most, len(rows), "boards")
    short = next((number for number, row in enumerate(rows, 2) if len(row) <= max(places)), None)
    if short:
        raise UserError(f"{path}, row {short}: has {len(rows[short - 2])} fields of the {len(head)} of the header")
    return _from_rows("sudoku_extreme", split, path, [[row[k] for k in places] for row in rows], 2, unique)


def _check_split(split: str, splits: Sequence[str], name: str) -> None:
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    if split not in splits:
        raise UserError(f"{name} has no {split} boards, only {', '.join(splits)}")


def _first(wrong: Tensor) -> int:
    return int(wrong.nonzero()[0])


def _one_hot(path: Path) -> Int64[Tensor, "n y x"]:
    """Return the symbols of one-hot boards; 0 where a cell is a row of zeros."""
    found = read_saved(path)
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[1:] != (SIDE, SIDE, SIDE):
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UserError(f"{path}: must be one tensor [n, 9, 9, 9], not {shape}")
    check_plain(str(path), found)
    ones = found != 0
    wrong = (ones & (found != 1)).flatten(1).any(dim=1) | (ones.sum(dim=3) > 1).flatten(1).any(dim=1)
    if wrong.any():
        raise UserError(f"{path}, board {_first(wrong)}: a cell must hold one 1, or zeros if it is blank")
    return (ones.byte().argmax(dim=3) + 1) * ones.any(dim=3)


def rows_of(path: Path, most: int | None) -> list[list[str]]:
    """Return the fields of the first ``most`` lines of a file."""
    content = content_of(path)
    try:
        lines = content.decode("ascii").splitlines()
        rows = [*csv.reader(lines if most is None else lines[:most])]
    except UnicodeDecodeError as error:
        row, column = content.count(b"\n", 0, error.start) + 1, error.start - content.rfind(b"\n", 0, error.start)
        raise UserError(f"{path}, row {row}, character {column}: is not ASCII") from None
    except csv.Error as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from None
    if not rows:
        raise UserError(f"{path}: holds no boards")
    return rows


def _from_rows(name: str, split: str, path: Path, rows: Sequence[Sequence[str]], first: int, unique: int) -> SudokuFile:
    """Return the boards of lines of puzzle and answer.

    Args:
        name: of the source.
        split: of the boards.
        path: of the file.
        rows: its lines.
        first: number of the first of them in the file.
        unique: number of puzzles that are solved.
    """

    def where(place: int) -> str:
        return f"{path}, row {place + first}"

    if not rows:
        raise UserError(f"{path}: holds no boards")
    for place, row in enumerate(rows):
        if len(row) != 2 or len(row[0]) != CELLS or len(row[1]) != CELLS:
            found = " and ".join(map(str, map(len, row))) or "none"
            raise UserError(f"{where(place)}: must be a puzzle and an answer of {CELLS} characters each, not {found}")
    puzzles, solutions = (_symbols([row[k] for row in rows], where) for k in (0, 1))
    return SudokuFile(name, split, puzzles, solutions, where, unique)


def _symbols(texts: Sequence[str], where: Callable[[int], str]) -> Int64[Tensor, "n y x"]:
    """Return the symbols of boards of 81 characters."""
    signs = np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(-1, CELLS)
    symbols = np.where(np.isin(signs, [*BLANKS]), 0, signs.astype(np.int64) - ord("0"))
    wrong = ((symbols < 0) | (symbols > SIDE)).any(axis=1)
    if wrong.any():
        place = int(wrong.argmax())
        sign = next(sign for sign in texts[place] if sign not in "123456789" + BLANKS.decode())
        raise UserError(f"{where(place)}: {sign!r}: a cell must be 1 to 9, or 0 or a point for a blank one")
    return torch.from_numpy(symbols).view(-1, SIDE, SIDE)
