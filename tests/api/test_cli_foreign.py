"""Where RUN stands on the command line a function in a file may stand; all that follows works on its network."""

import json
import sys

import pytest

from sslkuramoto import sources
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import foreign
from sslkuramoto.evaluation.foreign import code_of_function, names_function, network_from, run_of_function

NETWORK = '''
"""A network that nobody trained."""
import torch
from torch import nn
from layers_of_somebody import Noise


class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))
        self.noise = Noise()

    def forward(self, images):
        return self.body(self.noise(images))


def build():
    return Net().eval()


def fails():
    raise RuntimeError("no weights\\nhere")


def ends():
    raise SystemExit(1)


def needs(path):
    return Net()


def no_network():
    return 3


def thousand():
    return Net(1000).eval()


def probabilities():
    return nn.Sequential(Net(), nn.Softmax(dim=1)).eval()


def trained():
    return Net().train()
'''
LAYERS = """
from torch import nn, randn_like


class Noise(nn.Module):
    def forward(self, images):
        return images + SIGMA * randn_like(images)


SIGMA = 0.1
"""
DATA = "data={name: digits, limit_test: 30}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with the file, and a module of the same name in a package."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "layers_of_somebody.py").write_text(LAYERS)
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "__init__.py").write_text("")
    (tmp_path / "somebody" / "nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("layers_of_somebody", "somebody", "somebody.nets", "network_file_net"):
        sys.modules.pop(name, None)


@pytest.fixture
def fails(place, capsys):
    """Assert that an evaluation ends with one line and leaves no result; return the line."""

    def check(*words: str) -> str:
        assert main(["evaluate", *words]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1, captured.err
        assert not list(place.rglob("results"))
        return captured.err

    return check


@pytest.mark.parametrize("text", ["net.py:build", "net.py:needs", "somebody.nets:build", "a/b/net.py:build"])
def test_a_function_is_told_from_a_run_by_its_spelling(text, place):
    assert names_function(text)


@pytest.mark.parametrize("text", ["runs/net", "net.py", "net", ".", "runs/a:b", "net.py:"])
def test_a_run_is_no_function(text, place):
    assert not names_function(text)


@pytest.mark.parametrize("text", ["net.py:build", "somebody.nets:build"])
def test_the_code_of_a_function_is_read_without_running_it(text, place):
    wanted = network_from(text)[1]
    for name in ("somebody", "somebody.nets"):
        sys.modules.pop(name, None)
    trap = "\nopen('was_run', 'w').close()\n"
    (place / "net.py").write_text(NETWORK + trap)
    (place / "somebody" / "__init__.py").write_text(trap)
    (place / "somebody" / "nets.py").write_text(NETWORK + trap)
    found = code_of_function(text)
    assert found.keys() == wanted.keys()
    assert found != wanted
    assert not (place / "was_run").exists()
    network_from(text)
    assert (place / "was_run").exists()


@pytest.mark.parametrize("text", ["net.py:Net", "net.py:torch", "somebody.nets:Noise"])
def test_whatever_has_a_name_in_the_source_may_be_a_function(text, place):
    assert code_of_function(text)


def test_where_only_running_would_tell_the_name_is_taken_as_it_is(place):
    (place / "stars.py").write_text("from net import *\n")
    assert set(code_of_function("stars.py:build")) == {"stars.py", "net.py", "layers_of_somebody.py"}
    with pytest.raises(UserError, match="unknown function of somebody 'build'"):
        code_of_function("somebody:build")


def test_a_function_of_this_package_is_known_by_its_folder_and_by_what_answers_for_a_network(monkeypatch):
    asked: list[str] = []

    def version(files, *_) -> str:
        asked.extend(files)
        return "1"

    monkeypatch.setattr(sources, "code_version", version)
    monkeypatch.setattr(foreign, "code_version", version)
    monkeypatch.setattr(foreign, "code_behind", sources.code_behind.__wrapped__)  # what was read before is kept
    (name,) = code_of_function("sslkuramoto.evaluation.audit.control_check:control")
    assert name == "sslkuramoto.evaluation.audit.control_check"
    folder = {file for file in asked if file.startswith("evaluation/audit/")}
    assert {"evaluation/audit/control_check.py", "evaluation/audit/check.py"} <= folder
    assert {"data", "encoders", "dynamics", "heads.py"} <= {*asked}
    assert not {file for file in {*asked} - folder if file.startswith(("evaluation", "training", "study", "attacks"))}


def test_neighbours_of_a_file_are_read_anew_with_it(place):
    first = network_from("net.py:build")[0].get_submodule("noise")
    (place / "layers_of_somebody.py").write_text(LAYERS.replace("0.1", "0.25"))
    again = network_from("net.py:build")[0].get_submodule("noise")
    assert sys.modules[type(again).__module__].SIGMA == 0.25
    assert type(first) is not type(again)


def test_results_lie_in_a_run_directory_called_after_file_and_function():
    assert str(run_of_function("some/net.py:build")) == "runs/net-build"
    assert str(run_of_function("a.b:build")) == "runs/a.b-build"


@pytest.mark.parametrize("model", ["net.py:build", "somebody.nets:build"])
def test_a_function_s_network_is_measured_and_reported(model, place, capsys):
    attack = "attacks=[{name: pgd, iterations: 2}]"
    assert main(["evaluate", model, "clean", DATA, "--run", "runs/net"]) == 0
    words = [attack, "images=10", "eps=0.1", "select_draws=20", DATA, "--run", "runs/net", "--as", "robustness"]
    assert main(["evaluate", model, "robustness", *words]) == 0
    printed = capsys.readouterr().out
    assert "note: the network draws random numbers from torch" in printed
    about = json.loads((place / "runs/net/model.json").read_text())
    assert about["model"] == model
    assert about["data"] == {"name": "digits", "limit_test": 30}
    assert "layers_of_somebody.py" in about["code"] or model.startswith("somebody")
    result = json.loads((place / "runs/net/results/clean.json").read_text())
    assert result["encoder"]["stochastic"] is True
    assert result["metrics"]["accuracy"]["draws"] == 20
    assert list((place / "runs/net/ledger").rglob("*.safetensors"))
    assert main(["report", "runs/net", "--html", "page.html"]) == 0
    table = capsys.readouterr().out
    assert f"{100 * result['metrics']['accuracy']['value']:.1f}" in table
    assert "net" in (place / "page.html").read_text()


def test_the_same_call_measures_the_same_network_and_other_code_is_refused(place, capsys):
    assert main(["evaluate", "net.py:build", "clean", DATA, "--run", "net"]) == 0
    first = json.loads((place / "net/results/clean.json").read_text())
    assert main(["evaluate", "net.py:build", "clean", DATA, "--run", "net"]) == 0
    again = json.loads((place / "net/results/clean.json").read_text())
    assert first["metrics"] == again["metrics"]
    assert first["encoder"]["sha256"] == again["encoder"]["sha256"]
    capsys.readouterr()
    assert main(["evaluate", "net.py:build", "clean", "data={name: digits}", "--run", "net"]) == 2
    assert "net: belongs to another network: data is" in capsys.readouterr().err
    (place / "layers_of_somebody.py").write_text(LAYERS.replace("0.1", "0.2"))
    assert main(["evaluate", "net.py:build", "clean", DATA, "--run", "net"]) == 2
    assert "net: belongs to another network: code is" in capsys.readouterr().err
    assert main(["evaluate", "net", "clean"]) == 2
    assert "holds results of a function's network; name the function again" in capsys.readouterr().err


def test_a_dry_run_leaves_nothing(place, capsys):
    assert main(["evaluate", "net.py:build", "clean", DATA, "--run", "net", "--dry-run"]) == 0
    assert not (place / "net").exists()


def test_a_network_in_training_mode_is_set_to_eval_with_a_word(place, capsys):
    assert main(["evaluate", "net.py:trained", "clean", DATA]) == 0
    assert "note: the network was in training mode and was set to eval mode" in capsys.readouterr().out
    assert (place / "runs/net-trained/results/clean.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["net.py:build", "clean"], "net.py:build: say on which images: data='{name: NAME, ...}'"),
        (["nix.py:build", "clean", DATA], "nix.py: no such file"),
        (["nix.net:build", "clean", DATA], "nix.net: cannot be imported: ModuleNotFoundError: No module named 'nix'"),
        (["net.py:biuld", "clean", DATA], "unknown function of net.py 'biuld': did you mean 'build'?"),
        (["net.py:fails", "clean", DATA], "net.py:fails: the function fails: RuntimeError: no weights here"),
        (["net.py:ends", "clean", DATA], "net.py:ends: the function fails: SystemExit: 1"),
        (["net.py:needs", "clean", DATA], "net.py:needs: the function fails: TypeError: needs() missing 1 required"),
        (["net.py:no_network", "clean", DATA], "the function returns a int, wanted a torch.nn.Module"),
        (["net.py:thousand", "clean", DATA], "has 10 classes, the classifier of the run has 1000"),
        (["net.py:probabilities", "clean", DATA], "the network returns probabilities: must return logits"),
        (["net.py:build", "clean", "data={name: digits, size: 4}"], "cannot answer images of 3 x 4 x 4: RuntimeError"),
        (["net.py:build", "clean", "data={name: nix}"], "unknown data 'nix'"),
        (
            ["net.py:build", "clean", "data={name: sudoku}"],
            "a function's network reads images; data sudoku gives boards",
        ),
        (["net.py:build", "clean", "data={name: digits, sise: 4}"], "unknown key of data digits 'sise'"),
        (["net.py:build", "clean", DATA, "encoder.channels=3"], "encoder.KEY, --weights, --checkpoint are for runs"),
        (["net.py:build", "clean", DATA, "--checkpoint", "3"], "encoder.KEY, --weights, --checkpoint are for runs"),
        (["net.py:build", "clean", DATA, "--run", "somebody"], "somebody: exists and holds no results of a network"),
        (["runs/net", "clean", "--run", "there"], "--run=there: the results of a run are in its directory"),
        (["net.py:build", "clean", DATA, "--device", "cuda:7"], "device"),
    ],
)
def test_what_the_user_can_mend_is_one_line(fails, words, said):
    assert said in fails(*words)


def test_a_file_with_a_mistake_says_so(fails, place):
    (place / "bad.py").write_text("def build(:\n")
    assert "bad.py: cannot be imported: SyntaxError" in fails("bad.py:build", "clean", DATA)


def test_two_files_in_two_folders_have_neighbours_of_their_own(tmp_path):
    """Each network is made of what lies beside its file, though both neighbours have one name."""
    for classes in (3, 4):
        folder = tmp_path / str(classes)
        folder.mkdir()
        (folder / "sizes_of_somebody.py").write_text(f"CLASSES = {classes}\n")
        text = "from torch import nn\nfrom sizes_of_somebody import CLASSES\n\n\ndef build():\n"
        (folder / "net.py").write_text(f"{text}    return nn.Linear(2, CLASSES)\n")
    found = [network_from(f"{tmp_path}/{classes}/net.py:build")[0] for classes in (3, 4, 3)]
    assert [network.out_features for network in found] == [3, 4, 3]


def test_a_network_of_images_is_not_asked_about_boards(fails):
    line = fails("net.py:build", "clean", "data={name: sudoku}", "--run", "net")
    assert "net.py:build: a function's network reads images; data sudoku gives boards" in line
