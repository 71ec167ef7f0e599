"""Published mazes: both layouts give the same mazes, and every fault of a file is one line that names the maze."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkuramoto.data import DATA, expected_spec
from sslkuramoto.data.boards.maze_files import INPUTS, LABELS
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.maze_rules import CHARACTERS, FREE, GOAL, START, WALL, characters

SIDE = 9
MADE = {"side": SIDE, "mazes": 6, "mazes_test": 4, "min_path": 5}
HEAD = ["source", "q", "a", "rating"]


def boards(split: str = "train") -> tuple[torch.Tensor, torch.Tensor]:
    data = DATA.build("maze", MADE, split)
    return data.puzzles.clone(), data.solutions.clone()


def arrays(folder: Path, mazes: torch.Tensor, answers: torch.Tensor) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, each in ((INPUTS, mazes), (LABELS, answers)):
        np.save(folder / name, each.flatten(1).numpy().astype(np.uint8))
    return folder


def table(path: Path, mazes: torch.Tensor, answers: torch.Tensor, head: list[str] = HEAD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for maze, answer in zip(mazes, answers, strict=True):
            writer.writerow(["made", *(characters(each).replace("\n", "") for each in (maze, answer)), 7])
    return path.parent


def read(root: Path, split: str = "test", **options):
    return DATA.build("maze_files", {"root": str(root), "side": SIDE, **options}, split)


def test_both_layouts_give_the_mazes_that_were_written(tmp_path) -> None:
    for split in ("train", "test"):
        arrays(tmp_path / "arrays" / split, *boards(split))
        table(tmp_path / "table" / f"{split}.csv", *boards(split))
        found = [read(tmp_path / name, split) for name in ("arrays", "table")]
        for data in found:
            mazes, answers = boards(split)
            assert torch.equal(data.puzzles, mazes)
            assert torch.equal(data.solutions, answers)
            assert data.spec == expected_spec("maze_files", {"root": "", "side": SIDE}) == Boards(SIDE, 5, 4)
            assert data.notes == (f"the answers of {len(mazes)} of {len(mazes)} mazes are shortest paths",)
        assert found[0].fingerprint == found[1].fingerprint
    assert read(tmp_path / "table", "train").fingerprint != found[0].fingerprint


def test_the_published_side_is_the_default() -> None:
    assert expected_spec("maze_files", {"root": ""}) == Boards(30, 5, 4)


def test_two_arrays_for_both_splits_are_divided_where_the_user_says(tmp_path) -> None:
    mazes, answers = boards()
    arrays(tmp_path, mazes, answers)
    assert torch.equal(read(tmp_path, "train", train_mazes=4).puzzles, mazes[:4])
    assert torch.equal(read(tmp_path, train_mazes=4).puzzles, mazes[4:])
    assert len(read(tmp_path, train_mazes=0)) == 6
    with pytest.raises(UserError, match="train_mazes says how many are for training"):
        read(tmp_path)
    with pytest.raises(UserError, match="train_mazes=6: must be below 6, the mazes of"):
        read(tmp_path, train_mazes=6)
    with pytest.raises(UserError, match="train_mazes=0: leaves no mazes for train"):
        read(tmp_path, "train", train_mazes=0)


def test_a_limit_takes_the_first_mazes_of_its_split(tmp_path) -> None:
    for split in ("train", "test"):
        arrays(tmp_path / split, *boards(split))
    assert torch.equal(read(tmp_path, "train", limit=2).puzzles, boards()[0][:2])
    assert len(read(tmp_path, limit=2)) == 4
    assert torch.equal(read(tmp_path, limit_test=3).puzzles, boards("test")[0][:3])
    with pytest.raises(UserError, match=r"limit_test=5: there are only 4 test mazes$"):
        read(tmp_path, limit_test=5)


def test_an_answer_that_is_a_longer_path_is_read_and_told(tmp_path) -> None:
    drawing = ["S  ", "   ", "G  "]
    maze = torch.full((1, SIDE, SIDE), WALL)
    maze[0, :3, :3] = torch.tensor([[1 + CHARACTERS.index(sign) for sign in row] for row in drawing])
    answer = maze.clone()
    answer[0, 0, 1:3] = answer[0, 1, 2] = answer[0, 2, 1:3] = 5
    arrays(tmp_path / "test", maze, answer)
    assert read(tmp_path).notes == ("the answers of 0 of 1 mazes are shortest paths",)


def spoilt(change) -> tuple[torch.Tensor, torch.Tensor]:
    mazes, answers = boards()
    change(mazes, answers)
    return mazes, answers


def wall_in_the_start(mazes, answers) -> None:
    start = (mazes[2] == START).nonzero()[0]
    around = [start + torch.tensor(move) for move in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    for y, x in (cell.tolist() for cell in around):
        if 0 <= y < SIDE and 0 <= x < SIDE:
            mazes[2, y, x] = answers[2, y, x] = WALL


def put(symbol: int, which: int, instead_of: int):
    """Return a change of one cell of maze 2 (which = 0) or of its answer (1)."""

    def change(mazes, answers) -> None:
        board = (mazes, answers)[which][2]
        y, x = (board == instead_of).nonzero()[0].tolist()
        board[y, x] = symbol

    return change


def both(*changes):
    return lambda mazes, answers: [change(mazes, answers) for change in changes]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (wall_in_the_start, "no path leads from the start to the goal"),
        (put(START, 0, FREE), "has 2 cells that are the start; a maze has one"),
        (put(GOAL, 0, FREE), "has 2 cells that are the goal; a maze has one"),
        (put(FREE, 0, GOAL), "has 0 cells that are the goal; a maze has one"),
        (put(FREE, 0, START), "has 0 cells that are the start; a maze has one"),
        (put(5, 0, FREE), r"a cell holds 5, must hold 1 to 4 \('# SG'\): the path is marked in the maze itself"),
        (put(0, 0, FREE), r"a cell holds 0, must hold 1 to 4 \('# SG'\)$"),
        (put(6, 1, FREE), r"a cell holds 6, must hold 1 to 5 \('# SGo'\)$"),
        (put(WALL, 1, FREE), "the label changes the maze"),
        (put(FREE, 1, WALL), "the label changes the maze"),
        (put(FREE, 1, GOAL), "the label changes the maze"),
        (put(FREE, 1, 5), "the label marks no single path from the start to the goal"),
        (both(put(5, 1, FREE), put(5, 1, FREE), put(5, 1, FREE)), "the label marks no single path"),
    ],
)
def test_a_fault_of_a_maze_is_one_line_that_names_it(change, line, tmp_path) -> None:
    arrays(tmp_path / "test", *spoilt(change))
    with pytest.raises(UserError, match=rf"test, maze 2: .*{line}") as caught:
        read(tmp_path)
    assert str(caught.value).isprintable()


def text_of(change) -> str:
    mazes, answers = boards()
    rows = [[characters(each).replace("\n", "") for each in pair] for pair in zip(mazes, answers, strict=True)]
    lines = [["s", *row, "1"] for row in rows]
    change(lines)
    return "\n".join(",".join(line) for line in [HEAD, *lines])


def first_cell(number: int, place: int, sign: str):
    def change(lines) -> None:
        lines[number][place] = sign + lines[number][place][1:]

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (first_cell(1, 1, "x"), r"row 3: 'x': a cell must be one of '# SGo'"),
        (first_cell(0, 2, "\t"), r"row 2: '\\t': a cell must be one of"),
        (lambda lines: lines[2].__setitem__(1, lines[2][1][:-1]), "row 4: a maze of 80 cells, which is no square"),
        (lambda lines: lines[2].__setitem__(2, " " * 100), r"row 4: a maze of 100 cells \(10 x 10: side=10\)"),
        (lambda lines: lines[1].__delitem__(slice(2, 4)), "row 3: has 2 fields of the 4 of the header"),
        (lambda lines: lines.clear(), "holds no mazes"),
    ],
)  # fmt: skip
def test_a_fault_of_a_table_is_one_line_that_names_the_row(change, line, tmp_path) -> None:
    (tmp_path / "test.csv").write_text(text_of(change))
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path)
    assert str(caught.value).isprintable()


def test_a_sign_that_is_not_ascii_is_named_by_row_and_place(tmp_path) -> None:
    lines = text_of(lambda lines: None).splitlines()
    lines[2] = lines[2][:5] + "\u00f6" + lines[2][6:]
    (tmp_path / "test.csv").write_bytes("\n".join(lines).encode("utf-8"))
    with pytest.raises(UserError, match=r"test\.csv, row 3, character 6: is not ASCII"):
        read(tmp_path)


def test_a_number_beyond_int64_is_named_as_it_is_written(tmp_path) -> None:
    folder = arrays(tmp_path / "test", *boards("test"))
    found = np.load(folder / INPUTS).astype(np.uint64)
    found[1, 5] = 2**63 + 2
    np.save(folder / INPUTS, found)
    with pytest.raises(UserError, match=rf"{INPUTS}, maze 1: a cell holds {2**63 + 2}, must hold 1 to 5"):
        read(tmp_path)


def test_a_table_without_the_columns_is_refused(tmp_path) -> None:
    table(tmp_path / "test.csv", *boards("test"), head=["source", "question", "answer", "rating"])
    with pytest.raises(UserError, match="row 1: must be a header with q and a, not 'source,question,answer,rating'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.ones((3, 80), dtype=np.uint8), "a maze of 80 cells, which is no square; side=9 has 81"),
        (np.ones((3, 100), dtype=np.uint8), r"a maze of 100 cells \(10 x 10: side=10\)"),
        (np.ones((3, 9, 9), dtype=np.uint8), r"must be whole numbers \[n, 81\], not uint8 \[3, 9, 9\]"),
        (np.ones((0, 81), dtype=np.uint8), r"not uint8 \[0, 81\]"),
        (np.ones((3, 81)), r"not float64 \[3, 81\]"),
        (np.array([[{}] * 81]), "damaged, or no array: .*allow_pickle=False"),
        (np.ones((3, 81), dtype=np.uint8), f"{INPUTS} holds 3 mazes, {LABELS} 6"),
    ],
)
def test_an_array_of_another_kind_is_one_line(array, line, tmp_path) -> None:
    np.save(arrays(tmp_path / "test", *boards()) / INPUTS, array)
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path)
    assert str(caught.value).isprintable()


def test_a_cut_array_a_zip_of_arrays_and_a_missing_file_are_one_line(tmp_path) -> None:
    file = arrays(tmp_path / "test", *boards()) / LABELS
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.raises(UserError, match="damaged, or no array"):
        read(tmp_path)
    for damaged in (b"", b"PK\x03\x04broken", content[:10] + b"{'descr': (" + content[21:], content[:9]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged, or no array"):
            read(tmp_path)
    np.savez(tmp_path / "zip.npz", a=np.ones(3))
    file.write_bytes((tmp_path / "zip.npz").read_bytes())
    with pytest.raises(UserError, match=r"must be whole numbers \[n, 81\], not several arrays"):
        read(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=rf"{LABELS}: cannot be read"):
        read(tmp_path)
    with pytest.raises(UserError, match=rf"must hold train/{INPUTS} and train/{LABELS}, or train.csv"):
        read(tmp_path, "train")


def test_there_is_no_val_split_and_no_other(tmp_path) -> None:
    with pytest.raises(UserError, match="maze_files has no val mazes, only train, test"):
        read(tmp_path, "val")
    with pytest.raises(UserError, match="split"):
        read(tmp_path, "dev")
