"""Published checkpoints become finished runs with the same outputs; what does not fit is one line."""

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import published_akorn
import published_winfree
import pytest
import torch

from sslkuramoto.checkpoint import load_encoder, load_head
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.heads import taken
from sslkuramoto.interop import import_run
from sslkuramoto.interop.import_run import weights_of
from sslkuramoto.interop.published import answer, published
from sslkuramoto.run_directory import RunDirectory

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the recorded files lie beside the checkout")
SMALL = ["--recipe", "digits-akorn-supervised"]


def imported(file: Path, run: Path, *words: str, family: str = "akorn") -> None:
    assert main(["import", family, str(file), "--run", str(run), *words]) == 0


class Case(NamedTuple):
    """A published network of one family, with the arguments that its weights do not show."""

    family: str
    weights: dict[str, torch.Tensor]
    arguments: list[str]
    stem: tuple[str, str]  # one weight, by its published name and by ours


@pytest.fixture(params=["akorn", "winfree"])
def case(request) -> Case:
    if request.param == "akorn":
        weights = published_akorn.state(*published_akorn.network(kernel_sizes=(3, 3), num_steps=2))
        return Case("akorn", weights, ["n=2", "T=2"], ("conv0.weight", "stem.weight"))
    network = published_winfree.network("winfree_image", layers=2, num_steps=2)
    weights = published_winfree.state("winfree_image", *network)
    return Case("winfree", weights, ["T=2"], ("f_init.0.weight", "stem.0.weight"))


@pytest.fixture
def file(case, tmp_path) -> Path:
    torch.save(case.weights, tmp_path / "published.pth")
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
    weights = {key[6:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("state/")}
    config = json.loads(str(arrays["config"]))
    torch.save(weights, tmp_path / "file.pth")
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
    noise = torch.from_numpy(arrays["noise"])
    features = encoder(inputs, initial=noise, trace=True)
    _, before = answer(published(config, weights), inputs, noise)  # equal to the recording: test_check_reference.py
    torch.testing.assert_close(features.trace[-1].states, before[-1].states, rtol=1e-5, atol=1e-5)
    if config["kind"] == "object_discovery":
        assert not run.head_file().exists()  # it served training alone
        return
    head = load_head(run.head_file())
    output = head(taken(head, features.pooled, features.map))
    wanted = torch.from_numpy(arrays["output"])
    wanted = wanted.permute(0, 3, 1, 2) if config["kind"] == "sudoku" else wanted
    torch.testing.assert_close(output, wanted, rtol=1e-5, atol=1e-5)


def test_averaged_weights_are_the_run_and_the_last_ones_stand_beside(case, tmp_path):
    moved = {name: value + 1 if value.is_floating_point() else value for name, value in case.weights.items()}
    averaged = {f"ema_model.{name}": value for name, value in case.weights.items()}
    online = {f"online_model.{name}": value for name, value in moved.items()}
    content = {"model_state_dict": {**averaged, **online, "step": torch.tensor(7), "initted": torch.tensor(True)}}
    torch.save(content, tmp_path / "ema.pth")
    imported(tmp_path / "ema.pth", tmp_path / "run", *SMALL, "--config", *case.arguments, family=case.family)
    run = RunDirectory(tmp_path / "run")
    theirs, ours = case.stem
    stem = [load_encoder(run.encoder_file(kind)).state_dict()[ours] for kind in ("ema", "raw")]
    assert torch.equal(stem[0], case.weights[theirs])
    assert torch.equal(stem[1], case.weights[theirs] + 1)


@pytest.mark.parametrize(
    ("last", "average"),
    [("state_dict", "ema_state_dict"), ("model", "ema"), ("model_state_dict", "ema_model"), ("net", "state_dict_ema")],
)
def test_of_two_sets_the_averaged_one_is_the_run_whatever_their_names(last, average, case, tmp_path, capsys):
    moved = {name: value + 1 if value.is_floating_point() else value for name, value in case.weights.items()}
    content = {
        last: moved,
        average: {"n_averaged": torch.tensor(3), **{f"module.{k}": v for k, v in case.weights.items()}},
    }
    torch.save({**content, "network": moved}, tmp_path / "two.pth")
    imported(tmp_path / "two.pth", tmp_path / "run", *SMALL, "--config", *case.arguments, family=case.family)
    said = capsys.readouterr().out
    assert "averaged weights are those of the run (--weights ema), the last ones its raw weights" in said
    assert "not read: what the file holds under 'network'" in said
    run, (theirs, ours) = RunDirectory(tmp_path / "run"), case.stem
    stem = [load_encoder(run.encoder_file(kind)).state_dict()[ours] for kind in ("ema", "raw")]
    assert torch.equal(stem[0], case.weights[theirs])
    assert torch.equal(stem[1], case.weights[theirs] + 1)


@pytest.mark.parametrize(
    ("beside", "not_read"),
    [
        ({"ema": {"decay": torch.tensor(0.9), "num_updates": torch.tensor(3)}}, ("ema",)),  # no weights
        ({"ema": {"other.weight": torch.ones(3)}}, ("ema",)),  # of another network
        ({"net": {"few": torch.tensor([float("nan")])}}, ("net",)),
        ({"step": torch.tensor(3)}, ()),
    ],
)
def test_only_what_the_weights_are_is_read_and_the_rest_is_named(beside, not_read, case, tmp_path):
    torch.save({"model": case.weights, **beside}, tmp_path / "file.pth")
    found = weights_of(tmp_path / "file.pth")
    assert found.last.keys() == case.weights.keys()
    assert (found.averaged, found.not_read) == (None, not_read)


def test_weights_beside_a_small_mapping_of_a_usual_name_or_beside_wrapped_ones_are_not_dropped(tmp_path):
    torch.save({"model": {"step": torch.ones(1)}, "a.weight": torch.ones(2), "b": torch.ones(1)}, tmp_path / "a.pth")
    assert [*weights_of(tmp_path / "a.pth").last] == ["a.weight", "b"]
    torch.save({"module.a.weight": torch.ones(2), "fc.weight": torch.ones(2)}, tmp_path / "b.pth")
    assert [*weights_of(tmp_path / "b.pth").last] == ["module.a.weight", "fc.weight"]


def test_averages_without_names_are_said_not_to_be_read(case, tmp_path):
    torch.save({"model": case.weights, "ema": {"shadow_params": [torch.ones(2)]}}, tmp_path / "file.pth")
    found = weights_of(tmp_path / "file.pth")
    assert (found.averaged, found.not_read) == (None, ("ema",))


def test_a_tensor_beside_the_weights_is_no_weight(case, tmp_path):
    torch.save({"best_acc": torch.tensor(0.8), "model_state_dict": case.weights}, tmp_path / "file.pth")
    assert weights_of(tmp_path / "file.pth").last.keys() == case.weights.keys()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", ["model_state_dict", "state_dict", "ema", "net"])
def test_weights_are_found_under_usual_names_and_without_the_prefix_of_a_wrapped_module(
    wrapper, prefix, case, tmp_path
):
    content = {wrapper: {f"{prefix}{name}": value for name, value in case.weights.items()}, "epoch": 3}
    torch.save({"model": content, "args": {"T": 2}}, tmp_path / "nested.pth")
    found = weights_of(tmp_path / "nested.pth")
    assert found.averaged is None
    assert found.last.keys() == case.weights.keys()
    assert all(torch.equal(found.last[name], value) for name, value in case.weights.items())


def test_a_run_that_was_imported_is_measured_and_reported(case, file, tmp_path, capsys):
    few = ["data.limit=40", "data.limit_test=20"]
    imported(file, tmp_path / "run", *SMALL, *few, "--config", *case.arguments, family=case.family)
    assert "measure it with" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), "clean"]) == 0
    assert main(["report", str(tmp_path / "run"), "--html", str(tmp_path / "page.html")]) == 0
    origin = json.loads((tmp_path / "run" / "environment.json").read_text())["imported"]
    assert origin["file"] == "published.pth"
    assert origin["arguments"] == {name: 2 for name, _, _ in (word.partition("=") for word in case.arguments)}
    assert len(origin["sha256"]) == 64


def test_an_import_leaves_the_pictures_that_a_training_leaves(case, file, tmp_path):
    few = ["data.limit=40", "data.limit_test=20"]
    imported(file, tmp_path / "run", *SMALL, *few, "--config", *case.arguments, family=case.family)
    assert {path.name for path in (tmp_path / "run" / "pictures").iterdir()} == {"phases.npz", "views.npz"}
    with np.load(tmp_path / "run" / "pictures" / "phases.npz") as kept:
        steps = next(kept[name] for name in kept.files if "energ" in name)
    assert steps.size


def test_an_import_without_the_data_is_whole_and_says_in_one_line_that_it_has_no_pictures(case, file, tmp_path, capsys):
    words = ["--recipe", f"cifar10-{case.family}-supervised", f"data.root={tmp_path}", "--config", *case.arguments]
    imported(file, tmp_path / "run", *words, family=case.family)
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


def test_a_checkpoint_that_holds_code_is_refused_and_its_code_is_not_run(case, tmp_path, capsys):
    torch.save({"state_dict": case.weights, "extra": Harmful(tmp_path / "harmed")}, tmp_path / "bad.pth")
    assert main(["import", case.family, str(tmp_path / "bad.pth"), "--run", str(tmp_path / "run"), *SMALL]) == 2
    assert "could run its author's code" in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["import", "akron", "FILE", "--run", "RUN"], "akron"),
        (["import", "FAMILY", "NONE", "--run", "RUN"], "no such file"),
        (["import", "FAMILY", "FILE", "--run", ".", *SMALL], "exists; an import needs a new directory"),
        (["import", "FAMILY", "FILE", "--run", "RUN", "--recipe", "sudoku9-akorn", "--config", "OWN"], "reads images"),
    ],
)
def test_what_cannot_be_imported_ends_in_one_line_and_leaves_nothing(words, line, case, file, tmp_path, capsys):
    places = {"FAMILY": case.family, "FILE": str(file), "NONE": str(tmp_path / "no.pth"), "RUN": str(tmp_path / "run")}
    words = [part for word in words for part in (case.arguments if word == "OWN" else [places.get(word, word)])]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e300])
@pytest.mark.parametrize("averaged", [False, True])
def test_weights_that_are_not_finite_leave_nothing_and_the_mended_file_is_imported(
    value, averaged, case, tmp_path, capsys
):
    name, _ = case.stem
    bad = {**case.weights, name: torch.full_like(case.weights[name], value, dtype=torch.float64)}
    prefix = "ema_model." if averaged else ""
    torch.save({f"{prefix}{key}": weight for key, weight in bad.items()}, tmp_path / "file.pth")
    words = ["import", case.family, str(tmp_path / "file.pth"), "--run", str(tmp_path / "run"), *SMALL]
    words += ["data.limit=40", "--config", *case.arguments]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"weight '{prefix}{name}': holds values that are not finite" in line
    assert [path.name for path in tmp_path.iterdir()] == ["file.pth"]
    torch.save(case.weights, tmp_path / "file.pth")
    assert main(words) == 0


@pytest.mark.parametrize("there", [False, True])
def test_a_run_is_written_whole_or_not_at_all(there, case, file, tmp_path, monkeypatch):
    run = tmp_path / "run"
    if there:
        run.mkdir()
    words = [file, RunDirectory(run), case.arguments, [], "digits-akorn-supervised"]
    monkeypatch.setattr(import_run, "export_encoder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        import_run.import_run(*words)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["published.pth", *(["run"] if there else [])]
    import_run.import_run(*words)
    names = ["encoder.safetensors", "environment.json", "head.safetensors", "recipe.yaml"]
    assert sorted(path.name for path in run.iterdir()) == names


WRONG = [  # words of --config, and of the error; None: read otherwise by this family
    ("kind=sudoku", "holds no weight", "holds no weight"),
    ("kind=mazes", "unknown kind 'mazes'", "unknown kind 'mazes'"),
    ("n", "--config n: is written KEY=VALUE", "--config n: is written KEY=VALUE"),
    ("n=3", "divisible by oscillator_dim=3", None),
    ("n=two", "n='two': must be a whole number", None),
    ("proj=maybe", "proj='maybe': must be true", None),
    ("heads=0", None, "heads=0: must divide"),
    ("heads=.nan", None, "heads=nan: must be a whole number"),
    ("heads=-2", None, "heads=-2: must divide"),
    ("patch_size=.inf", None, "patch_size=inf: must be a whole number"),
    ("rope_pairs=some", None, "rope_pairs='some': must be consecutive or halves"),
    *(
        (word, line, line)
        for word, line in [
            ("T=2.5", "T=2.5: must be a whole number"),
            ("T=[]", "T=[]: must be a whole number"),
            ("T=[2,.nan]", "T=nan: must be a whole number"),
            ("T=.nan", "T=nan: must be a whole number"),
            ("T=.inf", "T=inf: must be a whole number"),
            ("T=true", "T=True: must be a whole number"),
            ("T={a: 1}", "must be a whole number"),
            ("T=0", "num_steps="),
            ("T=-3", "num_steps="),
            ("T=100000000000000000000", "must be at most 10,000"),
            ("T=010", "a number does not begin with 0"),
            ("T=2024-13-45", "T=2024-13-45: the value"),
        ]
    ),
]


@pytest.mark.parametrize(("word", "of_akorn", "of_winfree"), WRONG, ids=[word for word, _, _ in WRONG])
def test_a_wrong_argument_of_the_published_network_is_one_line(
    word, of_akorn, of_winfree, case, file, tmp_path, capsys
):
    line = {"akorn": of_akorn, "winfree": of_winfree}[case.family]
    if line is None:
        pytest.skip("no argument of this family")
    assert main(["import", case.family, str(file), "--run", str(tmp_path / "run"), *SMALL, "--config", word]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["gamma=.nan", "gamma=.inf", "gamma=-1", "gamma=two", "gamma=[1]"])
def test_a_step_size_that_is_none_is_one_line_where_the_weights_hold_none(word, case, tmp_path, capsys):
    torch.save({name: value for name, value in case.weights.items() if name != "gamma"}, tmp_path / "file.pth")
    words = ["import", case.family, str(tmp_path / "file.pth"), "--run", str(tmp_path / "run"), *SMALL]
    assert main([*words, "--config", word, *case.arguments]) == 2
    error = capsys.readouterr().err
    assert re.search("gamma=|step_size=", error)
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_step_size_of_complex_numbers_is_one_line(case, tmp_path, capsys):
    torch.save({**case.weights, "gamma": torch.tensor(0.5 + 0j)}, tmp_path / "file.pth")
    words = ["import", case.family, str(tmp_path / "file.pth"), *SMALL, "data.limit=40", "--config", *case.arguments]
    assert main([*words, "--run", str(tmp_path / "run")]) == 2
    assert "weight 'gamma': holds complex numbers" in capsys.readouterr().err


def test_a_step_size_that_the_weights_hold_is_not_read_from_the_arguments(case, tmp_path, capsys):
    torch.save({**case.weights, "gamma": torch.tensor(0.5)}, tmp_path / "file.pth")
    words = ["import", case.family, str(tmp_path / "file.pth"), *SMALL, "data.limit=40", "--config", *case.arguments]
    assert main([*words, "gamma=0.25", "--run", str(tmp_path / "run")]) == 0
    assert "not read: the argument gamma" in capsys.readouterr().out
    assert RunDirectory(tmp_path / "run").recipe().encoder.options["step_size"] == 0.5
    assert main([*words, "gamma=.nan", "--run", str(tmp_path / "other")]) == 2
    assert "gamma=nan: must be a finite number" in capsys.readouterr().err


def test_an_import_says_what_it_reads_before_it_takes_pictures(case, file, tmp_path, capsys):
    few = ["data.limit=40", "--config", *case.arguments]
    imported(file, tmp_path / "run", *SMALL, *few, family=case.family)
    lines = capsys.readouterr().out.splitlines()
    assert "pictures of examples for the report need data digits, which may take a minute" in lines[-2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no checkpoint at all", b"\x80\x04."])
def test_damaged_files_are_one_line(content, tmp_path):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth: (damaged|cannot be read)"):
        weights_of(tmp_path / "file.pth")


@pytest.mark.parametrize("family", ["akorn", "winfree"])
def test_weights_of_another_network_are_one_line(family, tmp_path, capsys):
    torch.save({"conv1.weight": torch.ones(2, 3, 3, 3)}, tmp_path / "resnet.pth")
    assert main(["import", family, str(tmp_path / "resnet.pth"), "--run", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert "resnet.pth: holds none of conv0.weight, patchfy.1.weight, embedding.weight" in line
    assert line.count("\n") == 1
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
