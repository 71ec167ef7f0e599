"""Published checkpoints become finished runs with the same outputs; what does not fit is one line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from published_akorn import network, state

from sslkuramoto.checkpoint import load_encoder, load_head
from sslkuramoto.cli import main
from sslkuramoto.encoders import PatchAKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.heads import taken
from sslkuramoto.interop.import_run import weights_of
from sslkuramoto.interop.published import published
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.run_directory import RunDirectory

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded files lie beside the checkout")
SMALL = ["--recipe", "digits-akorn-supervised"]


def imported(file: Path, run: Path, *words: str) -> None:
    assert main(["import", "akorn", str(file), "--run", str(run), *words]) == 0


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return state(*network(kernel_sizes=(3, 3), num_steps=2))


@pytest.fixture
def file(weights, tmp_path) -> Path:
    torch.save(weights, tmp_path / "published.pth")
    return tmp_path / "published.pth"


@needs_reference
@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("akorn_conv_n2", "digits-akorn-supervised"),
        ("akorn_mix_n4", "digits-akorn-supervised"),
        ("akorn_objects_attn", "digits-akorn-simsiam"),
        ("akorn_objects_conv", "digits-akorn-simsiam"),
        ("akorn_sudoku", "sudoku9-akorn"),
    ],
)
@torch.no_grad()
def test_a_recorded_network_keeps_its_outputs_through_the_run_directory(name, recipe, tmp_path):
    with np.load(REFERENCE / f"{name}.npz") as recorded:
        arrays = {key: recorded[key] for key in recorded.files}
    published = {key[6:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("state/")}
    config = json.loads(str(arrays["config"]))
    torch.save(published, tmp_path / "file.pth")
    words = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    few = ["data.puzzles=4"] if config["kind"] == "sudoku" else []
    imported(tmp_path / "file.pth", tmp_path / "run", *few, "--recipe", recipe, "--config", *words)
    run = RunDirectory(tmp_path / "run")
    assert run.finished
    encoder = load_encoder(run.encoder_file())
    if "input/image" in arrays:
        inputs = torch.from_numpy(arrays["input/image"])
    else:
        onehot, given = (torch.from_numpy(arrays[f"input/{key}"]) for key in ("board_onehot", "is_input"))
        inputs = (onehot.argmax(-1) + 1) * (given[..., 0] > 0)
    features = encoder(inputs, initial=torch.from_numpy(arrays["noise"]), trace=True)
    last = torch.from_numpy(arrays[f"x/{len(features.trace) - 1}"])
    torch.testing.assert_close(features.trace[-1].states, last, rtol=1e-5, atol=1e-5)
    if config["kind"] == "object_discovery":
        assert not run.head_file().exists()  # it served training alone
        return
    head = load_head(run.head_file())
    output = head(taken(head, features.pooled, features.map))
    wanted = torch.from_numpy(arrays["output"])
    wanted = wanted.permute(0, 3, 1, 2) if config["kind"] == "sudoku" else wanted
    torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)


def test_averaged_weights_are_the_run_and_the_last_ones_stand_beside(weights, tmp_path):
    moved = {name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}
    averaged = {f"ema_model.{name}": value for name, value in weights.items()}
    online = {f"online_model.{name}": value for name, value in moved.items()}
    content = {"model_state_dict": {**averaged, **online, "step": torch.tensor(7), "initted": torch.tensor(True)}}
    torch.save(content, tmp_path / "ema.pth")
    imported(tmp_path / "ema.pth", tmp_path / "run", *SMALL, "--config", "n=2", "T=2")
    run = RunDirectory(tmp_path / "run")
    stem = [load_encoder(run.encoder_file(kind)).stem.weight for kind in ("ema", "raw")]
    assert torch.equal(stem[0], weights["conv0.weight"])
    assert torch.equal(stem[1], weights["conv0.weight"] + 1)


def test_a_run_that_was_imported_is_measured_and_reported(file, tmp_path, capsys):
    imported(file, tmp_path / "run", *SMALL, "data.limit=40", "data.limit_test=20", "--config", "n=2", "T=2")
    assert "measure it with" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), "clean"]) == 0
    assert main(["report", str(tmp_path / "run"), "--html", str(tmp_path / "page.html")]) == 0
    origin = json.loads((tmp_path / "run" / "environment.json").read_text())["imported"]
    assert origin["file"] == "published.pth"
    assert origin["arguments"] == {"n": 2, "T": 2}
    assert len(origin["sha256"]) == 64


def test_an_import_leaves_the_pictures_that_a_training_leaves(file, tmp_path):
    imported(file, tmp_path / "run", *SMALL, "data.limit=40", "data.limit_test=20", "--config", "n=2", "T=2")
    assert {path.name for path in (tmp_path / "run" / "pictures").iterdir()} == {"phases.npz", "views.npz"}
    with np.load(tmp_path / "run" / "pictures" / "phases.npz") as kept:
        steps = next(kept[name] for name in kept.files if "energ" in name)
    assert steps.size


def test_an_import_without_the_data_is_whole_and_says_in_one_line_that_it_has_no_pictures(file, tmp_path, capsys):
    words = ["--recipe", "cifar10-akorn-supervised", f"data.root={tmp_path}", "--config", "n=2", "T=2"]
    imported(file, tmp_path / "run", *words)
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"{tmp_path / 'run'}: no pictures for the report: ")
    assert "a finished run" in said.out
    assert RunDirectory(tmp_path / "run").finished
    assert not (tmp_path / "run" / "pictures").exists()


class Harmful:
    """Unpickling it would write a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


def test_a_checkpoint_that_holds_code_is_refused_and_its_code_is_not_run(weights, tmp_path, capsys):
    torch.save({"state_dict": weights, "extra": Harmful(tmp_path / "harmed")}, tmp_path / "bad.pth")
    assert main(["import", "akorn", str(tmp_path / "bad.pth"), "--run", str(tmp_path / "run"), *SMALL]) == 2
    assert "could run its author's code" in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["import", "akron", "FILE", "--run", "RUN"], "akron"),
        (["import", "akorn", "NONE", "--run", "RUN"], "no such file"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "kind=sudoku"], "holds no weight"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "kind=mazes"], "unknown kind 'mazes'"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "n"], "--config n: is written KEY=VALUE"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "n=3"], "divisible by oscillator_dim=3"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "n=two"], "n='two': must be a whole number"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "T=2.5"], "T=2.5: must be a whole number"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "T=[]"], "T=[]: must be a whole number"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "T=010"], "a number does not begin with 0"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "T=2024-13-45"], "T=2024-13-45: the value"),
        (["import", "akorn", "FILE", "--run", "RUN", *SMALL, "--config", "proj=maybe"], "proj='maybe': must be true"),
        (["import", "akorn", "FILE", "--run", ".", *SMALL], "exists; an import needs a new directory"),
        (["import", "akorn", "FILE", "--run", "RUN", "--recipe", "sudoku9-akorn", "--config", "n=2"], "reads images"),
    ],
)
def test_what_cannot_be_imported_ends_in_one_line_and_leaves_nothing(words, line, file, tmp_path, capsys):
    places = {"FILE": str(file), "NONE": str(tmp_path / "none.pth"), "RUN": str(tmp_path / "run")}
    assert main([places.get(word, word) for word in words]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint at all", b"\x80\x04."])
def test_damaged_files_are_one_line(content, tmp_path):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth: (damaged|cannot be read)"):
        weights_of(tmp_path / "file.pth")


def test_weights_of_another_network_are_one_line(tmp_path, capsys):
    torch.save({"conv1.weight": torch.ones(2, 3, 3, 3)}, tmp_path / "resnet.pth")
    assert main(["import", "akorn", str(tmp_path / "resnet.pth"), "--run", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert "resnet.pth: holds none of conv0.weight, patchfy.1.weight, embedding.weight" in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_published_argument_that_nothing_describes_is_told(tmp_path):
    with borrowed_global(generator("cpu", "weights")):
        encoder = PatchAKOrN(image_size=8, patch=4, channels=8, attention_heads=2, positions="none", num_steps=2)
    blocks = {
        "layers.0.coupling.to_qkv.": "layers.0.0.connectivity.W_qkv.",
        "layers.0.coupling.to_out.": "layers.0.0.connectivity.W_o.",
        "layers.0.norm.": "layers.0.0.c_norm.",
        "readouts.0.0.project.": "layers.0.1.invconv.",
        "readouts.0.0.offset": "layers.0.1.bias",
        "stem.": "patchfy.1.",
    }
    weights = {}
    for name, value in encoder.state_dict().items():
        start = next(start for start in blocks if name.startswith(start))
        weights[blocks[start] + name.removeprefix(start)] = value
    config = {"imsize": 8, "heads": 2, "T": 2, "fixed_ptb": True}
    found = published(config, weights)
    assert found.not_read == ["fixed_ptb"]
    assert found.built.head is None
    images = torch.rand(2, 3, 8, 8, generator=generator("cpu", "images"))
    noise = encoder.sample_initial(images, generator("cpu", "noise"))
    with torch.no_grad():
        assert torch.equal(found.built.encoder(images, initial=noise).map, encoder.eval()(images, initial=noise).map)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"conv0.weight": torch.zeros(1).expand(2**40, 3, 3, 3)}, "conv0.weight: is no plain tensor that stores all"),
        ({"conv0.weight": torch.zeros(2**20, 0, 3, 3)}, r"conv0.weight of shape \(1048576, 0, 3, 3\): holds no number"),
        ({"conv0.weight": torch.zeros(2**20, 1, 1, 1)}, "recorded shape|does not fit"),  # no memory for 2**20 channels
        ({"conv0.weight": torch.tensor(1.0)}, r"conv0.weight of shape \(\): must have 4 dimensions"),
        ({"layers.0.2.connectivity.weight": torch.ones(3)}, r"connectivity.weight of shape \(3,\): must have 4"),
        ({"layers.0.3.0.bias": torch.ones(0)}, r"layers.0.3.0.bias of shape \(0,\): holds no number"),
        ({"gamma": torch.ones(2)}, r"gamma of shape \(2,\): must be one number"),
        ({f"layers.{'9' * 5000}.x": torch.ones(1)}, "no part of a published"),
    ],
)
def test_weights_of_odd_shapes_are_one_line_and_take_no_memory(change, line, weights, tmp_path, capsys):
    torch.save({**weights, **change}, tmp_path / "odd.pth")
    assert main(["import", "akorn", str(tmp_path / "odd.pth"), "--run", str(tmp_path / "run"), *SMALL]) == 2
    said = capsys.readouterr().err
    assert re.search(line, said)
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_mapping_within_itself_is_no_state_dict(tmp_path):
    content: dict = {}
    content["model"] = content
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        weights_of(tmp_path / "file.pth")


def test_a_file_without_tensors_is_one_line(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "file.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        weights_of(tmp_path / "file.pth")
