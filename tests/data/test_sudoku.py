"""Puzzles have one solution, which the rules confirm, and no solution is in two splits."""

import random
from collections import Counter
from itertools import product

import pytest
import torch

from sslkuramoto.data import DATA, batches, expected_spec, in_order
from sslkuramoto.data.boards.board_set import BoardSet
from sslkuramoto.data.boards.solver import Digging, Solver
from sslkuramoto.data.boards.sudoku import SEEDS, class_of, split_of
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.randomness import generator
from sslkuramoto.sudoku_rules import obeys, random_symmetries

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
    found = set(Solver(4).solutions([0] * 16))
    assert len(found) == 288
    assert all(map(follows_the_rules, found))


def test_every_puzzle_has_exactly_the_solution_stored_with_it(splits) -> None:
    for data in splits.values():
        for puzzle, solution in zip(data.puzzles, data.solutions, strict=True):
            givens = puzzle > 0
            assert givens.sum() == 6
            assert torch.equal(puzzle[givens], solution[givens])
            assert list(Solver(4).solutions(puzzle.flatten().tolist())) == [tuple(solution.flatten().tolist())]


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
    assert len(list(Solver(4).solutions(puzzle))) == fits
    assert Solver(4).single(puzzle) == (fits == 1)


def test_no_solution_is_in_two_splits_and_no_puzzle_occurs_twice(splits) -> None:
    solutions = {name: {tuple(s.flatten().tolist()) for s in data.solutions} for name, data in splits.items()}
    assert not solutions["train"] & solutions["test"]
    assert not solutions["train"] & solutions["val"]
    assert not solutions["val"] & solutions["test"]
    for data in splits.values():
        assert len({tuple(p.flatten().tolist()) for p in data.puzzles}) == len(data)


def test_the_spec_is_known_before_a_puzzle_is_made(splits, monkeypatch) -> None:
    monkeypatch.setattr("sslkuramoto.data.boards.sudoku._dug_puzzles", lambda *_: pytest.fail("puzzles were made"))
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
        ({"side": 5}, "train", r"side=5: must be 4, 6 or 9"),
        ({"givens": [9, 7]}, "train", r"givens=\(9, 7\): must be from 4 to 15 of 16 cells, fewest first"),
        ({"givens": 3}, "train", "givens=3: must be from 4 to 15 of 16 cells"),
        ({"puzzles": 0}, "train", r"puzzles=0: must be in \[1, 1000000\]"),
        ({}, "tset", "unknown split 'tset': did you mean 'test'"),
        ({"family": "seeds", "givens": 8}, "test", "side=4: family=seeds has 9 x 9 puzzles"),
        ({"family": "seeds", "side": 9}, "train", "family=seeds: has test puzzles only, no train split"),
        ({"family": "seeds", "side": 9, "givens": 16}, "test", "givens=16: must be at least 17 with family=seeds"),
        ({"givens": 15, "puzzles_test": 400}, "test", "only .* different test puzzles were found of the 400 wanted"),
    ],
)
def test_bad_options_are_one_line(options, split, message, monkeypatch) -> None:
    monkeypatch.setattr("sslkuramoto.data.boards.sudoku._TRIES", 1)
    with pytest.raises(UserError, match=message):
        DATA.build("sudoku", options, split)


@pytest.mark.parametrize("options", [{"givens": 3}, {"givens": 16}, {"givens": [9, 7]}, {"family": "seeds"}])
def test_givens_that_cannot_be_are_found_before_any_puzzle_is_made(options) -> None:
    with pytest.raises(UserError, match=r"givens=.*: must be from|side=4: family=seeds"):
        expected_spec("sudoku", options)


@pytest.mark.parametrize(
    ("split", "known"),
    [
        ("train", "13e0c4d72d68b3691c815d22fc294483"),
        ("val", "042ae015e9bd6774977cf2b88f8ec959"),
        ("test", "01c5a94ba0e2fec04f01dccc010d68f6"),
    ],
)
def test_the_4_x_4_puzzles_are_those_of_the_first_version_to_the_byte(splits, split: str, known: str) -> None:
    assert splits[split].fingerprint == known


def test_the_4_x_4_puzzles_of_the_recipe_are_those_of_the_first_version() -> None:
    options = {"puzzles_test": 300, "givens": 8}
    assert DATA.build("sudoku", options, "test").fingerprint == "161c71f9824b2e9bb139ec61adc9d449"


@pytest.mark.parametrize("side", [6, 9])
@pytest.mark.parametrize("split", ["train", "test"])
def test_6_x_6_and_9_x_9_puzzles_have_the_stored_solution_only_and_givens_in_their_range(side: int, split: str) -> None:
    data = DATA.build("sudoku", {"side": side, "puzzles": 20, "puzzles_test": 20}, split)
    low, high = {6: (14, 19), 9: (31, 42)}[side]
    numbers = (data.puzzles > 0).flatten(1).sum(dim=1)
    assert low <= int(numbers.min()) < int(numbers.max()) <= high
    assert obeys(data.solutions, side).all()
    for puzzle, solution in zip(data.puzzles.flatten(1).tolist(), data.solutions.flatten(1).tolist(), strict=True):
        assert list(Solver(side).solutions(puzzle)) == [tuple(solution)]
        assert all(given in (0, true) for given, true in zip(puzzle, solution, strict=True))


def test_a_range_of_one_number_gives_the_puzzles_of_that_number() -> None:
    one, range_of_one = (DATA.build("sudoku", {"puzzles": 9, "givens": each}, "train") for each in (7, [7, 7]))
    assert one.fingerprint == range_of_one.fingerprint


@pytest.mark.parametrize("side", [6, 9])
def test_symmetric_solutions_are_of_one_class_and_of_one_split(side: int) -> None:
    draw = random.Random(1)
    solutions = [Solver(side).random_solution(draw) for _ in range(40)]
    boards = torch.tensor(solutions).view(-1, side, side)
    moved = random_symmetries(40, side, generator("cpu", side))(boards).flatten(1).tolist()
    for solution, other in zip(solutions, map(tuple, moved), strict=True):
        assert other != solution
        assert class_of(other, side) == class_of(solution, side)
        assert split_of(other, side, 3) == split_of(solution, side, 3)


def test_few_random_9_x_9_solutions_share_a_class_and_the_splits_have_their_shares() -> None:
    draw = random.Random(2)
    solutions = [Solver(9).random_solution(draw) for _ in range(400)]
    assert len({class_of(solution, 9) for solution in solutions}) == 400
    shares = Counter(split_of(solution, 9, 0) for solution in solutions)
    assert 240 < shares["train"] < 320
    assert 55 < shares["test"] < 105


def test_the_seeds_have_17_givens_one_solution_and_six_classes_that_are_of_the_test_split() -> None:
    classes = set()
    for text in SEEDS:
        puzzle = [int(sign) for sign in text]
        assert sum(symbol > 0 for symbol in puzzle) == 17
        (solution,) = Solver(9).solutions(puzzle)
        classes.add(class_of(solution, 9))
        moved = random_symmetries(9, 9, generator("cpu", text))(torch.tensor(solution).view(1, 9, 9).expand(9, 9, 9))
        assert {split_of(tuple(each), 9, seed) for seed, each in enumerate(moved.flatten(1).tolist())} == {"test"}
    assert len(classes) == 6


def test_the_family_of_seeds_has_each_number_of_givens_and_each_seed_with_it_equally_often() -> None:
    data = DATA.build("sudoku", {"side": 9, "family": "seeds", "puzzles_test": 216}, "test")
    numbers = (data.puzzles > 0).flatten(1).sum(dim=1)
    assert torch.bincount(numbers).tolist() == [0] * 17 + [12] * 18
    assert torch.equal(data.puzzles[data.puzzles > 0], data.solutions[data.puzzles > 0])
    classes: dict[str, list[int]] = {}
    for number, solution in zip(numbers.tolist(), data.solutions.flatten(1).tolist(), strict=True):
        classes.setdefault(class_of(tuple(solution), 9), []).append(number)
    assert [Counter(each) for each in classes.values()] == [Counter(dict.fromkeys(range(17, 35), 2))] * 6
    assert all(Solver(9).single(puzzle) for puzzle in data.puzzles[::9].flatten(1).tolist())
    again = DATA.build("sudoku", {"side": 9, "family": "seeds", "puzzles_test": 216}, "test")
    assert again.fingerprint == data.fingerprint


def test_blanking_a_cell_that_is_needed_gives_a_second_solution_and_any_other_none() -> None:
    """Against counting all solutions, on puzzles that are dug until no cell can be spared."""
    draw = random.Random(3)
    for side in (4, 6, 9):
        solver = Solver(side)
        digging = Digging(solver, solver.random_solution(draw))
        for cell in draw.sample(range(side**2), side**2):
            before = list(digging.cells)
            blanked = [0 if place == cell else symbol for place, symbol in enumerate(before)]
            single = solver.single(blanked)
            assert digging.blank(cell) == single
            assert digging.cells == (blanked if single else before)


@pytest.mark.parametrize(
    ("options", "known"),
    [
        ({"side": 9, "puzzles": 40, "puzzle_seed": 1}, "c777b3a8b6a464709a5947e8a1dd8197"),
        ({"side": 9, "puzzles": 10, "givens": 26}, "ab5f34265e5a8abb8fa0cec5ed666694"),
        ({"side": 6, "puzzles": 50, "givens": (10, 16)}, "f9b44ba67e9d5fd0b2abce0580eb41b2"),
        ({"side": 4, "puzzles": 60}, "13e0c4d72d68b3691c815d22fc294483"),
    ],
)
def test_a_seed_gives_the_boards_that_it_gave_before_they_were_made_faster(options, known: str) -> None:
    """Hashes recorded when each board was solved from its givens for every cell that was blanked."""
    assert DATA.build("sudoku", options, "train").fingerprint == known


def test_a_board_with_contradicting_givens_has_no_solution() -> None:
    assert list(Solver(4).solutions([1, 1] + [0] * 14)) == []
    assert list(Solver(4).solutions([1, 2, 3, 0, 0, 0, 0, 4] + [0] * 8)) == []  # no symbol is left for the fourth cell
    assert not Solver(9).single([0] * 81)
