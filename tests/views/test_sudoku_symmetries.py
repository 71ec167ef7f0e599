"""The augmentation of boards: puzzle and solution move alike, from the caller's generator."""

import pytest
import torch

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.sudoku_rules import obeys
from sslkuramoto.views import VIEWS


@pytest.fixture(scope="module", params=[4, 6, 9])
def batch(request):
    data = DATA.build("sudoku", {"side": request.param, "puzzles": 20}, "train")
    (found,) = batches(data, in_order(20, 20), device="cpu")
    return found


def test_puzzle_and_solution_move_alike_and_stay_a_puzzle_with_its_solution(batch) -> None:
    side = batch.inputs.shape[1]
    policy = VIEWS.build("sudoku_symmetries", {}, side)
    moved = policy.moved(batch, generator("cpu", 0))
    assert obeys(moved.targets, side).all()
    given = moved.inputs > 0
    assert torch.equal(moved.inputs, moved.targets * given)
    assert torch.equal(moved.extra["givens"], given)
    assert torch.equal(given.flatten(1).sum(dim=1), (batch.inputs > 0).flatten(1).sum(dim=1))
    assert not (moved.targets == batch.targets).flatten(1).all(dim=1).any()
    assert torch.equal(moved.indices, batch.indices)
    (view,) = policy(moved.inputs, generator("cpu", 1)).values()
    assert torch.equal(view, moved.inputs)


def test_the_generator_decides_the_symmetries_and_no_two_batches_share_them(batch) -> None:
    policy = VIEWS.build("sudoku_symmetries", {}, batch.inputs.shape[1])
    first, again, other = (policy.moved(batch, generator("cpu", seed)).inputs for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before = torch.get_rng_state()
    policy.moved(batch, generator("cpu", 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_boards_of_another_side_are_one_line() -> None:
    with pytest.raises(UserError, match=r"^views sudoku_symmetries: boards of side 16: Sudoku here has boards of side"):
        VIEWS.build("sudoku_symmetries", {}, 16)
