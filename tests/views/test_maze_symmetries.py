import torch

from sslkuramoto.data import DATA, batches, in_order
from sslkuramoto.examples import Batch
from sslkuramoto.maze_rules import FREE, SYMMETRIES, is_optimal, turned
from sslkuramoto.randomness import generator
from sslkuramoto.views import VIEWS

POLICY = VIEWS.build("maze_symmetries", {}, 9)


def batch() -> Batch:
    data = DATA.build("maze", {"side": 9, "mazes": 64, "mazes_test": 4, "min_path": 6}, "train")
    return next(iter(batches(data, in_order(64, 64), device="cpu")))


def test_maze_answer_and_givens_move_together_under_one_of_eight_symmetries() -> None:
    before = batch()
    moved = POLICY.moved(before, generator("cpu", 0))
    seen = set()
    for place in range(64):
        pairs = [
            torch.equal(turned(before.inputs, number)[place], moved.inputs[place])
            and torch.equal(turned(before.targets, number)[place], moved.targets[place])
            for number in range(SYMMETRIES)
        ]
        assert any(pairs)
        seen.add(pairs.index(True))
    assert seen == set(range(SYMMETRIES))
    assert torch.equal(moved.extra["givens"], moved.inputs != FREE)
    assert is_optimal(moved.inputs, moved.targets).all()
    assert torch.equal(moved.indices, before.indices)


def test_the_view_is_the_moved_maze_and_the_same_draw_moves_alike() -> None:
    first, again, other = (POLICY.moved(batch(), generator("cpu", seed)) for seed in (0, 0, 1))
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    draw = generator("cpu", 0)
    before = draw.get_state()
    assert torch.equal(POLICY(first.inputs, draw)["a"], first.inputs)
    assert torch.equal(draw.get_state(), before)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    POLICY.moved(batch(), generator("cpu", 0))
    assert torch.equal(torch.get_rng_state(), before)
