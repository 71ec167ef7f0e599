"""The rules of mazes against networkx and against drawings."""

from itertools import pairwise

import networkx
import pytest
import torch

from sslkuramoto import maze_rules
from sslkuramoto.maze_rules import (
    CHARACTERS,
    FREE,
    GOAL,
    MOVES,
    PATH,
    START,
    SYMMETRIES,
    WALL,
    characters,
    distances,
    is_optimal,
    is_valid,
    path_lengths,
    shortest_path,
    single,
    turned,
)
from sslkuramoto.randomness import generator


def read(*drawings: str) -> torch.Tensor:
    """Return boards of drawings, rows separated by a bar."""
    return torch.tensor(
        [[[1 + CHARACTERS.index(sign) for sign in row] for row in each.split("|")] for each in drawings]
    )


def random_mazes(count: int, side: int, density: float) -> torch.Tensor:
    draw = generator("cpu", "mazes", side)
    mazes = torch.where(torch.rand(count, side**2, generator=draw) < density, WALL, FREE)
    ends = torch.rand(count, side**2, generator=draw).topk(2, dim=1).indices
    mazes.scatter_(1, ends[:, :1], START).scatter_(1, ends[:, 1:], GOAL)
    return mazes.view(count, side, side)


MAZES = torch.cat([random_mazes(60, 6, density) for density in (0.1, 0.25, 0.4)])


def graph(maze: torch.Tensor) -> networkx.Graph:
    found = networkx.grid_2d_graph(*maze.shape)
    found.remove_nodes_from([cell for cell in list(found) if maze[cell] == WALL])
    return found


def place(maze: torch.Tensor, symbol: int) -> tuple[int, int]:
    y, x = (maze == symbol).nonzero()[0].tolist()
    return y, x


def all_shortest(maze: torch.Tensor) -> list[list[tuple[int, int]]]:
    try:
        return list(networkx.all_shortest_paths(graph(maze), place(maze, START), place(maze, GOAL)))
    except networkx.NetworkXNoPath:
        return []


def test_symbols_are_the_published_ones() -> None:
    assert (WALL, FREE, START, GOAL, PATH) == (1, 2, 3, 4, 5)
    assert (CHARACTERS, maze_rules.INPUT_SYMBOLS, maze_rules.SYMBOLS) == ("# SGo", 4, 5)
    assert characters(read("#S|G ")[0]) == "#S\nG "


@pytest.mark.parametrize("symbol", [START, GOAL])
def test_distances_are_those_of_networkx(symbol: int) -> None:
    found = distances(MAZES, symbol)
    for maze, ours in zip(MAZES, found, strict=True):
        theirs = networkx.single_source_shortest_path_length(graph(maze), place(maze, symbol))
        wanted = torch.full_like(maze, -1)
        for cell, moves in theirs.items():
            wanted[cell] = moves
        assert torch.equal(ours, wanted)


def test_a_distance_may_be_longer_than_a_byte_holds() -> None:
    side = 31
    rows = [
        " " * side if y % 2 == 0 else ("#" * (side - 1) + " ", " " + "#" * (side - 1))[y // 2 % 2] for y in range(side)
    ]
    snake = read("|".join(["S" + rows[0][1:], *rows[1:-1], "G" + rows[-1][1:]]))
    assert path_lengths(snake).item() == 31 * 16 + 15 - 1
    assert distances(snake).max() == 510
    assert is_optimal(snake, shortest_path(snake)).all()


def test_lengths_and_single_paths_are_those_of_networkx() -> None:
    lengths, alone = path_lengths(MAZES), single(MAZES)
    paths = [all_shortest(maze) for maze in MAZES]
    assert lengths.tolist() == [len(each[0]) - 1 if each else -1 for each in paths]
    assert alone.tolist() == [len(each) == 1 for each in paths]
    assert 0 < alone.float().mean() < 1
    assert (lengths < 0).any()


def test_of_several_shortest_paths_the_answer_is_the_first_by_moves_up_left_right_down() -> None:
    mazes = MAZES[path_lengths(MAZES) > 0]
    for maze, answer in zip(mazes, shortest_path(mazes), strict=True):

        def moves(cells: list[tuple[int, int]]) -> list[int]:
            steps = pairwise(cells)
            return [MOVES.index((y - from_y, x - from_x)) for (from_y, from_x), (y, x) in steps]

        first = min(all_shortest(maze), key=moves)
        wanted = maze.clone()
        for cell in first[1:-1]:
            wanted[cell] = PATH
        assert torch.equal(answer, wanted)


def test_the_tie_break_in_a_drawing() -> None:
    maze, answer = read("   |S G|   ", "   |SoG|   ")
    assert torch.equal(shortest_path(maze[None])[0], answer)
    maze, answer = read("   |S#G|   ", "ooo|S#G|   ")
    assert torch.equal(shortest_path(maze[None])[0], answer), "up comes before down"
    maze, answer = read("G  |   |  S", "Goo|  o|  S")
    assert torch.equal(shortest_path(maze[None])[0], answer), "up comes before left"


def test_ends_that_touch_need_no_path_cell() -> None:
    maze = read("SG|  ")
    assert path_lengths(maze).tolist() == [1]
    assert torch.equal(shortest_path(maze), maze)
    assert is_optimal(maze, maze).all()


def simple_walk(maze: torch.Tensor, answer: torch.Tensor) -> bool:
    """Whether the marked cells, start and goal are a path graph between start and goal, by networkx."""
    marked = {tuple(cell) for cell in (answer == PATH).nonzero().tolist()}
    if any(maze[cell] != FREE for cell in marked):
        return False
    start, goal = place(maze, START), place(maze, GOAL)
    walk = networkx.grid_2d_graph(*maze.shape).subgraph(marked | {start, goal})
    ways = list(networkx.all_simple_paths(walk, start, goal))
    return len(ways) == 1 and len(ways[0]) == len(walk) == 1 + walk.number_of_edges()


def test_valid_and_optimal_are_what_networkx_finds() -> None:
    mazes = MAZES[path_lengths(MAZES) > 0]
    draw = generator("cpu", "answers")
    answers = [shortest_path(mazes)]
    for share in (0.02, 0.1):  # some cells of the right answer changed
        changed = torch.rand(mazes.shape, generator=draw) < share
        answers.append(torch.where(changed, torch.randint(1, 6, mazes.shape, generator=draw), answers[0]))
    for maze in mazes:  # and every way through the smallest mazes
        paths = networkx.all_simple_paths(graph(maze), place(maze, START), place(maze, GOAL), cutoff=9)
        for _, cells in zip(range(5), paths, strict=False):
            answer = maze.clone()
            for cell in cells[1:-1]:
                answer[cell] = PATH
            assert bool(is_valid(maze[None], answer[None])) == simple_walk(maze, answer)
    for each in answers:
        wanted = [simple_walk(maze, answer) for maze, answer in zip(mazes, each, strict=True)]
        assert is_valid(mazes, each).tolist() == wanted
        short = [int((answer == PATH).sum()) + 1 == n for answer, n in zip(each, path_lengths(mazes), strict=True)]
        assert is_optimal(mazes, each).tolist() == [a and b for a, b in zip(wanted, short, strict=True)]
    assert 0 < is_valid(mazes, answers[1]).float().mean() < 1


@pytest.mark.parametrize(
    ("maze", "answer", "valid", "optimal"),
    [
        ("S  |   |  G", "Soo|  o|  G", True, True),
        ("S  |   |  G", "S  |   |  G", False, False),  # none
        ("S  |   |  G", "Soo|   |  G", False, False),  # ends early
        ("S  |   |  G", "Soo|o o|  G", False, False),  # a branch at the start
        ("S  |   |  G", "Soo| oo|  G", False, False),  # a cell too many
        ("S #|   |  G", "Soo|  o|  G", False, False),  # through a wall
        ("S    |     |G    ", "Sooo | o o |Gooo ", False, False),  # a ring
        ("S   | ## |    |G   ", "Sooo| ##o|oooo|G   ", True, False),  # a way round
        ("S   |    |    |G   ", "So  | oo |  o |Goo ", True, False),
        ("S    |o    |G    ", "S    |o   o|G    ", False, False),  # a cell apart
        ("S     |      |G     ", "S oo  |o oo  |G     ", False, False),  # a ring apart
    ],
)
def test_answers_in_drawings(maze: str, answer: str, valid: bool, optimal: bool) -> None:
    boards = read(maze.replace("o", " "), answer)
    assert bool(is_valid(boards[:1], boards[1:])) == valid
    assert bool(is_optimal(boards[:1], boards[1:])) == optimal


def test_what_an_answer_says_of_walls_and_ends_does_not_count_for_valid() -> None:
    maze, answer = read("S #|   |  G", "#o#|#o#|#oo")
    assert is_valid(maze[None], answer[None]).item() is False, "the goal is no path cell"
    maze, answer = read("S #|   |  G", "#o#|Go#|Soo")
    assert is_valid(maze[None], torch.where(maze == GOAL, WALL, answer)[None]).item() is True


def test_the_eight_symmetries_differ_and_keep_paths_shortest() -> None:
    mazes = MAZES[path_lengths(MAZES) > 0]
    answers = shortest_path(mazes)
    moved = [turned(mazes, number) for number in range(SYMMETRIES)]
    assert torch.equal(moved[0], mazes)
    assert len({bytes(each[0].flatten().tolist()) for each in moved}) == 8
    for number, each in enumerate(moved):
        assert torch.equal(path_lengths(each), path_lengths(mazes))
        assert is_optimal(each, turned(answers, number)).all()
    again = {bytes(turned(each, number)[0].flatten().tolist()) for each in moved for number in range(8)}
    assert len(again) == 8, "they form a group"
