"""What the protocol ``maze`` counts, against counting cell by cell, and on networks whose answers are known."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sslkuramoto.data import DATA
from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.evaluation.boards.maze import judged
from sslkuramoto.evaluation.boards.scores import energy_metric
from sslkuramoto.examples import Boards
from sslkuramoto.heads import HEADS
from sslkuramoto.maze_rules import FREE, GOAL, MOVES, PATH, START, SYMBOLS, path_lengths, shortest_path
from sslkuramoto.randomness import generator

N = 12
EXACT, VALID, OPTIMAL = "exact", "valid", "optimal"
OPEN = {"side": 9, "mazes": 4, "mazes_test": N, "density": 0.2}  # many shortest paths


@pytest.fixture(scope="module")
def mazes():
    return DATA.build("maze", OPEN, "test")


def naive(answer: list[list[int]], maze: list[list[int]], solution: list[list[int]]) -> dict[str, float]:
    """The scores of one answer, cell by cell, by walking along the marked cells."""
    side = range(len(maze))
    cells = [(y, x) for y in side for x in side]
    ours = {(y, x) for y, x in cells if answer[y][x] == PATH}
    theirs = {(y, x) for y, x in cells if solution[y][x] == PATH}
    ((start,), (goal,)) = ([(y, x) for y, x in cells if maze[y][x] == symbol] for symbol in (START, GOAL))
    allowed, here, walked = ours | {start, goal}, start, [start]
    valid = all(maze[y][x] == FREE for y, x in ours)
    while valid and here != goal:
        ahead = [(here[0] + y, here[1] + x) for y, x in MOVES]
        ahead = [cell for cell in ahead if cell in allowed and cell not in walked[-2:-1]]
        valid = len(ahead) == 1 and ahead[0] not in walked
        here = ahead[0] if ahead else here
        walked.append(here)
    touching = sum((goal[0] + y, goal[1] + x) in allowed for y, x in MOVES)
    valid = valid and len(walked) == len(allowed) and touching == 1
    reached, layer = {start}, {start}
    shortest = 0
    while goal not in layer:
        layer = {(y + dy, x + dx) for y, x in layer for dy, dx in MOVES} & {c for c in cells if maze[c[0]][c[1]] != 1}
        layer -= reached
        reached |= layer
        shortest += 1
    precision = len(ours & theirs) / len(ours) if ours else float(not theirs)
    recall = len(ours & theirs) / len(theirs) if theirs else 1.0
    both = len(ours) + len(theirs)
    return {
        EXACT: float(answer == solution),
        VALID: float(valid),
        OPTIMAL: float(valid and len(ours) + 1 == shortest),
        "path_precision": precision,
        "path_recall": recall,
        "path_f1": 2 * len(ours & theirs) / both if both else 1.0,
    }


def other_path(maze: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """A path from start to goal without short cuts: a shortest one through a part of the free cells."""
    for share in (0.35, 0.25, 0.15, 0.0):
        closed = torch.rand(maze.shape, generator=draw) < share
        narrowed = torch.where(closed & (maze == FREE), 1, maze)[None]
        if path_lengths(narrowed)[0] > 0:
            answer = shortest_path(narrowed)[0]
            return torch.where((maze == FREE) & (answer != PATH), FREE, answer)
    raise AssertionError


def test_scores_are_those_of_counting_cell_by_cell(mazes) -> None:
    draw, kinds = generator("cpu", "answers"), set()
    moves = path_lengths(mazes.puzzles)
    for attempt in range(12):
        answers = torch.stack([other_path(maze, draw) for maze in mazes.puzzles])
        if attempt % 3 == 0:
            answers = mazes.solutions.clone()
        if attempt % 3 == 1:  # spoilt in a cell or two, anywhere
            for answer in answers:
                for _ in range(1 + attempt % 2):
                    y, x = torch.randint(9, (2,), generator=draw).tolist()
                    answer[y, x] = int(torch.randint(0, SYMBOLS + 1, (), generator=draw))
        found = judged(answers, mazes.puzzles, mazes.solutions, moves)
        for place in range(N):
            wanted = naive(*(boards[place].tolist() for boards in (answers, mazes.puzzles, mazes.solutions)))
            assert {name: float(values[place]) for name, values in found.items()} == pytest.approx(wanted)
            kinds.add(tuple(wanted[name] for name in (EXACT, VALID, OPTIMAL)))
    assert kinds == {(1, 1, 1), (0, 1, 1), (0, 1, 0), (0, 0, 0)}, "every kind of answer was met"


@pytest.mark.parametrize("options", [OPEN, {"side": 9, "mazes": 4, "mazes_test": N, "family": "corridor"}])
def test_the_answers_of_the_data_are_exact_valid_and_optimal(options) -> None:
    data = DATA.build("maze", options, "test")
    found = judged(data.solutions, data.puzzles, data.solutions, path_lengths(data.puzzles))
    assert {name: values.double().mean().item() for name, values in found.items()} == dict.fromkeys(found, 1.0)


def test_an_answer_without_a_path_has_no_precision_and_one_beside_the_goal_needs_none() -> None:
    maze = torch.full((1, 9, 9), FREE)
    maze[0, 0, 0], maze[0, 0, 1] = START, GOAL
    empty, wrong = maze.clone(), maze.clone()
    wrong[0, 5, 5] = PATH
    moves = path_lengths(maze)
    right = judged(empty, maze, maze, moves)
    assert {name: float(values) for name, values in right.items()} == dict.fromkeys(right, 1.0)
    off = judged(wrong, maze, maze, moves)
    assert [float(off[name]) for name in (VALID, "path_precision", "path_recall", "path_f1")] == [0, 0, 1, 0]
    maze[0, 0, 1], maze[0, 0, 2] = FREE, GOAL
    target = maze.clone()
    target[0, 0, 1] = PATH
    lacking = judged(maze, maze, target, path_lengths(maze))
    assert [float(lacking[name]) for name in ("path_precision", "path_recall", "path_f1")] == [0, 0, 0]


class Guessing(Encoder):
    """Exact with probability T / 8, else without a path; its energy is low where it is exact."""

    num_features = SYMBOLS
    reads = (Boards,)
    stochastic = True
    num_steps = (2,)
    has_energy = True

    def __init__(self, mazes):
        super().__init__()
        self.mazes = mazes

    def forward(self, images, *, initial=None, draw=None, trace=False, num_steps=None):
        steps = num_steps or 2
        places = [int((self.mazes.puzzles == maze).flatten(1).all(dim=1).nonzero()[0]) for maze in images]
        right = torch.rand(len(images), generator=draw) < steps / 8
        answers = torch.where(right[:, None, None], self.mazes.solutions[places], images)
        logits = nn.functional.one_hot(answers - 1, SYMBOLS).permute(0, 3, 1, 2).float()
        energy = (1.0 - right.float()).expand(steps + 1, -1)
        return Features(logits.mean(dim=(2, 3)), logits, (LayerTrace(logits.new_empty(0), energy, energy),))


def subject(mazes, encoder: Encoder, path: Path, head: nn.Module | None = None) -> Subject:
    return Subject(
        encoder=encoder,
        head=nn.Identity() if head is None else head,
        data=lambda split: mazes,
        device=torch.device("cpu"),
        run_dir=path,
        encoder_hash="0",
        batch_size=5,
    )


def test_exact_valid_and_optimal_are_reported_of_one_draw_of_votes_and_in_curves(mazes, tmp_path: Path) -> None:
    words = ["votes=[energy_last,majority]", "draws=8", "groups=4", "steps=[2,6]"]
    result = load_protocol("maze", words).measure(subject(mazes, Guessing(mazes), tmp_path))
    for name in (EXACT, VALID, OPTIMAL):
        one, vote = result.metrics[name], result.metrics[f"energy_last/{name}"]
        assert one.draws == 32
        assert 0.1 < one.value < 0.45 < 0.75 < vote.value
        list_of = "correct" if name == EXACT else name
        assert one.value == pytest.approx(sum(result.per_image[list_of]) / N, abs=1e-6)
        assert vote.value == pytest.approx(sum(result.per_image[f"energy_last/{list_of}"]) / N, abs=1e-6)
        details = result.details["maze"] if name == EXACT else result.details["maze"]["others"][name]
        assert details["steps"][2]["one draw"]["value"] < details["steps"][6]["one draw"]["value"]
        assert list(details["draws"]["energy_last"]) == [2, 4, 8]
        assert details["draws"]["energy_last"][8]["value"] == vote.value
        auc = "energy_last/auc" if name == EXACT else f"energy_last/auc_{name}"
        assert result.metrics[auc].value == 1.0
        assert details["scores"]["energy_last"]["right"]
    assert result.details["maze"]["of"] == EXACT
    assert result.verdicts == [
        *("correct", "valid", "optimal"),
        *(f"{vote}/{name}" for vote in ("energy_last", "majority") for name in ("correct", "valid", "optimal")),
    ]
    assert result.per_image["path_length"] == path_lengths(mazes.puzzles).tolist()
    assert f"hash of the mazes: {mazes.fingerprint}" in result.notes
    assert any(note.startswith("exact: every cell") for note in result.notes)
    energy = result.metrics["energy_last"]
    assert (energy.unit, energy.draws) == ("energy", 32)
    assert energy.value == pytest.approx(1 - result.metrics[EXACT].value), "0 where it is exact, else 1"
    assert energy.low < energy.value < energy.high
    assert result.metrics["path_f1"].value == pytest.approx(result.metrics[EXACT].value), "no path or all of it"


def test_an_energy_that_is_not_finite_leaves_no_mean_energy() -> None:
    energies = torch.tensor([[0.0, 1.0], [2.0, torch.inf]])
    assert math.isnan(energy_metric(energies).value)
    assert energy_metric(energies[:1]).value == 0.5


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    options = {"side": None, "symbols": 5, "input_symbols": 4, "channels": 16, "num_steps": 3, "attention_heads": 2}
    return ENCODERS.build("board_winfree", options).eval(), HEADS.build("per_cell", {"relu": False}, 16, SYMBOLS)


def test_the_answer_over_the_steps_is_that_of_a_network_which_stops_there(mazes, network, tmp_path: Path) -> None:
    encoder, head = network
    measured = subject(mazes, encoder, tmp_path, head)
    result = load_protocol("maze", ["num_steps=12"]).measure(measured)
    forming, shown = result.details["maze"]["forming"], result.details["maze"]["boards"]
    assert forming["steps"] == [1, 3, 4, 6, 7, 9, 10, 12]
    assert len(forming["boards"]) == 3
    for place, board in enumerate(forming["boards"]):
        assert board["answers"][-1] == shown[place]["answers"]["one draw"]
        assert all(0 <= percent <= 100 for shade in board["shades"] for row in shade for percent in row)
    stopped = load_protocol("maze", ["num_steps=4"]).measure(measured).details["maze"]
    assert [board["answers"][2] for board in forming["boards"]] == [
        board["answers"]["one draw"] for board in stopped["boards"][:3]
    ]


def test_recorded_scores_and_energies_of_a_network_that_was_not_trained(mazes, network, tmp_path: Path) -> None:
    encoder, head = network
    words = ["votes=[energy_last,confidence,majority,mean]", "draws=10", "groups=2"]
    result = load_protocol("maze", words).measure(subject(mazes, encoder, tmp_path, head))
    assert mazes.fingerprint == "644bc96240b00ad2945e1db137561909"
    recorded = {
        "path_precision": 0.365526,
        "path_recall": 0.092921,
        "path_f1": 0.145955,
        "energy_last/path_f1": 0.136485,
        "confidence/path_f1": 0.146675,
        "majority/path_f1": 0.144493,
        "mean/path_f1": 0.143202,
        "energy_last": -148.749028,
        "energy_sum": -224.857704,
    }
    assert {name: result.metrics[name].value for name in recorded} == pytest.approx(recorded, abs=1e-5, rel=1e-5)
    assert result.per_image["energy_last"][:3] == pytest.approx([-149.015892, -148.959509, -152.143344], rel=1e-5)


class Still(Encoder):
    """Answers with the maze itself, without oscillators or steps."""

    num_features = SYMBOLS
    reads = (Boards,)

    def forward(self, images, *, initial=None, draw=None, trace=False):
        logits = nn.functional.one_hot(images - 1, SYMBOLS).permute(0, 3, 1, 2).float()
        return Features(logits.mean(dim=(2, 3)), logits)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("votes=[energy_last]", "votes=.*energy_last.*: this network has no energy; confidence, majority and mean"),
        ("num_steps=4", "num_steps=4: this network does not iterate"),
        ("steps=[4]", "steps=.*4.*: this network does not iterate"),
    ],
)
def test_what_a_network_cannot_do_is_one_line(mazes, override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^maze: {message}"):
        load_protocol("maze", [override]).measure(subject(mazes, Still(), tmp_path))


def test_a_network_without_steps_has_no_answers_over_the_steps(mazes, tmp_path: Path) -> None:
    result = load_protocol("maze").measure(subject(mazes, Still(), tmp_path))
    assert "forming" not in result.details["maze"]
    assert [result.metrics[name].value for name in (EXACT, VALID, OPTIMAL, "path_recall")] == [0.0] * 4


def test_mazes_of_another_source_are_measured_instead_of_those_of_the_run(mazes, tmp_path: Path) -> None:
    other = ["mazes={name: maze, side: 10, mazes: 4, mazes_test: 6, family: corridor}"]
    result = load_protocol("maze", other).measure(subject(mazes, Still(), tmp_path))
    assert (result.data["name"], result.data["n"]) == ("maze", 6)
    assert result.data["fingerprint"] != mazes.fingerprint


@pytest.mark.parametrize(
    ("protocol", "words", "given", "message"),
    [
        (
            "maze",
            [],
            Boards(9, 9),
            r"^maze reads mazes, of 4 input symbols and 5 symbols; data x gives boards of 9 x 9 cells, 9",
        ),
        ("maze", [], Boards(9, 6, 4), r"^maze reads mazes, .*; data x gives .*, 6 symbols, 4 of them"),
        ("maze", ["mazes={name: sudoku}"], Boards(9, 5, 4), r"^maze reads mazes, .*; data sudoku gives boards of"),
        ("sudoku", [], Boards(9, 5, 4), r"^sudoku reads Sudoku boards, which have blank cells; data x gives boards"),
        (
            "sudoku",
            ["boards={name: maze}"],
            Boards(9, 9),
            r"^sudoku reads Sudoku boards, .*; data maze gives boards",
        ),
    ],
)
def test_boards_of_the_other_kind_are_one_line_before_anything_loads(protocol, words, given, message) -> None:
    with pytest.raises(UserError, match=message):
        load_protocol(protocol, words).measure.check_spec("data x", given)
