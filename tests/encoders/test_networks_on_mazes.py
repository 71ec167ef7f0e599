"""Every encoder for boards on mazes: no blank cells, any side where no weight depends on it, noise in free cells."""

import pytest
import torch
from house_files import ROOT

from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.maze_rules import FREE
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import load_recipe

NAMES = [name for name in ENCODERS if Boards in ENCODERS[name].reads]
MAZE = {"symbols": 5, "input_symbols": 4}
ANY_SIDE = {
    "board_iterative": {"positions": "none", "mixer": "conv", "kernel_size": 3},
    "board_akorn": {"positions": "none", "coupling": "conv", "kernel_size": 3},
}
every_network = pytest.mark.parametrize("name", NAMES)


def build(name: str, **options) -> Encoder:
    with borrowed_global(generator("cpu", name)):
        return ENCODERS.build(name, {**ENCODERS.small(name), **MAZE, **options}).eval()


def mazes(side: int) -> torch.Tensor:
    return DATA.build("maze", {"side": side, "mazes": 3, "mazes_test": 3}, "train").puzzles.clone()


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", number)


def test_three_networks_read_boards() -> None:
    assert {"board_akorn", "board_winfree", "board_iterative"} <= set(NAMES)


@torch.no_grad()
@every_network
def test_a_network_without_positions_of_its_own_reads_mazes_of_any_side(name: str) -> None:
    encoder = build(name, side=None, **ANY_SIDE.get(name, {}))
    assert encoder.built_for is None
    for side in (9, 12):
        assert encoder(mazes(side), draw=draw()).map.shape == (3, 8, side, side)


@torch.no_grad()
@every_network
def test_a_network_for_one_side_refuses_another(name: str) -> None:
    encoder = build(name, side=9)
    assert encoder.built_for == Boards(9, 5, 4)
    assert encoder(mazes(9), draw=draw()).map.shape == (3, 8, 9, 9)
    with pytest.raises(UserError, match="built for boards of 9 x 9 cells, 5 symbols, 4 of them in inputs"):
        encoder(mazes(10), draw=draw())


@every_network
@pytest.mark.parametrize("symbol", [0, 5])
def test_blank_cells_and_path_cells_are_no_input(name: str, symbol: int) -> None:
    boards = mazes(9)
    boards[0, 0, 0] = symbol
    with pytest.raises(UserError, match=r"boards with symbols \d to \d: this encoder reads 1 to 4"):
        build(name, side=9)(boards, draw=draw())


@pytest.mark.parametrize("name", ["board_akorn", "board_iterative"])
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"positions": "ape"}, "positions=ape: needs side"),
        ({"positions": "rope"}, "positions=rope: needs side"),
        ({"positions": "gta"}, "positions=gta: needs side"),
        ({"input_symbols": 6}, "input_symbols=6: must be at most symbols=5"),
    ],
)
def test_what_is_made_for_one_side_asks_for_it(name: str, options: dict, line: str) -> None:
    with pytest.raises(UserError, match=line):
        build(name, side=None, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("board_akorn", {"coupling": "conv"}),
        ("board_akorn", {"coupling": "conv_symmetric"}),
        ("board_winfree", {"coupling": "conv"}),
        ("board_iterative", {"mixer": "conv"}),
    ],
)
def test_a_kernel_that_is_left_out_needs_the_side(name: str, options: dict) -> None:
    options = {**ANY_SIDE.get(name, {}), **options, "side": None}
    with pytest.raises(UserError, match="kernel_size=null: needs side"):
        build(name, **options | {"kernel_size": None})
    assert build(name, **options | {"kernel_size": 3})(mazes(9), draw=draw()).map.shape == (3, 8, 9, 9)


@torch.no_grad()
@pytest.mark.parametrize(("name", "options"), [("board_akorn", {}), ("board_iterative", {"initial": "random"})])
def test_free_cells_start_from_noise_and_walls_start_and_goal_from_their_embedding(name: str, options: dict) -> None:
    encoder, boards, seen = build(name, side=9, positions="gta", **options), mazes(9), []
    part = encoder.layer if name == "board_akorn" else encoder.blocks[0]
    part.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for number in (0, 1):
        encoder(boards, draw=draw(number))
    c = encoder.embedding(boards - 1).permute(0, 3, 1, 2)
    free = (boards == FREE)[:, None].expand_as(c)
    for x in seen:
        assert torch.equal(x[~free], c[~free])
        assert (x[free] != c[free]).all()
    assert (seen[0][free] != seen[1][free]).all()


@torch.no_grad()
def test_turned_mazes_give_turned_maps_where_nothing_knows_the_place() -> None:
    """A theory check: attention without positions commutes with any permutation of the cells (here: turned boards with
    blank cells). Such a network could not see which cells of a maze are neighbours, so that it is refused for mazes."""
    encoder = build("board_akorn", side=None, input_symbols=None, positions="none", initial="fixed").double()
    boards = torch.where(mazes(9) == FREE, 0, mazes(9))
    noise = encoder.sample_initial(boards, draw()).double()
    plain = encoder(boards, initial=noise).map
    moved = encoder(boards.transpose(1, 2), initial=noise.transpose(2, 3)).map
    torch.testing.assert_close(moved, plain.transpose(2, 3))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("board_akorn", {"coupling": "attention"}),
        ("board_akorn", {"coupling": "attention_symmetric"}),
        ("board_iterative", {"mixer": ["attention", "attention"], "layers": 2}),
    ],
)
def test_attention_without_positions_is_refused_for_mazes_and_one_convolution_suffices(name, options) -> None:
    line = "positions=none: attention alone cannot tell which cells of a maze are neighbours"
    for side in (None, 9):
        with pytest.raises(UserError, match=line):
            build(name, side=side, positions="none", **options)
    build("board_iterative", side=None, positions="none", mixer=["attention", "conv"], layers=2, kernel_size=3)


def test_the_published_akorn_on_mazes_has_its_size() -> None:
    options = load_recipe(ROOT / "recipes" / "maze-hard-akorn.yaml").encoder.options
    with torch.device("meta"):
        encoder = ENCODERS.build("board_akorn", dict(options))
    assert sum(p.numel() for p in encoder.parameters()) + 5 * (encoder.num_features + 1) == 956_680


def test_every_option_is_documented() -> None:
    for name in NAMES:
        for option in ENCODERS.options(name):
            assert f"        {option}: " in (ENCODERS[name].__doc__ or ""), f"{name}.{option}"
