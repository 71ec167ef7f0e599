"""A row of a study may be the network of a function: measured like a trained one, keyed by the code of the function."""

import json
import shutil
import sys
from typing import Any

import pytest
from made_rows import LAYERS, MODEL, NETWORK, with_model

from sslkuramoto.cli import main
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.report import study_text
from sslkuramoto.report.study_page import study_page
from sslkuramoto.study import collect, comparisons, load_study, plan_study, run_plan
from sslkuramoto.study.keys import OPENING_FUNCTIONS, measuring_code

BOARDS = {"protocol": "sudoku", "metric": "accuracy", "rows": ["net"]}


def silent(line: str) -> None:
    """Report to nobody."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory that holds the file of a network."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "layers_of_rows.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("layers_of_rows", "network_file_net"):
        sys.modules.pop(name, None)


@pytest.fixture
def load(place, content):
    """Write and load the study with a model row."""

    def make(*words: str, model: Any = MODEL, **changes: Any):
        path = place / "tiny.yaml"
        path.write_text(json.dumps(with_model(content(**changes), model)))
        return load_study(path, words)

    return make


@pytest.fixture(scope="module")
def shown(computed, content, tmp_path_factory):
    """The tiny study with a model row, all of it computed: its file, its root, what was said."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "net.py").write_text(NETWORK)
    (folder / "layers_of_rows.py").write_text(LAYERS)
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(with_model(content(), MODEL)))
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        root = shutil.copytree(computed[1], folder / "root")
        assert run_plan(plan_study(load_study(path), root), jobs=0, report=said.append) == 0
    return path, root, said


@pytest.fixture
def finished(shown, monkeypatch):
    """The computed study in its own working directory."""
    path, root, _ = shown
    monkeypatch.chdir(path.parent)
    return load_study(path), root


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"train": [{"recipe": "digits-akorn-simclr"}]}, "rows.net: has both 'train' and 'model'"),
        ({"model": "net.py:biuld"}, "rows.net.model: unknown function of net.py 'biuld': did you mean 'build'?"),
        ({"model": "nix.py:build"}, "rows.net.model: nix.py: no such file"),
        ({"model": "nix.net:build"}, "rows.net.model: nix.net: there is no module nix"),
        ({"model": "json.nix:build"}, "rows.net.model: json.nix: there is no module json.nix"),
        ({"model": "sys:exit"}, "rows.net.model: sys: has no source file"),
        ({"model": "broken.py:build"}, "rows.net.model: broken.py: cannot be read: SyntaxError"),
        ({"model": "net.py"}, "rows.net.model: 'net.py': does not name a function: write FILE.py:FUNCTION"),
        ({"model": 3}, "rows.net.model=3"),
        ({"data": None}, "row net: say on which images: data: {name: NAME, ...}"),
        ({"data": {"limit_test": 20}}, "row net: say on which images"),
        ({"data": {"name": "digits", "limt": 3}}, "row net: unknown key of data digits 'limt'"),
        ({"data": "nix"}, "row net: unknown data 'nix'"),
        ({"data": {"name": "sudoku"}}, "row net: a function's network reads images; data sudoku gives boards"),
        ({"model": None, "published": {"clean": 3}}, "rows.net.data: is of rows with 'model'"),
        ({"seeds": [-1]}, "rows.net.seeds=[-1]"),
    ],
)
def test_what_is_wrong_with_a_model_row_is_one_line_and_no_code_runs(load, place, model, message):
    (place / "net.py").write_text(NETWORK + "\nraise RuntimeError('this file was run')\n")
    (place / "broken.py").write_text("def build(:\n")
    with pytest.raises(UserError) as found:
        load(model=MODEL | model)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns__clean__encoder": {"num_steps": 2}}, "columns.clean.encoder: row net is the network of a function"),
        ({"columns__knn__set": {"neighbours": "${run:net}"}}, "${run:net}: this row is the network of a function"),
        ({"columns__vote__stage": 1}, "columns.vote.stage=1: row net has 1 stage(s); leave it out by 'except'"),
        (
            {"columns__vote": {"protocol": "sudoku", "metric": "accuracy", "rows": ["net"]}},
            "protocol sudoku reads boards",
        ),
    ],
)
def test_columns_that_need_a_training_run_are_refused_when_the_file_loads(load, changes, message):
    with pytest.raises(UserError) as found:
        load(**changes)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_data_come_from_the_row_the_study_or_the_command_line(load):
    assert load().data_of("net").to_dict() == {"name": "digits", "size": 8, "limit_test": 20, "limit": 16}
    bare = {key: value for key, value in MODEL.items() if key != "data"}
    assert (
        load("data.name=digits", "net.data.limit_test=12", model=bare, set__data={"limit_test": 30})
        .data_of("net")
        .options["limit_test"]
        == 12
    )
    study = load(model=bare, set={"data.name": "digits", "data.size": 8, "data.limit_test": 20, "epochs": 1})
    assert study.data_of("net").to_dict() == {"name": "digits", "size": 8, "limit_test": 20}
    with pytest.raises(UserError, match="row net: epochs: only the data of a function's network"):
        load("net.epochs=3")


def test_a_plan_has_cells_and_no_training_for_a_model_row_and_calls_nothing(load, place):
    (place / "net.py").write_text(NETWORK + "\nraise RuntimeError('this file was run')\n")
    plan = plan_study(load(seeds=[0, 1, 2]), place / "root", rows=["net"])
    assert plan.stages == []
    assert list(plan.cells) == [("net", "clean", 0), ("net", "vote", 0), ("net", "knn", 0)]
    assert len(plan.evaluations) == 2
    assert plan.networks["net", 0].path.name.startswith("net-build-")
    assert len(plan_study(load(model=MODEL | {"seeds": [3, 4]}), place / "root", rows=["net"]).evaluations) == 4


def test_the_dry_run_names_the_code_that_would_be_run_and_runs_none_of_it(load, place, capsys):
    (place / "net.py").write_text(NETWORK + "\nraise RuntimeError('this file was run')\n")
    load()
    assert main(["study", "tiny.yaml", "--root", "root", "--rows", "net", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "measurements: 2 to do, 0 of 2 done" in out
    assert "runs the code of net.py:build" in out
    assert [path.name for path in (place / "root").iterdir()] == ["data.json"]


def test_trained_and_model_rows_stand_in_one_table_and_one_page(finished):
    study, root = finished
    table = collect(study, root)
    assert {column: cell.n_seeds for (row, column), cell in table.cells.items() if row == "net"} == {
        "clean": 1,
        "vote": 1,
        "knn": 1,
    }
    (value,) = table.cells["net", "clean"].values
    about = json.loads((value.result.parents[1] / "model.json").read_text())
    assert about["model"] == "net.py:build"
    assert set(about["code"]) == {"net.py", "layers_of_rows.py"}
    assert value.n == 20
    assert measuring_code(study.columns["clean"].loaded().measure, OPENING_FUNCTIONS) in value.result.stem
    text = study_text(table)
    assert "a network of somebody" in text
    assert "finetuned with two steps" in text
    page = study_page(table)
    assert "Networks of functions" in page
    for shown in ("net.py:build", f"net.py {about['code']['net.py']}", about["network"][:12], "limit_test=20"):
        assert shown in page, shown


def test_a_model_row_and_a_trained_row_are_compared_in_pairs(finished):
    study, root = finished
    (found,) = [test for test in comparisons(collect(study, root)) if test.rows == ("simclr", "net")]
    assert found.column == "clean"
    assert found.pooled is not None
    assert found.pooled.n == 20


def test_a_second_call_has_nothing_to_do_and_changed_or_moved_code_has(finished, tmp_path, monkeypatch):
    study, root = finished
    assert plan_study(study, root).missing() == []
    (before,) = collect(study, root).cells["net", "clean"].values
    copy = shutil.copytree(study.path.parent, tmp_path / "copy")
    monkeypatch.chdir(copy)
    (copy / "net.py").write_text(NETWORK + "\n# a comment changes nothing\n")
    assert plan_study(load_study(copy / "tiny.yaml"), copy / "root").missing() == []
    (copy / "layers_of_rows.py").write_text(LAYERS.replace("1.0", "-1.0"))  # what the file imports counts too
    again = plan_study(load_study(copy / "tiny.yaml"), copy / "root")
    assert {task.key.partition("-build-")[0] for task in again.missing()} == {"net"}
    assert len(again.missing()) == 2
    assert run_plan(again, jobs=0, report=silent) == 0
    (after,) = collect(load_study(copy / "tiny.yaml"), copy / "root").cells["net", "clean"].values
    assert after.correct != before.correct
    (copy / "moved").mkdir()
    for file in ("net.py", "layers_of_rows.py"):
        shutil.move(copy / file, copy / "moved" / file)
    text = (copy / "tiny.yaml").read_text().replace("net.py:build", "moved/net.py:build")
    (copy / "tiny.yaml").write_text(text)
    assert len(plan_study(load_study(copy / "tiny.yaml"), copy / "root").missing()) == 2


def test_other_weights_by_the_same_code_are_a_dash_with_the_reason(load, place):
    (place / "net.py").write_text(NETWORK.replace("SEED = 0", "SEED = int(open('seed.txt').read())"))
    (place / "seed.txt").write_text("0")
    study, root = load(), place / "root"
    assert run_plan(plan_study(study, root, rows=["net"]), jobs=0, report=silent) == 0
    next(root.glob("runs/net-build-*/results/knn-*.json")).unlink()
    (place / "seed.txt").write_text("1")
    assert run_plan(plan_study(study, root, rows=["net"]), jobs=0, report=silent) == 1
    (reason,) = collect(study, root).cells["net", "knn"].failures.values()
    assert "the function returns other weights than before by the same code" in reason


def test_code_that_changes_after_the_plan_is_not_measured_under_its_key(load, place):
    plan = plan_study(load(), place / "root", rows=["net"])
    (place / "net.py").write_text(NETWORK.replace("SEED = 0", "SEED = 10"))
    with pytest.raises(Interrupted, match=r"the source of net.py:build changed after the plan was made"):
        run_plan(plan, jobs=0, report=silent)
    assert not list((place / "root").rglob("*.json.part"))
    assert not list((place / "root").glob("runs/*/results"))


def test_two_files_with_neighbours_of_one_name_are_two_networks(load, place):
    (place / "other").mkdir()
    (place / "other" / "net.py").write_text(NETWORK)
    (place / "other" / "layers_of_rows.py").write_text(LAYERS.replace("1.0", "-1.0"))
    study, root = load(rows__second=MODEL | {"model": "other/net.py:build", "label": "second"}), place / "root"
    assert run_plan(plan_study(study, root, rows=["net", "second"]), jobs=0, report=silent) == 0
    (ours,), (theirs,) = (collect(study, root).cells[row, "clean"].values for row in ("net", "second"))
    assert ours.correct != theirs.correct


def test_a_protocol_that_cannot_measure_it_gives_the_reason_of_the_dash(load, place):
    tuned = {"protocol": "finetune-digits", "metric": "accuracy", "rows": ["net"]}
    study, root = load(columns__tuned=tuned), place / "root"
    assert run_plan(plan_study(study, root, rows=["net"]), jobs=0, report=silent) == 1
    (reason,) = collect(study, root).cells["net", "tuned"].failures.values()
    assert "finetune needs a run that was trained from a recipe; net.py:build is a network as it was given" in reason


def test_a_classifier_given_whole_has_no_features_and_its_dash_says_so(load, place):
    whole = "    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10)).eval()\n"
    (place / "net.py").write_text(NETWORK[: NETWORK.index("    layers =")] + whole)
    study, root = load(), place / "root"
    assert run_plan(plan_study(study, root, rows=["net"]), jobs=0, report=silent) == 1
    cells = collect(study, root).cells
    (reason,) = cells["net", "knn"].failures.values()
    assert "knn needs features; net.py:build gives logits" in reason
    assert cells["net", "clean"].n_seeds == 1
