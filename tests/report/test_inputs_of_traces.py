"""What stands before the oscillators in pictures: images, Sudoku boards, and mazes drawn as mazes."""

import json
from html import unescape

import numpy as np
import pytest
import torch

from sslkuramoto.carry_out import carry_out
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.maze_rules import FREE, GOAL, PATH, START, WALL
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import load_recipe, recipe_file
from sslkuramoto.report import Row, page, record_phases
from sslkuramoto.report.pictures.inputs import input_tile, kind_of
from sslkuramoto.report.pictures.mazes import CORRECT, ENDS, WALLS, answer_tile
from sslkuramoto.report.pictures.oscillators import PHASES_FILE, load_phases
from sslkuramoto.report.pictures.tiles import GIVEN, WHITE
from sslkuramoto.report.runs import load
from sslkuramoto.run_directory import RunDirectory


def encoder_of(name: str, **options):
    with borrowed_global(generator("cpu", "weights")):
        return ENCODERS.build(name, {**ENCODERS.small(name), **options}).eval()


@pytest.fixture(scope="module")
def mazes():
    return DATA.build("maze", {"side": 9, "mazes": 3, "mazes_test": 3}, "train")


@pytest.fixture
def run(mazes, tmp_path):
    encoder = encoder_of("board_winfree", side=9, symbols=5, input_symbols=4)
    draw = generator("cpu", "phases")
    record_phases(tmp_path, encoder, mazes.puzzles, 2, draw, answers=mazes.solutions)
    return tmp_path


def test_a_maze_is_drawn_with_its_walls_start_goal_and_path(mazes):
    maze, answer = mazes.puzzles[0], mazes.solutions[0]
    tile = input_tile(maze.float(), answer)
    for symbol, colour in ((WALL, WALLS), (FREE, WHITE), (START, ENDS), (GOAL, ENDS), (PATH, CORRECT)):
        cells = tile.cells[answer.numpy() == symbol]
        assert len(cells)
        assert (cells == colour).all(), symbol
    assert {text for _, _, text, _ in tile.symbols} == {"S", "G"}
    same = answer_tile(maze.numpy(), answer.numpy(), answer.numpy())
    assert np.array_equal(tile.cells, same.cells)


def test_a_sudoku_board_is_drawn_with_its_symbols_and_an_image_as_it_is():
    board = torch.tensor([[0.0, 2.0], [1.0, 0.0]])
    tile = input_tile(board)
    assert [(y, x, text) for y, x, text, _ in tile.symbols] == [(0, 1, "2"), (1, 0, "1")]
    assert tile.cells[0].tolist() == [list(WHITE), list(GIVEN)]
    image = torch.rand(3, 4, 4)
    assert np.array_equal(input_tile(image).cells, (image * 255).round().byte().permute(1, 2, 0).numpy())
    assert [kind_of(each, None) for each in (board[None], image[None])] == ["board", "image"]


def test_a_run_on_mazes_records_their_answers_and_its_page_shows_mazes(run, mazes):
    found = load_phases(run)
    assert found is not None
    assert torch.equal(found.answers.long(), mazes.solutions)
    (run / "metrics.csv").write_text("step,loss\n0,1.0\n")
    text = page([load(Row("mazes", run))])
    assert "Oscillators of 3 mazes" in text
    assert "mean and range over 3 mazes" in text
    about = json.loads(unescape(text.partition('data-about="')[2].partition('"')[0]))
    assert about["boards"] == mazes.solutions.tolist()
    assert about["words"][str(WALL)] == "wall"
    assert about["signs"] == {str(START): "S", str(GOAL): "G", str(PATH): "•"}


def test_training_records_the_answers_of_mazes_and_of_no_other_boards(tmp_path):
    few = ["batch_size=8", "epochs=1", "schedule.warmup_epochs=0", "engine.device=cpu", "encoder.num_steps=1"]
    for name, data, mazes in (
        ("maze10-winfree", ["data.mazes=8", "data.mazes_test=8", "encoder.channels=8"], True),
        ("sudoku4-winfree", ["data.puzzles=8", "data.puzzles_test=8", "encoder.channels=32"], False),
    ):
        run = RunDirectory(tmp_path / name)
        carry_out(load_recipe(recipe_file(name), [*data, *few]), run)
        assert (load_phases(run.path).answers is not None) is mazes


def test_answers_that_do_not_fit_the_mazes_are_one_line(run):
    with np.load(run / PHASES_FILE) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(run / PHASES_FILE, **arrays | {"answers": arrays["answers"][:, 1:]})
    with pytest.raises(UserError, match="do not fit together; delete it and record again"):
        load_phases(run)
