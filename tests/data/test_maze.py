"""Generated mazes: what each family promises, splits, what repeats, and options that do not fit."""

from itertools import combinations

import pytest
import torch
from house_files import ROOT

from sslkuramoto.data import DATA, batches, expected_spec, in_order
from sslkuramoto.data.boards.maze import Maze, split_of
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.maze_rules import (
    FREE,
    GOAL,
    START,
    SYMMETRIES,
    WALL,
    distances_to,
    is_optimal,
    path_lengths,
    single,
    turned,
)
from sslkuramoto.recipe import load_recipe
from sslkuramoto.training import check

SPLITS = ("train", "val", "test")
KINDS = [
    {"side": 10, "family": "walls", "min_path": 12},
    {"side": 9, "family": "walls", "density": 0.2},
    {"side": 11, "family": "corridor"},
    {"side": 10, "family": "corridor", "loops": 3, "min_path": 10},
]
every_kind = pytest.mark.parametrize("options", KINDS, ids=lambda options: f"{options['family']}{options['side']}")


def mazes(options: dict, split: str = "train") -> Maze:
    return DATA.build("maze", {"mazes": 60, "mazes_test": 30, **options}, split)


@every_kind
def test_a_maze_has_two_ends_a_path_as_long_as_asked_and_a_shortest_one_as_its_answer(options) -> None:
    for split in SPLITS:
        data = mazes(options, split)
        assert len(data) == (60 if split == "train" else 30)
        assert data.spec == expected_spec("maze", options) == Boards(options["side"], 5, 4)
        for symbol in (START, GOAL):
            assert ((data.puzzles == symbol).flatten(1).sum(dim=1) == 1).all()
        assert (path_lengths(data.puzzles) >= options.get("min_path", 2)).all()
        assert is_optimal(data.puzzles, data.solutions).all()
        given = data.puzzles != FREE
        assert torch.equal(data.solutions[given], data.puzzles[given])


@every_kind
def test_splits_share_no_maze_nor_a_rotated_or_reflected_one(options) -> None:
    shapes = {
        split: {
            bytes((turned(data.puzzles == WALL, number)[place]).flatten().tolist())
            for number in range(SYMMETRIES)
            for place in range(len(data))
        }
        for split in SPLITS
        for data in [mazes(options, split)]
    }
    for one, other in combinations(SPLITS, 2):
        assert not shapes[one] & shapes[other]
    data = mazes(options)
    assert len({bytes(maze.flatten().tolist()) for maze in data.puzzles}) == len(data), "none comes twice"


def test_the_split_of_a_maze_is_that_of_its_eight_symmetric_ones() -> None:
    data = mazes(KINDS[0], "test")
    for number in range(SYMMETRIES):
        assert {split_of(maze, 0) for maze in turned(data.puzzles, number)} == {"test"}
    assert {split_of(maze, 1) for maze in data.puzzles} == {"train", "val", "test"}, "another seed, other splits"


def test_the_same_seed_gives_the_same_mazes_and_another_others() -> None:
    first, again, other = (mazes({"maze_seed": seed}).fingerprint for seed in (0, 0, 1))
    assert first == again != other
    assert (
        mazes({"family": "corridor", "side": 11}).fingerprint == mazes({"family": "corridor", "side": 11}).fingerprint
    )


def test_recorded_mazes() -> None:
    assert mazes({"side": 10, "min_path": 12}, "test").fingerprint == "f8ecb52d5a95a9ac1219c18802cf30d1"
    assert (
        mazes({"side": 10, "family": "corridor", "loops": 2}, "test").fingerprint == "daa7c93172c3f43e38ba72a63d7247e9"
    )


def test_mazes_begin_alike_however_many_are_made() -> None:
    few, many = (mazes({"mazes": number}).puzzles for number in (10, 40))
    assert torch.equal(few, many[:10])


def test_walls_are_as_dense_as_asked_and_mostly_have_several_shortest_paths() -> None:
    for density in (0.2, 0.35):
        data = mazes({"side": 20, "density": density, "mazes": 100})
        assert abs((data.puzzles == WALL).float().mean().item() - density) < 0.02
        assert single(data.puzzles).float().mean() < 0.1


@pytest.mark.parametrize(("side", "loops"), [(9, 0), (10, 0), (11, 4), (12, 4)])
def test_corridors_join_every_room_with_one_shortest_path(side: int, loops: int) -> None:
    data = mazes({"side": side, "family": "corridor", "loops": loops})
    open_cells = data.puzzles != WALL
    rooms = (side + 1) // 2
    assert open_cells[:, : 2 * rooms : 2, : 2 * rooms : 2].all()
    assert not open_cells[:, 1::2, 1::2].any()
    assert (open_cells.flatten(1).sum(dim=1) == 2 * rooms**2 - 1 + loops).all(), "a tree of rooms, and loops"
    assert single(data.puzzles).all()
    if side % 2 == 0:
        assert not open_cells[:, -1].any()
        assert not open_cells[:, :, -1].any()


def test_start_and_goal_of_a_tree_are_as_far_apart_as_two_cells_can_be() -> None:
    data = mazes({"side": 9, "family": "corridor", "mazes": 5})
    for maze, length in zip(data.puzzles, path_lengths(data.puzzles), strict=True):
        cells = (maze != WALL).nonzero()
        sources = torch.zeros(len(cells), 9, 9, dtype=torch.bool)
        sources[torch.arange(len(cells)), cells[:, 0], cells[:, 1]] = True
        assert distances_to((maze != WALL).expand(len(cells), 9, 9), sources).max() == length


def test_free_cells_are_not_given() -> None:
    data = mazes({})
    batch = next(iter(batches(data, in_order(len(data), 7), device="cpu")))
    assert torch.equal(batch.extra["givens"], batch.inputs != FREE)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"side": 8}, "side=8: must be in"),
        ({"side": 31}, "side=31: must be in"),
        ({"density": 1.0}, "density=1.0: must be in"),
        ({"min_path": 1}, "min_path=1: must be from 2 to 99, the moves in 10 x 10 cells"),
        ({"min_path": 100}, "min_path=100: must be from 2 to 99"),
        ({"loops": 2}, "loops=2: is for family=corridor"),
        ({"density": 0.3, "family": "corridor"}, "density=0.3: is for family=walls"),
        ({"loops": 17, "family": "corridor"}, "loops=17: must be at most 16, the walls between 5 x 5 rooms of a tree"),
        ({"family": "rooms"}, "family='rooms': must be"),
    ],
)
def test_options_that_do_not_fit_are_one_line_before_a_maze_is_made(options, line) -> None:
    with pytest.raises(UserError, match=line) as caught:
        expected_spec("maze", options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"min_path": 80}, "min_path=80, density=0.35: only 0 different train mazes of side 10 were found"),
        ({"family": "corridor", "side": 9, "min_path": 49}, "min_path=49, loops=0: only 0 different train mazes"),
        ({"density": 0.99}, r"density=0.99: only \d+ different train mazes of side 10 were found of the 60 wanted"),
    ],
)
def test_mazes_that_are_not_found_are_one_line(options, line) -> None:
    with pytest.raises(UserError, match=line):
        mazes(options)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match="split"):
        mazes({}, "tests")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["encoder.input_symbols=null"], "built for boards of 30 x 30 cells, 5 symbols; data maze gives"),
        (["encoder.side=9"], "built for boards of 9 x 9 cells, 5 symbols, 4 of them in inputs; data maze gives"),
        (["objective.input_symbols=null"], "objective cells: input_symbols=null: must be 4: data maze gives"),
        (["objective.weights=[1,2]"], r"weights=\[1.0, 2.0\]: must be 5, one for each symbol"),
        (["views.name=sudoku_symmetries", "data.side=9", "data.min_path=9", "encoder.side=9"],
         "views sudoku_symmetries: are of Sudoku; data maze gives"),
        (["views.name=sudoku_symmetries"], "boards of side 30: Sudoku here has boards of side 4, 6, 9"),
        (["data={name: sudoku, side: 9}", "objective.input_symbols=null", "encoder.input_symbols=null",
          "encoder.side=9", "encoder.symbols=9", "objective.weights=null", "views.name=maze_symmetries"],
         "views maze_symmetries: are of mazes; data sudoku gives"),
    ],
)  # fmt: skip
def test_parts_that_disagree_about_mazes_are_one_line(changes, line) -> None:
    with pytest.raises(UserError, match=line):
        check(load_recipe(ROOT / "recipes" / "maze-hard-akorn.yaml", changes))
