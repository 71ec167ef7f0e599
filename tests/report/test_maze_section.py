"""The section on mazes: curves, energies, answers and forming paths stand on the page; damage is named."""

import re

import numpy as np
import pytest

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.maze_rules import FREE, PATH, WALL
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.pictures.mazes import ENDS, MISSING, THROUGH_WALL, MazeAnswer, answer_tile, ground, shade_tile
from sslkuramoto.report.pictures.tiles import CORRECT, WRONG, mixed
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.epochs import curves_of
from sslkuramoto.report.sections.mazes import mazes
from sslkuramoto.results import Result


def value(share: float) -> dict[str, float]:
    return {"value": share, "low": share / 2, "high": 1.0}


@pytest.fixture(scope="module")
def data():
    return DATA.build("maze", {"side": 9, "mazes": 2, "density": 0.2}, "train")


def spoilt(data, place: int):
    """Return an answer that leaves out a path cell and marks a wall and a free cell."""
    maze, answer = data.puzzles[place], data.solutions[place].clone()
    cells = [
        (answer == PATH).nonzero()[0],
        (maze == WALL).nonzero()[0],
        ((maze == FREE) & (answer != PATH)).nonzero()[0],
    ]
    for (y, x), symbol in zip(cells, (FREE, PATH, PATH), strict=True):
        answer[y, x] = symbol
    return answer


@pytest.fixture
def details(data):
    score = {"edges": [-1.0, 0.0, 1.0], "right": [5, 1], "wrong": [1, 3]}
    score["boards"] = [{"index": 3, "values": [0.1, 0.2, 0.9], "right": [1, 1, 0]}]
    curves = {
        "steps": {"4": {"one draw": value(0.2)}, "16": {"one draw": value(0.4)}},
        "draws": {"one draw": {"1": value(0.4)}, "energy_last": {"2": value(0.5), "4": value(0.6)}},
        "scores": {"energy_last": score},
    }
    answers = [data.solutions[0], spoilt(data, 1)]
    shade = (data.solutions[0] == PATH).int() * 80
    return {
        **curves,
        "of": "exact",
        "others": {"valid": curves, "optimal": curves},
        "boards": [
            {
                "puzzle": p.tolist(),
                "solution": s.tolist(),
                "answers": {"one draw": p.tolist(), "energy_last": a.tolist()},
            }
            for p, s, a in zip(data.puzzles, data.solutions, answers, strict=True)
        ],
        "forming": {
            "steps": [1, 3],
            "boards": [
                {"answers": [data.puzzles[0].tolist(), data.solutions[0].tolist()], "shades": [shade.tolist()] * 2}
            ],
        },
    }


@pytest.fixture
def run(fabricate):
    def make(found, label="a"):
        return fabricate(label, "cells").result("maze-vote", {}, details={"maze": found}, kind="maze").path

    return make


def shown(path, label="a") -> str:
    return mazes([Evidence(label, 0, Result.read(path / "results" / "maze-vote.json"))])


def test_curves_energies_answers_and_the_hash_of_the_mazes_stand_on_the_page(run, details, data) -> None:
    path = run(details)
    text = shown(path, "<b>")
    assert "<b>" not in text
    length = int((data.solutions[0] == PATH).sum())
    for words in (
        *(f"{title} against oscillator steps" for title in ("Exact answers", "Valid paths", "Shortest paths")),
        *(f"{title} against draws" for title in ("Exact answers", "Valid paths", "Shortest paths")),
        "hash abc",
        "energy_last: exact",
        "energy_last: no valid path",
        "besides 1 free cells and 1 walls",
        "Shortest paths: energies of right and wrong draws",
        f"step 1: no valid path, 0 of {length} path cells, 0 others; step 3: exact, {length} of {length} path cells",
        "energy, last, right: 6 draws, mean -0.3333",
    ):
        assert words in text, words
    assert len(re.findall(r'id="([^"]+)"', text)) == len(set(re.findall(r'id="([^"]+)"', text)))
    assert ">Mazes<" in page([load(Row("a", path))])


def test_every_picture_says_in_words_what_it_shows(run, details) -> None:
    drawn = re.findall(r"<svg.*?>", shown(run(details)), flags=re.DOTALL)
    pictures = [picture for picture in drawn if "swatch" not in picture]
    assert len(pictures) >= 12
    assert all(re.search(r'aria-label="[^"]{20,}"', picture) for picture in pictures)


def test_a_result_without_votes_curves_or_steps_shows_its_mazes_and_no_empty_picture(run, details) -> None:
    bare = {"steps": {}, "scores": {}, "draws": {"one draw": {"1": value(0.4)}}}
    whole = {**bare, "of": "exact", "others": {"valid": bare, "optimal": bare}, "boards": details["boards"]}
    text = shown(run(whole))
    assert "against" not in text
    assert "over the steps" not in text
    assert "Maze of side 9" in text


def test_other_results_have_no_section_and_damaged_details_are_one_line(fabricate, run, details) -> None:
    other = fabricate("b", "cells").result("sudoku", {}, kind="sudoku").path
    assert mazes([Evidence("b", 0, Result.read(other / "results" / "sudoku.json"))]) == ""
    board, forming = details["boards"][0], details["forming"]
    bare = {"steps": {}, "scores": {}, "draws": {"one draw": {"1": value(0.4)}}}  # no curve: little is drawn
    few = {
        **bare,
        "draws": {"one draw": {"1": value(0.4), "2": value(0.4)}},
        "of": "exact",
        "others": {"valid": bare, "optimal": bare},
        "boards": [board],
    }
    shown(run(few, "few"))
    for key, broken in (
        ("steps", [1]),
        ("boards", [{}]),
        ("boards", [{**board, "puzzle": [[1, 2], [3]]}]),
        ("boards", [{**board, "puzzle": board["puzzle"][1:]}]),
        ("boards", [{**board, "answers": {"one draw": [[99] * 9] * 9}}]),
        ("of", "fast"),
        ("others", {"valid": 3}),
        ("scores", {"energy_sum": 3}),
        ("forming", {"steps": [1], "boards": [{"answers": [], "shades": []}]}),
        ("forming", {**forming, "boards": [{"answers": board["puzzle"], "shades": [[[1]]]}]}),
        ("forming", [1]),
    ):
        path = run(few | {key: broken}, f"{key}-{len(str(broken))}")
        with pytest.raises(UserError, match=r"maze-vote\.json: details\.maze: not as the protocol leaves it"):
            shown(path)


def test_an_answer_has_a_verdict_and_counts_its_cells(data) -> None:
    maze, solution = data.puzzles[1], data.solutions[1]
    length = int((solution == PATH).sum())
    exact = MazeAnswer(maze.tolist(), solution.tolist(), solution.tolist())
    assert (exact.verdict, exact.counts) == ("exact", (length, length, 0, 0))
    wrong = MazeAnswer(maze.tolist(), solution.tolist(), spoilt(data, 1).tolist())
    assert (wrong.verdict, wrong.counts) == ("no valid path", (length, length - 1, 1, 1))
    ring = [[3, 2, 2], [5, 1, 2], [4, 2, 2]]
    round_about = [[3, 5, 5], [2, 1, 5], [4, 5, 5]]
    longer = MazeAnswer([[3, 2, 2], [2, 1, 2], [4, 2, 2]], ring, round_about)
    assert longer.verdict == "valid, not shortest"
    square = [[3, 2, 1], [2, 4, 1], [1, 1, 1]]
    other = MazeAnswer(square, [[3, 5, 1], [2, 4, 1], [1, 1, 1]], [[3, 2, 1], [5, 4, 1], [1, 1, 1]])
    assert other.verdict == "valid and shortest, another path than in the data"


def test_each_cell_has_the_colour_of_what_the_answer_says_of_it(data) -> None:
    maze, solution, answer = (board.numpy() for board in (data.puzzles[1], data.solutions[1], spoilt(data, 1)))
    tile = answer_tile(maze, solution, answer)
    plain = ground(maze)
    for (y, x), symbol in np.ndenumerate(answer):
        wanted = plain[y, x]
        if maze[y, x] in (3, 4):
            wanted = ENDS
        elif symbol == PATH:
            wanted = CORRECT if solution[y, x] == PATH else THROUGH_WALL if maze[y, x] == WALL else WRONG
        elif solution[y, x] == PATH:
            wanted = MISSING
        assert tuple(tile.cells[y, x]) == tuple(wanted)
    assert sorted(text for _, _, text, _ in tile.symbols) == ["G", "S"]


def test_a_cell_is_the_bluer_the_more_probable_the_path_is_there() -> None:
    maze = np.full((2, 2), FREE)
    cells = shade_tile(maze, np.array([[0.0, 50.0], [100.0, 100.0]])).cells
    assert tuple(cells[0, 0]) == tuple(ground(maze)[0, 0])
    assert tuple(cells[1, 0]) == CORRECT
    half = mixed(ground(maze), CORRECT, np.full((2, 2), 0.5))
    assert tuple(cells[0, 1]) == tuple(half[0, 1])


def test_exact_mazes_and_the_mean_energy_are_drawn_against_the_epochs_of_training(fabricate, metric) -> None:
    """Figure 8 of WONN."""
    run = fabricate("a", "cells")
    for epoch, exact, energy in ((1, 0.1, 5.0), (2, 0.4, -3.0)):
        encoder = {"sha256": f"{epoch}", "stochastic": True, "initial": "random", "weights": "ema", "checkpoint": epoch}
        metrics = {"exact": metric(exact), "energy_last": metric(energy, unit="energy")}
        run.result(f"maze+checkpoint={epoch}", metrics, encoder=encoder, kind="maze", described_by="maze")
    model = load(Row("a", run.path))
    shares, energies = curves_of("a", next(iter(model.parts.values())))
    assert (shares.unit, shares.x, shares.series) == ("fraction", (1.0, 2.0), {"exact": (0.1, 0.4)})
    assert (energies.unit, energies.series) == ("energy", {"energy_last": (5.0, -3.0)})
    assert "maze against epochs, energy_last" in page([model])
