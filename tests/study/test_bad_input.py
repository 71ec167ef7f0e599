"""The command against damaged files, places that cannot be written, words that cannot be: one line, exit code 2."""

import json
import shutil
from pathlib import Path

import pytest

from sslkuramoto.cli import main
from sslkuramoto.errors import UserError
from sslkuramoto.study import load_study, plan_study


@pytest.fixture
def root(computed, tmp_path: Path) -> Path:
    return shutil.copytree(computed[1], tmp_path / "root")


@pytest.fixture
def refused(computed, capsys):
    """Call the command on the tiny study and return its one line."""

    def call(root: Path, *words: str, path: Path | None = None) -> str:
        assert main(["study", str(path or computed[0].path), "--root", str(root), "--jobs", "0", *words]) == 2
        error = capsys.readouterr().err
        assert error.startswith("sslkuramoto: ")
        assert error.count("\n") == 1
        return error

    return call


@pytest.mark.parametrize("content", ['{"x": 1}', "{", "[]", '"a"', "\0"])
def test_a_damaged_record_of_the_data_is_named(refused, root: Path, content: str):
    (root / "data.json").write_text(content)
    assert "data.json: damaged; remove it and start again" in refused(root)


@pytest.mark.parametrize("content", ["{}", "{", "[]", "null"])
def test_a_damaged_record_of_a_failure_is_named(refused, root: Path, content: str):
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()
    (root / "failures").mkdir()
    (root / "failures" / f"{result.parents[1].name}+{result.stem}.json").write_text(content)
    assert ".json: damaged; remove it and start again" in refused(root)


def test_a_damaged_result_is_a_dash_and_exit_code_2_until_it_is_removed(computed, root: Path, capsys):
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.write_text(result.read_text()[:100])
    words = ["study", str(computed[0].path), "--root", str(root), "--jobs", "0"]
    assert main(words) == 2
    captured = capsys.readouterr()
    assert "damaged result; remove it and measure again" in " ".join(captured.out.split())
    assert captured.err == "sslkuramoto: 2 of 6 measurements have no number; the footnotes say why\n"
    result.unlink()
    assert main(words) == 0


def test_an_edited_number_is_a_dash_of_its_row_and_other_rows_are_computed(computed, root: Path, capsys):
    plan = plan_study(computed[0], root)
    edited, missing = (plan.tasks[plan.cells[row, "clean", 0]].path for row in ("simclr", "steps"))
    content = json.loads(edited.read_text())
    content["metrics"]["accuracy"]["value"] += 0.1
    edited.write_text(json.dumps(content))
    missing.unlink()
    assert main(["study", str(computed[0].path), "--root", str(root), "--jobs", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.err.endswith("1 of 6 measurements have no number; the footnotes say why\n")
    assert edited.name in "".join(captured.out.split())
    assert missing.is_file()


@pytest.mark.parametrize("place", ["file", "file/root"])
def test_a_root_that_cannot_be_written_is_said_before_anything_is_computed(refused, tmp_path: Path, place, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("sslkuramoto.study.execute._train", lambda *_: pytest.fail("computed"))
    assert "data.json: " in refused(tmp_path / place)


def test_a_root_that_becomes_full_ends_the_command_with_a_line(computed, root: Path, monkeypatch, capsys):
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()

    def full(path: Path, *_: object) -> None:
        raise UserError(f"{path}: no space left on the disk; nothing was written")

    monkeypatch.setattr("sslkuramoto.results.write_atomically", full)
    monkeypatch.setattr("sslkuramoto.study.jobs.write_atomically", full)
    assert main(["study", str(computed[0].path), "--root", str(root), "--jobs", "0"]) == 2
    assert "failures" in (line := capsys.readouterr().err.splitlines()[-1])
    assert line.endswith("no space left on the disk; nothing was written")


def test_a_metric_that_is_not_given_is_said_before_anything_is_computed_where_it_can_be_known(
    refused, study, root: Path, monkeypatch
):
    study(columns__clean__metric="acuracy", seeds=[0, 1])
    monkeypatch.setattr("sslkuramoto.study.run.run_plan", lambda *_, **__: pytest.fail("computed"))
    for words in ([], ["--dry-run"]):
        line = refused(root, *words, path=root.parent / "tiny.yaml")
        assert "columns.clean: unknown metric of protocol clean 'acuracy': did you mean 'accuracy'?" in line


def test_a_metric_that_is_not_given_is_otherwise_said_after_the_first_measurement(study, tmp_path: Path, capsys):
    supervised = [{"recipe": "digits-akorn-supervised"}]
    study(
        columns={"clean": {"protocol": "clean", "metric": "acuracy"}},
        rows={"a": {"train": supervised}},
        compare=None,
    )
    words = ["study", str(tmp_path / "tiny.yaml"), "--root", str(tmp_path / "root"), "--jobs", "0"]
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("a, seed 0: clean: column clean: unknown metric of protocol clean 'acuracy'")
    assert lines[-1] == "sslkuramoto: 1 of 1 measurements have no number; the footnotes say why"
    study(
        columns={"clean": {"protocol": "clean", "metric": "accuracy"}}, rows={"a": {"train": supervised}}, compare=None
    )
    assert main(words) == 0
    assert "measurements: 0 to do, 1 of 1 done" in capsys.readouterr().out, "a new name costs no measurement"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", ""], "argument --rows: '': must name at least one"),
        (["--rows", ","], "must name at least one"),
        (["--seeds", ""], "argument --seeds: '': must name at least one"),
        (["--seeds", "-1"], "argument --seeds: '-1': must be a whole number >= 0"),
        (["--seeds", "0.5"], "must be a whole number >= 0"),
        (["--seeds", "9" * 40], "unknown seed of study tiny"),
        (["seed=3"], "seed: is given by the study itself"),
        (["init=somewhere"], "init: is given by the study itself"),
        (["epochs=[1"], "epochs=[1: no YAML: "),
    ],
)
def test_words_that_cannot_be_are_one_line(refused, tmp_path: Path, words: list[str], message: str):
    assert message in refused(tmp_path / "new", *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "rows: needs at least one"),
        ({"columns": {}, "compare": None}, "columns: needs at least one"),
        ({"rows": ["simclr"]}, "rows=['simclr']: must be a mapping"),
        ({"rows__simclr": "akorn"}, "rows.simclr='akorn': must be a mapping"),
        (
            {"rows__simclr__train": ["digits-akorn-simclr"]},
            "train[0]='digits-akorn-simclr': must be a mapping",
        ),
        (
            {"rows__simclr__train": [{"recipe": "digits-akorn-simclr", "sets": {}}]},
            "key in rows.simclr.train[0]",
        ),
        ({"rows__simclr__published": {"clean": {"value": 1, "stdd": 2}}}, "in rows.simclr.published.clean 'stdd'"),
        ({"set__epochs": "${run:simclr}"}, "epochs="),
        ({"curves_stage": 2}, "curves_stage=2: no row has more than 2 stage(s)"),
        ({"small": "tiny-small"}, "small='tiny-small': there is no study of this name beside this one"),
        ({"columns__knn__set": {"name": "clean"}}, "name another protocol file instead"),
        ({"columns__knn__encoder": {"name": "winfree"}}, "unknown key of encoder akorn 'name'"),
        ({"columns__knn__metric": None}, "columns.knn: needs the key 'metric'"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(study, changes, message: str):
    with pytest.raises(UserError) as caught:
        study(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_that_are_no_plain_values_are_refused(tmp_path: Path):
    path = tmp_path / "bytes.yaml"
    path.write_text(
        "title: x\ncolumns: {a: {protocol: clean, metric: accuracy}}\nset: {data.size: !!binary aGk=}\n"
        "rows: {a: {train: [{recipe: digits-akorn-supervised}]}}\n"
    )
    with pytest.raises(UserError, match=r"set.data.size=b'hi': must be text, a number"):
        load_study(path)


def test_a_study_cannot_be_called_like_a_folder_of_the_root(tmp_path: Path):
    (tmp_path / "failures.yaml").write_text("title: x\n")
    with pytest.raises(UserError, match="'failures' names a folder of all studies"):
        load_study(tmp_path / "failures.yaml")


def test_a_folder_is_no_study(refused, tmp_path: Path):
    (tmp_path / "tiny.yaml").mkdir()
    assert "tiny.yaml' does not exist" in refused(tmp_path / "root", path=tmp_path / "tiny.yaml")
    assert "unknown study" in refused(tmp_path / "root", path=tmp_path)


def test_rows_that_are_each_others_source_are_no_cycle(study, tmp_path: Path):
    def transfer(row: str) -> dict:
        options = {"eps": 0.1, "attacks": [{"name": "transfer", "run": f"${{run:{row}}}"}]}
        return {"protocol": "robustness", "metric": "robust_accuracy", "set": options}

    loaded = study(
        columns={"a": transfer("simclr"), "b": transfer("steps")},
        rows__simclr__published=None,
        rows__reported=None,
        compare=None,
    )
    plan = plan_study(loaded, tmp_path)
    order = list(plan.tasks)
    assert len(order) == 3 + 4
    assert all(order.index(need) < order.index(key) for key, task in plan.tasks.items() for need in task.needs)
