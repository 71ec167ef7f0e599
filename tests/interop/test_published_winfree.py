"""Published Winfree weights in our encoders: what the arguments say, what the shapes say, and what cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_winfree import network, recorded, state
from scripts_by_name import script_named

from sslkuramoto.checkpoint import load_encoder, load_head
from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.interop.published import published
from sslkuramoto.randomness import generator
from sslkuramoto.run_directory import RunDirectory

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded files lie beside the checkout")
FILES = ["winfree_image_attn_mlp", "winfree_image_conv_trig", "winfree_maze", "winfree_sudoku"]
TRIG = {"sensitivity": "cos", "influence": "sin_mlp"}

check_reference = script_named("check_reference")

# published kind and arguments, and the same in ours; sizes and switches that the recorded examples do not have
SWITCHES = [
    ("winfree_image", {"T": 2}, {"layers": 2, "num_steps": 2, "channels": [32, 64]}),
    ("winfree_image", {}, {"layers": 1, "group_size": 3, "hidden_ratio": 1}),
    ("winfree_image", {"T": [3, 1]}, {"layers": 2, "num_steps": [3, 1], "group_size": 1, **TRIG}),
    ("winfree_image", {"heads": 4}, {"layers": 1, "attention_heads": 4, "step_size": 0.3, "channels": 48}),
    ("winfree_image", {}, {"layers": 2, "transition_bias": True, "coupling": ["conv", "attention"], "kernel_size": 5}),
    ("winfree_image", {"data": "imagenet100"}, {"layers": 1, "patch": 4, "group_size": 2}),
    ("winfree_maze", {"T": 3}, {"side": None, "symbols": 5, "input_symbols": 4, "num_steps": 3}),
    ("winfree_maze", {"T": 2}, {"side": None, "symbols": 5, "input_symbols": 4, "num_steps": 2, "layers": 2,
                                "transition_bias": False}),
    ("winfree_sudoku", {"T": 2}, {"side": 8, "symbols": 8, "num_steps": 2, "sensitivity": "mlp", "influence": "mlp"}),
    ("winfree_sudoku", {}, {"side": 8, "symbols": 8, "coupling": "conv", "kernel_size": 5, "layers": 2}),
]  # fmt: skip


@needs_reference
@pytest.mark.parametrize("name", FILES)
def test_recorded_networks_are_met(name) -> None:
    errors, ignored = check_reference.errors_of(REFERENCE / f"{name}.npz")
    assert ignored == []
    assert {"output", "theta/0", "energy/0"} <= set(errors)
    assert max(errors.values()) < 5e-5
    assert errors["output"] < 5e-6


@pytest.mark.parametrize(("kind", "config", "options"), SWITCHES, ids=lambda value: str(value)[:60])
def test_any_size_and_switch_is_read_from_arguments_and_weights(kind, config, options, tmp_path, capsys) -> None:
    encoder, head = network(kind, **options)
    arrays = recorded(kind, encoder, head)
    np.savez(tmp_path / "file.npz", config=json.dumps({"kind": kind, **config}), **arrays)
    assert check_reference.main([str(tmp_path / "file.npz")]) == 0
    layers = len(encoder.layers)
    assert f"largest relative error 0.00e+00 (output, {1 + 2 * layers} arrays) ok" in capsys.readouterr().out
    built = published({"kind": kind, **config}, state(kind, encoder, head)).built
    for name, value in encoder.state_dict().items():
        assert torch.equal(built.encoder.state_dict()[name], value), name
    assert not built.encoder.training


def test_phases_are_compared_on_the_circle(tmp_path) -> None:
    arrays = recorded("winfree_image", *network("winfree_image", layers=1))
    for shift, code in ((2 * np.pi, 0), (0.01, 1)):
        shifted = {**arrays, "theta/0": arrays["theta/0"] + np.float32(shift)}
        np.savez(tmp_path / "file.npz", config=json.dumps({"kind": "winfree_image"}), **shifted)
        assert check_reference.main([str(tmp_path / "file.npz")]) == code


@pytest.mark.parametrize("kind", ["winfree_image", "winfree_maze", "winfree_sudoku"])
def test_weights_tell_their_kind_without_arguments(kind) -> None:
    options = {"winfree_image": {"layers": 1}, "winfree_maze": {"side": None, "symbols": 5, "input_symbols": 4}}
    weights = state(kind, *network(kind, **options.get(kind, {"side": 4, "symbols": 4})))
    assert published({}, weights).kind == kind


def broken(change) -> dict:
    weights = state("winfree_image", *network("winfree_image", layers=2))
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "config", "line"),
    [
        (lambda w: w.pop("out.weight"), {}, "holds no weight 'out.weight'"),
        (lambda w: w.pop("layers.1.2.S.net.0.bias"), {}, r"missing \['layers.1.sensitivity.net.0.bias'\]"),
        (lambda w: w.update({"layers.1.2.extra": torch.ones(1)}), {}, "weight 'layers.1.2.extra': no part of"),
        (lambda w: w.update({"pemb": torch.ones(1)}), {}, "weight 'pemb': no part of"),
        (lambda w: w.update({"conv0.1.bias": torch.ones(16)}), {}, "'conv0.1.bias' differs from 'f_init.1.bias'"),
        (lambda w: w.update({"out.weight": torch.ones(10, 3)}), {}, r"recorded shape \(10, 3\), ours \(10, 16\)"),
        (lambda w: None, {"heads": 3}, "heads=3: "),
        (lambda w: None, {"T": 0}, "num_steps="),
    ],
)
def test_what_is_no_published_winfree_network_is_one_clear_line(change, config, line) -> None:
    with pytest.raises(UserError, match=line):
        published({"kind": "winfree_image", **config}, broken(change))


def test_arguments_that_nothing_reads_and_weights_that_nothing_uses_are_told() -> None:
    weights = state("winfree_sudoku", *network("winfree_sudoku", side=4, symbols=4))
    weights["layers.0.2.i_func.op.0.bias"] = torch.ones(3)
    found = published({"kind": "winfree_sudoku", "drop_path": 0.1}, weights)
    assert found.not_read == ["drop_path"]
    assert found.not_used == ["layers.0.2.i_func.op.0.bias"]


@torch.no_grad()
def test_weights_whose_rotations_pair_halves_are_read_by_an_argument_and_the_assumption_is_told_otherwise() -> None:
    encoder, head = network("winfree_image", layers=1, channels=64)  # 8 heads of 8 channels, two planes a coordinate
    weights = state("winfree_image", encoder, head)
    halves = dict(weights)
    for part in ("weight", "bias"):
        name = f"layers.0.2.coupling.0.W_qkv.{part}"
        rows = weights[name].unflatten(0, (3, 8, 2, 2, 2)).clone()  # parts, heads, coordinates, planes, of a plane
        rows[:2] = rows[:2].transpose(3, 4).clone()
        halves[name] = rows.flatten(0, 4)
    kind = {"kind": "winfree_image"}
    plain = published(kind, weights)
    (line,) = plain.assumed
    assert line.startswith("assumed: rotations of queries and keys pair consecutive channels")
    assert "--config rope_pairs=halves" in line
    stated = published({**kind, "rope_pairs": "halves"}, halves)
    assert stated.assumed == []
    for name, value in encoder.state_dict().items():
        assert torch.equal(plain.built.encoder.state_dict()[name], value), name
        assert torch.equal(stated.built.encoder.state_dict()[name], value), name
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = encoder.sample_initial(x, torch.Generator().manual_seed(0))
    misread = published(kind, halves).built.encoder(x, initial=noise).map
    assert (misread - encoder(x, initial=noise).map).abs().max() > 1e-4
    narrow = state("winfree_image", *network("winfree_image", layers=1, channels=32))  # one plane a coordinate
    assert published(kind, narrow).assumed == []


@torch.no_grad()
def test_an_imported_network_keeps_its_outputs_through_the_run_directory(tmp_path, capsys) -> None:
    encoder, head = network("winfree_image", layers=2)
    torch.save(state("winfree_image", encoder, head), tmp_path / "file.pth")
    words = ["import", "winfree", str(tmp_path / "file.pth"), "--run", str(tmp_path / "run")]
    assert main([*words, "--recipe", "digits-akorn-supervised", "--config", "T=3"]) == 0
    assert "Winfree network for image classification: " in capsys.readouterr().out
    run = RunDirectory(tmp_path / "run")
    assert run.finished
    assert run.recipe().encoder.name == "winfree"
    images = torch.rand(2, 3, 8, 8)
    noise = encoder.sample_initial(images, torch.Generator().manual_seed(0))
    found = load_head(run.head_file())(load_encoder(run.encoder_file())(images, initial=noise).pooled)
    assert torch.equal(found, head(encoder(images, initial=noise).pooled))


@torch.no_grad()
def test_an_imported_network_for_mazes_is_a_run_that_takes_generated_ones(tmp_path) -> None:
    encoder, head = network("winfree_maze", side=None, symbols=5, input_symbols=4, num_steps=2)
    torch.save(state("winfree_maze", encoder, head), tmp_path / "file.pth")
    words = ["import", "winfree", str(tmp_path / "file.pth"), "--run", str(tmp_path / "run")]
    small = ["data.side=9", "data.mazes=4", "data.mazes_test=3", "data.min_path=5"]
    assert main([*words, *small, "--config", "T=2"]) == 0
    run = RunDirectory(tmp_path / "run")
    part = run.recipe().data
    mazes = DATA.build(part.name, part.options, "test").puzzles
    assert mazes.shape == (3, 9, 9)
    noise = encoder.sample_initial(mazes, generator("cpu", 0))
    found = load_head(run.head_file())(load_encoder(run.encoder_file())(mazes, initial=noise).map)
    assert torch.equal(found, head(encoder(mazes, initial=noise).map))


@torch.no_grad()
def test_a_file_of_another_family_is_one_line(tmp_path, capsys) -> None:
    maze = state("winfree_maze", *network("winfree_maze", side=None, symbols=5, input_symbols=4))
    torch.save(maze, tmp_path / "file.pth")
    assert main(["import", "akorn", str(tmp_path / "file.pth"), "--run", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "is a Winfree network for mazes, not of the family akorn; write: sslkuramoto import winfree FILE" in said
    assert not (tmp_path / "run").exists()
