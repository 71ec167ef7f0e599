"""A run with any registered head is exported whole, and its folder rebuilds that head."""

import json
import shutil

import pytest
import torch
from house_files import ROOT
from small_runs import small
from torch import nn

import sslkuramoto as sk
from sslkuramoto.checkpoint import export_head
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images
from sslkuramoto.heads import HEADS, PerCell
from sslkuramoto.interop.export_folder import export_timm, export_torch, load_exported
from sslkuramoto.interop.trained import trained
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Part, load_recipe
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train

SUDOKU = ["data.puzzles=16", "data.puzzles_test=10", "encoder.channels=8", "encoder.num_steps=2"]
SUDOKU += ["encoder.attention_heads=2", "epochs=1", "schedule.warmup_epochs=0", "batch_size=8", "engine.device=cpu"]


class TwoLayers(nn.Module):
    """A head of another package, with an option."""

    reads = (Images,)

    def __init__(self, in_features: int, out_features: int, *, hidden: int = 4) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.layers = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, out_features))

    def forward(self, features):
        return self.layers(features)


@pytest.fixture
def boards(tmp_path):
    recipe = load_recipe(ROOT / "recipes" / "sudoku4-akorn.yaml", SUDOKU)
    return train(recipe, tmp_path / "sudoku").path


@pytest.fixture
def with_two_layers(finetuned, tmp_path, monkeypatch):
    """The classifier with a head of two layers in place of its own."""
    monkeypatch.setitem(HEADS._members, "two_layers", TwoLayers)
    run = shutil.copytree(finetuned, tmp_path / "run")
    features = sk.load(run).encoder.num_features
    head = HEADS.build("two_layers", {"hidden": 6}, features, 10)
    export_head(RunDirectory(run).head_file("ema"), head, Part("two_layers", {"hidden": 6}))
    return run


def test_a_size_that_the_encoder_does_not_take_is_one_line_before_anything_is_written(boards, tmp_path, capsys):
    encoder = {"name": "akorn", "channels": 8, "initial": "learned", "image_size": 8}
    learned = train(small(epochs=1, encoder=encoder, data={"name": "digits", "limit": 48}), tmp_path / "learned").path
    assert main(["export", str(learned), "--to", "torch", "--size", "8", "--out", str(tmp_path / "out")]) == 0
    vit = {"model": "vit_tiny_patch16_224", "arguments": {"img_size": 8, "patch_size": 4, "depth": 1}}
    data = {"name": "digits", "limit": 48}
    fixed = train(small(epochs=1, encoder={"name": "timm", **vit}, data=data), tmp_path / "vit").path
    capsys.readouterr()
    for run, kind in ((boards, "torch"), (learned, "torch"), (learned, "timm"), (fixed, "torch")):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert main(["export", str(run), "--to", kind, "--size", "16", "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "--size=16" in error
        assert len(error.splitlines()) == 1
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_of_boards_is_exported_and_fills_in_every_cell_as_before(boards, capsys):
    assert main(["export", str(boards), "--to", "torch"]) == 0
    found, ours = sk.load(boards / "export" / "torch"), sk.load(boards)
    assert isinstance(found, sk.Classifier)
    assert isinstance(found.head, PerCell)
    puzzles = torch.randint(0, 5, (3, 4, 4), generator=generator("cpu", 1))
    logits = found(puzzles, draw=generator("cpu", 2))
    assert logits.shape == (3, 4, 4, 4)
    assert torch.equal(logits, ours(puzzles, draw=generator("cpu", 2)))
    features = ours.encoder(puzzles, draw=generator("cpu", 2))
    assert torch.equal(logits, ours.head(features.map))
    card = (boards / "export" / "torch" / "README.md").read_text()
    assert "Boards have 4 cells per side" in card
    assert "logits = model(boards, draw=" in card


@pytest.mark.parametrize("kind", ["onnx", "timm"])
def test_what_is_for_images_refuses_boards(kind, boards, capsys):
    assert main(["export", str(boards), "--to", kind]) == 2
    said = capsys.readouterr().err
    assert f"--to {kind}: is for networks of images; the encoder of {boards} reads boards" in said
    assert said.count("\n") == 1


def test_a_head_with_options_comes_back_with_its_section(with_two_layers, tmp_path):
    export_torch(trained(with_two_layers), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["head"] == {"name": "two_layers", "hidden": 6}
    assert "architecture" not in config, "timm's model has one linear layer"
    found, ours = load_exported(tmp_path / "out"), sk.load(with_two_layers)
    assert isinstance(found, sk.Classifier)
    assert isinstance(found.head, TwoLayers)
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(found(images, draw=generator("cpu", 1)), ours(images, draw=generator("cpu", 1)))
    with pytest.raises(UserError, match="--to timm: timm's model ends in one linear layer, the run in a head two_lay"):
        export_timm(trained(with_two_layers), tmp_path / "timm")


def test_a_folder_of_before_heads_had_a_section_holds_a_linear_one(finetuned, tmp_path):
    export_torch(trained(finetuned), tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    config = json.loads(file.read_text())
    assert config.pop("head") == {"name": "linear"}
    assert config.pop("head_size")["out_features"] == 10
    file.write_text(json.dumps(config))
    assert torch.equal(load_exported(tmp_path / "out").head.weight, sk.load(finetuned).head.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": 3}, "head=3: must be a dict"),
        ({"head": {"name": "nix"}}, "unknown head 'nix'"),
        ({"head": {"name": "per_cell"}}, r"model\.safetensors: .*weight"),
        ({"head_size": {"in_features": 3}}, "holds no two numbers"),
        (
            {"head_size": {"in_features": 3, "out_features": 10}},
            r"weight 'weight' has shape \(10, \d+\), here \(10, 3\)",
        ),
    ],
)
def test_a_damaged_section_is_one_line(change, message, finetuned, tmp_path):
    export_torch(trained(finetuned), tmp_path / "out")
    file = tmp_path / "out" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message) as found:
        sk.load(tmp_path / "out")
    assert "\n" not in str(found.value)
