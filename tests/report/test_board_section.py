"""The section on Sudoku: curves, energies and boards stand on the page; what is damaged is named with its file."""

import json
import re

import pytest
import torch

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.report import Row, page
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.pictures.boards import Board
from sslkuramoto.report.runs import load
from sslkuramoto.report.sections.boards import boards
from sslkuramoto.results import Result


def value(share: float) -> dict[str, float]:
    return {"value": share, "low": share / 2, "high": 1.0}


@pytest.fixture
def details():
    data = DATA.build("sudoku", {"puzzles": 2}, "train")
    wrong = data.solutions[1].clone()
    wrong[(data.puzzles[1] == 0).nonzero()[0].tolist()[0], (data.puzzles[1] == 0).nonzero()[0].tolist()[1]] = 0
    answers = [data.solutions[0], wrong]
    score = {"edges": [-1.0, 0.0, 1.0], "right": [5, 1], "wrong": [1, 3]}
    score["boards"] = [{"index": 3, "values": [0.1, 0.2, 0.9], "right": [1, 1, 0]}]
    return {
        "steps": {"4": {"one draw": value(0.2)}, "16": {"one draw": value(0.4)}},
        "draws": {"one draw": {"1": value(0.4)}, "energy_sum": {"2": value(0.5), "4": value(0.6)}},
        "scores": {"energy_sum": score, "confidence": score},
        "boards": [
            {
                "puzzle": p.tolist(),
                "solution": s.tolist(),
                "answers": {"one draw": a.tolist(), "energy_sum": a.tolist()},
            }
            for p, s, a in zip(data.puzzles, data.solutions, answers, strict=True)
        ],
    }


@pytest.fixture
def run(fabricate):
    def make(found, label="a"):
        return fabricate(label, "cells").result("sudoku-vote", {}, details={"sudoku": found}, kind="sudoku").path

    return make


def shown(path, label="a") -> str:
    return boards([Evidence(label, 0, Result.read(path / "results" / "sudoku-vote.json"))])


def test_curves_energies_boards_and_the_hash_of_the_puzzles_stand_on_the_page(run, details) -> None:
    path = run(details)
    text = shown(path, "<b>")
    assert "<b>" not in text
    for words in (
        "Boards solved against oscillator steps",
        "Boards solved against draws",
        "hash abc",
        "energy_sum: 0 of 10 wrong",
        "energy_sum: 1 of 10 wrong",
        "Sudoku board: 10 blank cells, 1 wrong",
        "energy, summed, right: 6 draws, mean -0.3333",
        "board 3",
    ):
        assert words in text, words
    whole = page([load(Row("a", path))])
    assert ">Sudoku<" in whole
    assert len(re.findall(r'id="([^"]+)"', text)) == len(set(re.findall(r'id="([^"]+)"', text)))


def test_a_result_without_votes_or_curves_shows_its_boards_and_no_empty_picture(run, details) -> None:
    bare = details | {"steps": {}, "scores": {}, "draws": {"one draw": {"1": value(0.4)}}}
    text = shown(run(bare))
    assert "against" not in text
    assert "Sudoku board" in text


def test_other_results_have_no_section_and_damaged_details_are_one_line(fabricate, run, details) -> None:
    other = fabricate("b", "cells").result("boards", {}, kind="boards").path  # of before there was a section
    assert boards([Evidence("b", 0, Result.read(other / "results" / "boards.json"))]) == ""
    for key, broken in (("steps", [1]), ("boards", [{}]), ("draws", {}), ("scores", {"energy_sum": 3})):
        path = run(json.loads(json.dumps(details)) | {key: broken}, key)
        with pytest.raises(UserError, match=r"sudoku-vote\.json: details\.sudoku: not as the protocol leaves it"):
            shown(path)


def test_a_board_counts_its_blank_and_its_wrong_cells() -> None:
    solution = torch.arange(16).view(4, 4).tolist()
    puzzle, answer = [row.copy() for row in solution], [row.copy() for row in solution]
    answer[1][2] = 99
    board = Board(puzzle, solution, answer)
    assert (board.wrong, board.blanks) == ([(1, 2)], 1)


def test_a_wrong_given_cell_is_no_wrong_blank_cell(run, details) -> None:
    found = details["boards"][0]
    (y, x), (v, w), *_ = (torch.tensor(found["puzzle"]) > 0).nonzero().tolist()
    spoilt = torch.tensor(found["solution"])
    spoilt[y, x] = 0
    found["answers"]["energy_sum"] = spoilt.tolist()
    assert Board(found["puzzle"], found["solution"], spoilt.tolist()).wrong_words() == "0 wrong, 1 given cell changed"
    text = shown(run(details, "b"))
    assert "energy_sum: 0 of 10 wrong, 1 given cell changed<" in text
    assert "Sudoku board: 10 blank cells, 0 wrong, 1 given cell changed. Answer" in text
    spoilt[v, w] = 0
    found["answers"]["energy_sum"] = spoilt.tolist()
    forming = {"steps": [1], "boards": [{"answers": [spoilt.tolist()], "shades": [[[50] * 4] * 4]}]}
    text = shown(run(details | {"forming": forming}, "c"))
    assert "energy_sum: 0 of 10 wrong, 2 given cells changed<" in text
    assert "step 1: 0 wrong, 2 given cells changed." in text
