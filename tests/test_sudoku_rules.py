"""Units, rules and symmetries of Sudoku boards of 4, 6 and 9 cells a side, against loops over cells."""

import random

import pytest
import torch

from sslkuramoto.data.boards.solver import Solver
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.sudoku_rules import (
    BOXES,
    contradicts,
    obeys,
    peers_of,
    random_symmetries,
    sudoku_side,
    units_of,
)

SIDES = [4, 6, 9]


def boards(side: int, count: int = 30) -> torch.Tensor:
    draw = random.Random(side)
    return torch.tensor([Solver(side).random_solution(draw) for _ in range(count)]).view(count, side, side)


def is_solved(board: list[list[int]], side: int) -> bool:
    """By the definition, from nested lists."""
    height, width = BOXES[side]
    parts = [*board, *(list(column) for column in zip(*board, strict=True))]
    for y in range(0, side, height):
        for x in range(0, side, width):
            parts.append([board[y + i][x + j] for i in range(height) for j in range(width)])
    return all(sorted(part) == list(range(1, side + 1)) for part in parts)


@pytest.mark.parametrize("side", SIDES)
def test_every_cell_is_in_three_units_and_has_its_peers(side: int) -> None:
    units = units_of(side)
    assert len(set(units)) == 3 * side
    assert {len(set(unit)) for unit in units} == {side}
    height, width = BOXES[side]
    for cell, peers in enumerate(peers_of(side)):
        assert sum(cell in unit for unit in units) == 3
        assert len(peers) == 2 * (side - 1) + (height - 1) * (width - 1)


@pytest.mark.parametrize("side", SIDES)
def test_a_board_obeys_the_rules_as_the_definition_says(side: int) -> None:
    solved = boards(side)
    spoilt = solved.clone()
    for place, board in enumerate(spoilt):  # two cells of a row change places
        y, x = place % side, place % (side - 1)
        board[y, [x, x + 1]] = board[y, [x + 1, x]]
    for each in (solved, spoilt):
        assert obeys(each, side).tolist() == [is_solved(board.tolist(), side) for board in each]
    assert obeys(solved, side).all()
    assert not obeys(spoilt, side).any()
    assert not obeys(solved * 0, side).any()


@pytest.mark.parametrize("side", SIDES)
def test_givens_contradict_each_other_where_two_equal_ones_share_a_unit(side: int) -> None:
    puzzles = boards(side) * (torch.rand(30, side, side, generator=generator("cpu", "blanks")) < 0.5)
    assert not contradicts(puzzles, side).any()
    for cell in range(side**2):
        puzzle = torch.zeros(side**2, dtype=torch.int64)
        puzzle[0] = puzzle[cell] = 1
        assert bool(contradicts(puzzle.view(1, side, side), side)) == (cell in peers_of(side)[0])


@pytest.mark.parametrize("side", SIDES)
def test_symmetries_map_solutions_to_solutions_and_blanks_to_blanks(side: int) -> None:
    solutions = boards(side)
    symmetry = random_symmetries(len(solutions), side, generator("cpu", "symmetry"))
    moved = symmetry(solutions)
    assert obeys(moved, side).all()
    assert not (moved == solutions).flatten(1).all(dim=1).any()
    given = torch.rand(solutions.shape, generator=generator("cpu", "blanks")) < 0.5
    assert torch.equal(symmetry(solutions * given), moved * (symmetry(solutions * given) > 0))
    assert torch.equal((symmetry(solutions * given) > 0).flatten(1).sum(dim=1), given.flatten(1).sum(dim=1))


def test_symmetries_of_4_x_4_boards_reach_every_solution_of_a_class_and_no_other() -> None:
    """The group has 4! * 2 * 2^3 * 2^3 elements; the 288 solutions fall into classes of 96 and 192."""
    every = torch.tensor(list(Solver(4).solutions([0] * 16))).view(-1, 4, 4)
    sizes = set()
    for board in every[:40]:
        copies = board.expand(4000, 4, 4)
        moved = random_symmetries(4000, 4, generator("cpu", "all"))(copies)
        sizes.add(len(moved.flatten(1).unique(dim=0)))
    assert sizes == {96, 192}


def test_boards_of_2_x_3_boxes_are_not_transposed() -> None:
    assert not random_symmetries(50, 6, generator("cpu", 0)).transposed.any()
    assert random_symmetries(50, 9, generator("cpu", 0)).transposed.any()


def test_another_side_is_one_line() -> None:
    assert sudoku_side(6, "boards") == 6
    with pytest.raises(UserError, match=r"^boards of side 5: Sudoku here has boards of side 4, 6, 9$"):
        sudoku_side(5, "boards")
