"""Mazes through the whole house: recipe, training, resume, export; and that mazes are no Sudoku."""

import csv

import pytest
from house_files import ROOT
from small_runs import Killed, after_step, assert_same_run, kill

from sslkuramoto.checkpoint import load_encoder, load_head
from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.heads import PerCell
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe, load_recipe
from sslkuramoto.training import train

NAMES = sorted(path.stem for path in (ROOT / "recipes").glob("maze10-*.yaml"))
TINY = ["data.mazes=16", "data.mazes_test=8", "batch_size=8", "epochs=1", "engine.device=cpu", "measure.log_every=1"]
SIZES = ["encoder.channels=16", "encoder.attention_heads=2", "encoder.num_steps=2"]


def recipe(name: str, *changes: str) -> Recipe:
    return load_recipe(ROOT / "recipes" / f"{name}.yaml", [*TINY, *SIZES, *changes])


def test_there_are_the_small_networks_that_are_compared() -> None:
    assert {f"maze10-{name}" for name in ("winfree", "akorn", "transformer")} < set(NAMES)


def test_recipes_of_the_same_mazes_train_on_the_same_ones() -> None:
    sets = [load_recipe(ROOT / "recipes" / f"{name}.yaml").data for name in NAMES]
    assert all(part == sets[0] for part in sets)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_of_a_recipe_leave_a_network_that_answers_mazes(name: str, tmp_path) -> None:
    run = train(recipe(name), tmp_path / "run")
    with run.metrics_file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {"path_precision", "path_recall", "cell_accuracy_blanks"} < set(rows[0])
    encoder, head = load_encoder(run.encoder_file()), load_head(run.head_file())
    assert isinstance(head, PerCell)
    part = run.recipe().data
    mazes = DATA.build(part.name, part.options, "test").puzzles
    assert head(encoder(mazes, draw=generator("cpu", 0)).map).shape == (8, 5, *mazes.shape[1:])


def test_a_run_on_turned_mazes_that_was_stopped_continues_to_the_same_bytes(tmp_path) -> None:
    small = recipe("maze10-winfree", "epochs=2")
    assert small.views.name == "maze_symmetries"
    whole = train(small, tmp_path / "whole").path
    with pytest.raises(Killed), after_step(3, kill):
        train(small, tmp_path / "stopped")
    assert_same_run(train(small, tmp_path / "stopped").path, whole)


def test_the_protocol_of_sudoku_refuses_mazes_in_one_line(tmp_path, capsys) -> None:
    train(recipe("maze10-winfree"), tmp_path / "run")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "sudoku"]) == 2
    said = capsys.readouterr().err
    assert "sudoku reads Sudoku boards, which have blank cells; data maze gives boards of 10 x 10 cells, 5" in said
    assert said.count("\n") == 1


def test_an_exported_network_says_which_symbols_it_reads(tmp_path) -> None:
    train(recipe("maze10-winfree"), tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", "torch"]) == 0
    assert "cells per side; symbols 1 to 4." in (tmp_path / "run" / "export" / "torch" / "README.md").read_text()


def test_every_network_for_boards_has_a_small_maze_recipe() -> None:
    used = {load_recipe(ROOT / "recipes" / f"{name}.yaml").encoder.name for name in NAMES}
    assert used == {name for name in ENCODERS if name.startswith("board_")}
