"""What a training leaves for the pictures, for networks of every kind: oscillators on images, patches, boards, none."""

import re

import pytest
import torch
from small_runs import small

from sslkuramoto.carry_out import carry_out
from sslkuramoto.data import DATA
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.randomness import generator
from sslkuramoto.report import Row, page, record_phases
from sslkuramoto.report.pictures.oscillators import load_phases
from sslkuramoto.report.runs import load
from sslkuramoto.run_directory import RunDirectory

DIGITS = {"name": "digits", "limit": 48, "size": 16}
PATCHES = {"image_size": 16, "patch": 4, "channels": 16, "attention_heads": 2, "num_steps": 2}


def trained(path, **encoder):
    carry_out(small(data=DIGITS, encoder=encoder, epochs=1), RunDirectory(path))
    return path


@pytest.mark.parametrize("n", [2, 4])
def test_patches_of_oscillators_are_kept_and_shown(tmp_path, n):
    run = trained(tmp_path / "run", name="patch_akorn", oscillator_dim=n, **PATCHES)
    layers, dim, images, _ = load_phases(run)
    assert (dim, images.shape) == (n, (3, 3, 16, 16))
    assert layers[0].states.shape == (2, 3, 16, 4, 4)
    text = page([load(Row("run", run))])
    assert 'class="dynamics"' in text
    assert f"Oscillators (N = {n}) after each oscillator step." in text
    assert "Order parameter after each step" in text
    assert ("Phases of all oscillators" in text) is (n == 2)
    assert (re.search("the phases of the last layer have (no )?two peaks", text.lower()) is not None) is (n == 2)


def test_a_twin_without_oscillators_keeps_views_and_its_page_is_silent_about_phases(tmp_path):
    run = trained(tmp_path / "run", name="iterative", **PATCHES)
    assert [file.name for file in (run / "pictures").iterdir()] == ["views.npz"]
    text = page([load(Row("run", run))])
    assert "Views of the training images" in text
    for word in ("scillators", "oscillator step", 'class="dynamics"', "Order parameter"):
        assert word not in text.split("<main>")[1].split("<h2>Recipes")[0], word


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_boards_are_kept_as_symbols_and_shown_for_every_n(tmp_path, n):
    free = {"natural_frequency": "none"} if n % 2 else {}
    encoder = ENCODERS.build(
        "board_akorn",
        {"side": 4, "symbols": 4, "channels": 12, "oscillator_dim": n, "num_steps": 12, "attention_heads": 2}
        | {"positions": "none", "project": n > 1, **free},
    )
    assert isinstance(encoder, Encoder)
    boards = DATA.build("sudoku", {"side": 4, "puzzles": 8, "puzzles_test": 4, "givens": 8}, "train")
    inputs = next(iter(boards.batches([torch.arange(5)], torch.device("cpu"), 0))).inputs
    (tmp_path / "recipe.yaml").write_text("encoder: {name: board_akorn}\nobjective: {name: cells}\n")
    record_phases(tmp_path, encoder, inputs, n, generator("cpu", 0))
    layers, dim, kept, _ = load_phases(tmp_path)
    assert (dim, len(layers)) == (n, 1)
    assert torch.equal(kept.long(), inputs[:3])
    text = page([load(Row("run", tmp_path))])
    assert ">board 3<" in text
    assert ">step 12<" in text
    assert ">step 2<" not in text, "of twelve steps eight have a column"
    assert text.count("mean and range over 3 boards") == 2


def test_pairs_are_no_grid_of_oscillators_and_leave_no_pictures(tmp_path):
    """The protocol relations keeps the phases of a few pairs instead."""
    parts = {
        "data": {"name": "same-different", "size": 16, "pairs": 32, "pairs_test": 8},
        "views": {"name": "unchanged"},
        "encoder": {"name": "relational", "size": 16, "channels": 4, "hidden": 8, "dimensions": 4, "num_steps": 2},
        "objective": {"name": "classification"},
        "measure": {"stop_on_collapse": 0.0},  # coherences may well agree
    }
    carry_out(small(**parts, epochs=1), RunDirectory(tmp_path / "run"))
    assert not list((tmp_path / "run").glob("pictures/*"))
    assert "What the network sees" not in page([load(Row("run", tmp_path / "run"))])
