"""Puzzles have one solution, which the rules confirm, and no solution is in two splits."""

from itertools import product

import pytest
import torch

from sslkuramoto.data import DATA, batches, expected_spec, in_order
from sslkuramoto.data.boards.board_set import BoardSet
from sslkuramoto.data.boards.sudoku import Rules
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards

SMALL = {"puzzles": 60, "puzzles_test": 30}


@pytest.fixture(scope="module")
def splits() -> dict[str, BoardSet]:
    return {split: DATA.build("sudoku", SMALL, split) for split in ("train", "val", "test")}


def follows_the_rules(grid: tuple[int, ...]) -> bool:
    """By the definition: every row, column and box of a 4 x 4 board holds 1 to 4."""
    rows = [grid[4 * y : 4 * y + 4] for y in range(4)]
    columns = list(zip(*rows, strict=True))
    boxes = [[rows[y + i][x + j] for i in (0, 1) for j in (0, 1)] for y in (0, 2) for x in (0, 2)]
    return all(sorted(part) == [1, 2, 3, 4] for part in [*rows, *columns, *boxes])


def test_there_are_288_solutions_of_an_empty_board_of_4_x_4() -> None:
    found = set(Rules(4).solutions([0] * 16))
    assert len(found) == 288
    assert all(map(follows_the_rules, found))


def test_every_puzzle_has_exactly_the_solution_stored_with_it(splits) -> None:
    for data in splits.values():
        for puzzle, solution in zip(data.puzzles, data.solutions, strict=True):
            givens = puzzle > 0
            assert givens.sum() == 6
            assert torch.equal(puzzle[givens], solution[givens])
            assert list(Rules(4).solutions(puzzle.flatten().tolist())) == [tuple(solution.flatten().tolist())]


def test_a_single_solution_is_told_by_brute_force() -> None:
    grid = (1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1)
    puzzle = [0 if place in (0, 1, 4, 5, 8, 9) else symbol for place, symbol in enumerate(grid)]
    blank = [place for place, symbol in enumerate(puzzle) if not symbol]
    fits = 0
    for symbols in product(range(1, 5), repeat=len(blank)):
        filled = puzzle.copy()
        for place, symbol in zip(blank, symbols, strict=True):
            filled[place] = symbol
        fits += follows_the_rules(tuple(filled))
    assert len(list(Rules(4).solutions(puzzle))) == fits
    assert Rules(4).single(puzzle) == (fits == 1)


def test_no_solution_is_in_two_splits_and_no_puzzle_occurs_twice(splits) -> None:
    solutions = {name: {tuple(s.flatten().tolist()) for s in data.solutions} for name, data in splits.items()}
    assert not solutions["train"] & solutions["test"]
    assert not solutions["train"] & solutions["val"]
    assert not solutions["val"] & solutions["test"]
    for data in splits.values():
        assert len({tuple(p.flatten().tolist()) for p in data.puzzles}) == len(data)


def test_the_spec_is_known_before_a_puzzle_is_made(splits, monkeypatch) -> None:
    monkeypatch.setattr("sslkuramoto.data.boards.sudoku._puzzles", lambda *_: pytest.fail("puzzles were made"))
    assert expected_spec("sudoku", {}) == splits["test"].spec == Boards(4, 4)
    assert expected_spec("sudoku", {"side": 9}) == Boards(9, 9)


def test_batches_hold_puzzles_solutions_and_givens(splits) -> None:
    data = splits["test"]
    seen = []
    for batch in batches(data, in_order(len(data), 7), device="cpu"):
        assert torch.equal(batch.inputs, data.puzzles[batch.indices])
        assert torch.equal(batch.targets, data.solutions[batch.indices])
        assert torch.equal(batch.extra["givens"], batch.inputs > 0)
        seen += batch.indices.tolist()
    assert seen == list(range(30))


def test_the_fingerprint_names_the_puzzles(splits) -> None:
    again = DATA.build("sudoku", SMALL, "train").fingerprint
    assert again == splits["train"].fingerprint
    others = [splits["val"].fingerprint, DATA.build("sudoku", {**SMALL, "puzzle_seed": 1}, "train").fingerprint]
    assert len({again, *others, DATA.build("sudoku", {**SMALL, "givens": 7}, "train").fingerprint}) == 4


def test_making_puzzles_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    DATA.build("sudoku", {"puzzles": 3}, "train")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        ({"side": 5}, "train", "side=5: must be a square number"),
        ({"givens": 3}, "train", "givens=3: must be from 4 to 15 of 16 cells"),
        ({"puzzles": 0}, "train", r"puzzles=0: must be in \[1, 1000000\]"),
        ({}, "tset", "unknown split 'tset': did you mean 'test'"),
        ({"givens": 15, "puzzles_test": 5000}, "test", "only .* different test puzzles were found of the 5000 wanted"),
    ],
)
def test_bad_options_are_one_line(options, split, message, monkeypatch) -> None:
    monkeypatch.setattr("sslkuramoto.data.boards.sudoku._TRIES", 1)
    with pytest.raises(UserError, match=message):
        DATA.build("sudoku", options, split)
