"""``export`` writes a finished run for other programs, or says in one line why not."""

import subprocess
import sys

import pytest
from small_runs import small

from sslkuramoto.cli import main
from sslkuramoto.interop.card import FORMATS, written
from sslkuramoto.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = {"name": "digits", "limit": 48, "limit_test": 30}
    return train(small(epochs=1, data=data), tmp_path_factory.mktemp("runs") / "run").path


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    data = {"name": "digits", "limit": 32, "limit_test": 30, "size": 32}
    encoder = {"name": "timm", "model": "test_efficientnet"}
    return train(small(epochs=1, data=data, encoder=encoder), tmp_path_factory.mktemp("runs") / "baseline").path


def test_the_default_folder_lies_in_the_run(run, capsys):
    assert main(["export", str(run), "--to", "torch"]) == 0
    folder = run / "export" / "torch"
    assert capsys.readouterr().out.startswith(f"wrote {folder}/model.safetensors, config.json and README.md")
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "torch", "--push", "me/net"], "--push: belongs to --to hub-folder, not to --to torch"),
        (["--to", "onnx", "--result", "clean"], "--result: belongs to --to images"),
        (["--to", "images"], "--to images: name the result with --result NAME"),
        (["--to", "pickle"], "invalid choice: 'pickle'"),
        (["--to", "torch", "--size", "0"], "--size=0: must be between 1 and 4096 pixels"),
        (["--to", "torch", "--weights", "raw"], "holds one set of weights only"),
        (["--to", "images", "--result", "rob"], "unknown result of"),
        ([], "required: --to"),
    ],
)
def test_what_the_user_can_mend_is_one_line(words, message, run, tmp_path, capsys):
    assert main(["export", str(run), *words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_run_and_no_folder_are_one_line(run, tmp_path, capsys):
    assert main(["export", str(tmp_path), "--to", "torch"]) == 2
    assert "no run directory" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["export", str(run), "--to", "torch", "--out", str(tmp_path / "file")]) == 2
    assert "is no folder" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["torch", "onnx", "timm", "hub-folder", "images"])
def test_a_folder_with_files_of_others_is_refused_in_one_line_and_left_as_it_is(kind, run, tmp_path, capsys):
    (tmp_path / "README.md").write_text("my own")
    (tmp_path / "config.json").write_text("{}")
    named = ["--result", "robustness"] if kind == "images" else []
    assert main(["export", str(run), "--to", kind, "--out", str(tmp_path), *named]) == 2
    said = capsys.readouterr().err
    assert "holds files and no README.md of an export of files for " in said
    assert said.count("\n") == 1
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"README.md": "my own", "config.json": "{}"}


def test_an_export_is_written_again_over_an_earlier_one(run, tmp_path):
    for kind in ("torch", "hub-folder", "torch"):
        assert main(["export", str(run), "--to", kind, "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "README.md").read_text().startswith("---")


@pytest.mark.parametrize(("first", "second"), [("torch", "onnx"), ("onnx", "timm"), ("images", "torch")])
def test_files_of_two_formats_do_not_mix_in_a_folder(first, second, run, tmp_path, capsys):
    (tmp_path / "README.md").write_text(written(first))
    assert main(["export", str(run), "--to", second, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.endswith("no README.md of an export of files for " + FORMATS[second] + "; choose a new folder\n")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_data_that_are_not_here_need_a_size(run, tmp_path, capsys, monkeypatch):
    from sslkuramoto.data import DATA
    from sslkuramoto.errors import UserError

    def absent(*_):
        raise UserError("data digits: not here")

    monkeypatch.setattr(DATA, "build", absent)
    assert main(["export", str(run), "--to", "torch", "--out", str(tmp_path / "out")]) == 2
    assert "not here; or give the side of the images with --size" in capsys.readouterr().err
    assert main(["export", str(run), "--to", "torch", "--size", "8", "--out", str(tmp_path / "out")]) == 0


def test_help_loads_no_torch():
    code = (
        "import sys; from sslkuramoto import cli; cli._parser(); print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "False False\n"


def test_an_encoder_that_timm_does_not_know_of_us_is_refused(baseline, tmp_path, capsys):
    assert main(["export", str(baseline), "--to", "timm", "--out", str(tmp_path / "out")]) == 2
    assert "encoder timm is not registered with timm by this package; registered: akorn" in capsys.readouterr().err
    assert main(["export", str(baseline), "--to", "torch", "--out", str(tmp_path / "out")]) == 0
    assert "timm.create_model" not in (tmp_path / "out" / "README.md").read_text()
