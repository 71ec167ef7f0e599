import json

import pytest
import torch

from sslkuramoto import maze_rules
from sslkuramoto.errors import UserError
from sslkuramoto.examples import (
    Boards,
    DeclaredImages,
    Images,
    Pairs,
    Spec,
    UnsizedImages,
    check_reads,
    spec_from_dict,
    spec_to_dict,
)
from sslkuramoto.randomness import generator

SPECS = [
    Images(8, 10),
    Images(8),
    Images(8, masks=True),
    Boards(4, 4),
    Boards(6, 5),
    Boards(6, 5, 4),
    Pairs(Images(8)),
    Pairs(Images(8), 6),
]

every_spec = pytest.mark.parametrize("spec", SPECS, ids=str)


@every_spec
def test_a_random_batch_has_the_shapes_of_its_spec_and_repeats_itself(spec: Spec) -> None:
    first, again = (spec.random(5, generator("cpu", 0)) for _ in range(2))
    assert torch.equal(first.inputs, again.inputs)
    assert len(first.inputs) == len(first.indices) == 5
    assert first.inputs.shape[-2:] == (spec.side, spec.side)
    assert (first.targets is None) == (spec.num_classes is None)
    if spec.num_classes is not None:
        low = 1 if isinstance(spec, Boards) else 0
        assert first.targets.min() >= low
        assert first.targets.max() < low + spec.num_classes
    assert all(len(value) == 5 for value in first.extra.values())


def test_a_random_board_holds_its_solution_where_it_is_given_and_0_elsewhere() -> None:
    batch = Boards(4, 4).random(20, generator("cpu", 0))
    givens = batch.extra["givens"]
    assert torch.equal(batch.inputs[givens], batch.targets[givens])
    assert not batch.inputs[~givens].any()
    assert 0 < givens.float().mean() < 1


def test_a_random_maze_holds_walls_and_ends_as_its_solution_and_free_cells_elsewhere() -> None:
    batch = Boards(9, 5, 4).random(20, generator("cpu", 0))
    givens = batch.extra["givens"]
    assert torch.equal(givens, batch.inputs != maze_rules.FREE)
    assert torch.equal(batch.inputs[givens], batch.targets[givens])
    assert set(batch.inputs.unique().tolist()) == {1, 2, 3, 4}
    assert set(batch.targets[~givens].unique().tolist()) == {maze_rules.FREE, maze_rules.PATH}


def test_boards_with_blank_cells_are_described_as_before_there_were_mazes() -> None:
    assert spec_to_dict(Boards(9, 9)) == {"kind": "boards", "side": 9, "symbols": 9}


@every_spec
def test_a_spec_reads_back_from_plain_values(spec: Spec) -> None:
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec)))) == spec


def test_messages_show_a_spec_in_words() -> None:
    assert {str(spec) for spec in (Images(8, 10), Images(40, masks=True), DeclaredImages(8, 2))} == {
        "images of 8 x 8 pixels, 10 classes",
        "images of 40 x 40 pixels, with masks",
        "images of 8 x 8 pixels",
    }
    assert str(UnsizedImages(32, 2)) == "images of a size that is not stated"
    assert str(Boards(9, 9)) == "boards of 9 x 9 cells, 9 symbols"
    assert str(Boards(30, 5, 4)) == "boards of 30 x 30 cells, 5 symbols, 4 of them in inputs"
    assert str(Pairs(Images(32), 6)) == "pairs (6 images of 32 x 32 pixels each)"


def test_a_part_that_does_not_read_what_it_is_given_says_so() -> None:
    check_reads("encoder both", (Images, Boards), "data sudoku", Boards(4, 4))
    with pytest.raises(UserError, match=r"^encoder both reads images or pairs; data sudoku gives boards$"):
        check_reads("encoder both", (Images, Pairs), "data sudoku", Boards(4, 4))
