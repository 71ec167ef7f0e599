"""Three published layouts of 9 x 9 boards: what is read, and one line with file and row for each fault."""

import random
from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

from sslkuramoto.data import DATA, expected_spec
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards

N = 6


@pytest.fixture(scope="module")
def made() -> tuple[torch.Tensor, torch.Tensor]:
    data = DATA.build("sudoku", {"side": 9, "puzzles": N}, "train")
    return data.puzzles, data.solutions


def text(board: torch.Tensor, blank: str = "0") -> str:
    return "".join(map(str, board.flatten().tolist())).replace("0", blank)


def rrn(root: Path, lines: list[str]) -> dict[str, str]:
    (root / "test.csv").write_text("\n".join(lines) + "\n")
    return {"root": str(root)}


def lines_of(made, blank: str = "0") -> list[str]:
    return [f"{text(p, blank)},{text(s)}" for p, s in zip(*made, strict=True)]


def satnet(root: Path, made) -> dict[str, object]:
    puzzles, solutions = made
    torch.save(one_hot(puzzles, 10)[..., 1:].float(), root / "features.pt")
    torch.save(one_hot(solutions, 10)[..., 1:].float(), root / "labels.pt")
    return {"root": str(root), "train_boards": 4}


def extreme(root: Path, made) -> dict[str, str]:
    root = root / "extreme"
    root.mkdir(exist_ok=True)
    rows = [f"book,{line},{rating}" for rating, line in enumerate(lines_of(made, "."))]
    (root / "test.csv").write_text("\n".join(["source,question,answer,rating", *rows]))
    return {"root": str(root)}


def test_the_three_layouts_give_the_boards_that_were_written(made, tmp_path: Path) -> None:
    puzzles, solutions = made
    for name, options, part in (
        ("sudoku_rrn", rrn(tmp_path, lines_of(made)), slice(N)),
        ("sudoku_satnet", satnet(tmp_path, made), slice(4, N)),
        ("sudoku_extreme", extreme(tmp_path, made), slice(N)),
    ):
        assert expected_spec(name, options) == Boards(9, 9)
        data = DATA.build(name, options, "test")
        assert data.spec == Boards(9, 9)
        assert torch.equal(data.puzzles, puzzles[part])
        assert torch.equal(data.solutions, solutions[part])
        assert data.notes == (f"{len(data)} of {len(data)} puzzles were solved: each of these has one solution",)
    assert torch.equal(DATA.build("sudoku_satnet", satnet(tmp_path, made), "train").puzzles, puzzles[:4])


def test_limits_take_the_first_boards_and_the_number_of_solved_puzzles_is_an_option(made, tmp_path: Path) -> None:
    for name, write in (
        ("sudoku_rrn", lambda: rrn(tmp_path, lines_of(made))),
        ("sudoku_extreme", lambda: extreme(tmp_path, made)),
    ):
        data = DATA.build(name, {**write(), "limit_test": 3, "limit": 1, "unique": 2}, "test")
        assert torch.equal(data.puzzles, made[0][:3])
        assert data.notes[0].startswith("2 of 3 puzzles")
    data = DATA.build("sudoku_satnet", {**satnet(tmp_path, made), "limit": 1, "unique": 0}, "train")
    assert torch.equal(data.solutions, made[1][:1])
    assert data.notes[0].startswith("0 of 1 puzzles")


def test_a_limit_beyond_the_boards_of_a_file_is_one_line(made, tmp_path: Path) -> None:
    for name, write, most in (
        ("sudoku_rrn", lambda: rrn(tmp_path, lines_of(made)), N),
        ("sudoku_extreme", lambda: extreme(tmp_path, made), N),
        ("sudoku_satnet", lambda: satnet(tmp_path, made), N - 4),
    ):
        assert len(DATA.build(name, {**write(), "limit_test": most}, "test")) == most
        message = rf"limit_test={most + 1}: there are only {most} test boards$"
        with pytest.raises(UserError, match=message):
            DATA.build(name, {**write(), "limit_test": most + 1}, "test")
    with pytest.raises(UserError, match=r"limit=5: there are only 4 train boards$"):
        DATA.build("sudoku_satnet", {**satnet(tmp_path, made), "limit": 5}, "train")


def test_a_puzzle_without_a_blank_cell_is_one_line(made, tmp_path: Path) -> None:
    solved = text(made[1][0])
    with pytest.raises(UserError, match=r"test\.csv, row 2: the puzzle has no blank cell, so that nothing is to be"):
        DATA.build("sudoku_rrn", rrn(tmp_path, [lines_of(made)[0], f"{solved},{solved}"]), "test")


def test_the_splits_of_rrn_are_its_three_files_and_other_layouts_have_no_val(made, tmp_path: Path) -> None:
    for place, name in enumerate(("train.csv", "valid.csv")):
        (tmp_path / name).write_text(lines_of(made)[place])
    for place, split in enumerate(("train", "val")):
        assert torch.equal(DATA.build("sudoku_rrn", {"root": str(tmp_path)}, split).puzzles, made[0][place : place + 1])
    for name in ("sudoku_satnet", "sudoku_extreme"):
        with pytest.raises(UserError, match=f"{name} has no val boards, only train, test"):
            DATA.build(name, {"root": str(tmp_path)}, "val")
    with pytest.raises(UserError, match=r"test\.csv: (no such file|does not exist|cannot be read)"):
        DATA.build("sudoku_rrn", {"root": str(tmp_path)}, "test")


def spoilt(made, fault: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Spoil the third board."""
    puzzles, solutions = (each.clone() for each in made)
    puzzle, solution = puzzles[2].flatten(), solutions[2].flatten()
    blank, given = ((puzzle == 0).nonzero()[0], (puzzle > 0).nonzero()[0])
    if fault == "contradict":
        row = solution.view(9, 9)[0]
        puzzle[0] = puzzle[1] = row[0]
        solution[1] = row[0]
    elif fault == "breaks":
        solution[blank] = solution[blank] % 9 + 1
    elif fault == "changes":
        puzzle.mul_(0)
        puzzle[given] = solution[given] % 9 + 1
    elif fault == "none":
        puzzle.mul_(0)
        puzzle[:8] = torch.arange(1, 9)
        puzzle[17] = 9  # no symbol is left for the ninth cell
    elif fault == "two":
        puzzle.mul_(0)
    return puzzles, solutions


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("contradict", r"givens contradict each other \(a row, column or box holds two\)$"),
        ("breaks", "the answer breaks the rules$"),
        ("changes", "the answer changes a given cell$"),
        ("none", "the puzzle has no solution$"),
        ("two", "the puzzle has more than one solution$"),
    ],
)
def test_a_wrong_board_is_one_line_with_its_file_and_row(made, fault: str, message: str, tmp_path: Path) -> None:
    wrong = spoilt(made, fault)
    for name, options, where in (
        ("sudoku_rrn", rrn(tmp_path, lines_of(wrong)), r"test\.csv, row 3: "),
        ("sudoku_extreme", extreme(tmp_path, wrong), r"test\.csv, row 4: "),
        ("sudoku_satnet", {**satnet(tmp_path, wrong), "train_boards": 1}, r"features\.pt, board 2: "),
    ):
        with pytest.raises(UserError, match=where + message):
            DATA.build(name, options, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: line[1:], "row 2: must be a puzzle and an answer of 81 characters each, not 80 and 81"),
        (lambda line: line[:81], "row 2: must be a puzzle and an answer of 81 characters each, not 81"),
        (lambda line: "x" + line[1:], "row 2: 'x': a cell must be 1 to 9, or 0 or a point for a blank one"),
        (lambda line: line[:-1] + "/", "row 2: '/': a cell must be"),
        (lambda line: line[:-1] + "0", "row 2: the answer breaks the rules"),
        (lambda line: line + ",1", "row 2: must be a puzzle and an answer of 81 characters each, not 81 and 81 and 1"),
        (lambda line: line[:-1] + "\u0661", r"row 2, character 163: is not ASCII"),
    ],
)
def test_a_wrong_line_is_one_line_with_its_row(made, change, message: str, tmp_path: Path) -> None:
    lines = lines_of(made)
    lines[1] = change(lines[1])
    with pytest.raises(UserError, match=message):
        DATA.build("sudoku_rrn", rrn(tmp_path, lines), "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no boards"),
        ("source,question,answer,rating\n", "holds no boards"),
        ("question,reply\n", "row 1: must be a header with question and answer, not 'question,reply'"),
        ("source,question,answer,rating\nbook,1\n", "row 2: has 2 fields of the 4 of the header"),
    ],
)
def test_a_wrong_header_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        DATA.build("sudoku_extreme", {"root": str(tmp_path)}, "test")


def test_what_is_no_tensor_of_one_hot_boards_is_one_line_and_no_code_runs(made, tmp_path: Path) -> None:
    options = satnet(tmp_path, made)
    features = torch.load(tmp_path / "features.pt")
    for content, message in (
        (features[:, :8], r"features\.pt: must be one tensor \[n, 9, 9, 9\], not \[6, 8, 9, 9\]"),
        ({"a": 1}, r"features\.pt: must be one tensor \[n, 9, 9, 9\], not dict"),
        (features + 1, r"features\.pt, board 0: a cell must hold one 1, or zeros if it is blank"),
        (features * 0.5, r"features\.pt, board 0: a cell must hold one 1"),
        (features[:5], r"features\.pt holds 5 boards, labels\.pt 6"),
        (features.to(torch.complex64) * 1j, r"features\.pt, board 0: a cell must hold one 1"),
        (features.to_sparse(), r"features\.pt: is no plain tensor"),
        (torch.zeros(1).expand(2**33, 9, 9, 9), r"features\.pt: is no plain tensor that stores all of its numbers"),
        (random.Random(0), r"features\.pt: damaged, or holds more than tensors .* could run its author's code"),
    ):
        torch.save(content, tmp_path / "features.pt")
        with pytest.raises(UserError, match=message):
            DATA.build("sudoku_satnet", options, "test")
    torch.save(features, tmp_path / "features.pt")
    with pytest.raises(UserError, match="train_boards=6: must be below 6"):
        DATA.build("sudoku_satnet", {**options, "train_boards": 6}, "test")
    (tmp_path / "features.pt").write_bytes(b"no tensor")
    with pytest.raises(UserError, match=r"features\.pt: damaged, or holds more than tensors"):
        DATA.build("sudoku_satnet", options, "test")


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_one_hot_boards_are_read_whatever_the_type_of_their_numbers(made, tmp_path: Path, dtype) -> None:
    options = satnet(tmp_path, made)
    as_floats = DATA.build("sudoku_satnet", options, "test")
    torch.save(torch.load(tmp_path / "features.pt").to(dtype), tmp_path / "features.pt")
    assert torch.equal(DATA.build("sudoku_satnet", options, "test").puzzles, as_floats.puzzles)
