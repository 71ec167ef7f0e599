"""The command: plan first, table last, one clear line for what is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from sslkuramoto.cli import main


@pytest.fixture
def root(computed, tmp_path: Path) -> Path:
    return shutil.copytree(computed[1], tmp_path / "root")


def test_a_dry_run_prints_the_plan_and_computes_nothing(computed, tmp_path: Path, capsys):
    assert main(["study", str(computed[0].path), "--root", str(tmp_path / "empty"), "--dry-run", "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "training runs: 3 to do, 0 of 3 done" in out
    assert "2 steps, " in out
    assert "estimate: " in out
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["data.json"]


def test_a_finished_study_is_printed_and_written_by_study_and_by_report(computed, root: Path, capsys):
    for command in ("study", "report"):
        assert main([command, str(computed[0].path), "--root", str(root)]) == 0
        out = capsys.readouterr().out
        assert "81.50" in out or "81.5" in out
        assert ("nothing to do" in out) == (command == "study")
        assert sorted(path.name for path in (root / "tiny").iterdir()) == [
            "paired.tex",
            "report.html",
            "study.json",
            "table.csv",
            "table.md",
            "table.tex",
        ]
        shutil.rmtree(root / "tiny")


def test_of_chosen_columns_the_others_are_dashes_and_no_failure(computed, root: Path, capsys):
    for result in root.glob("runs/*/results/*.json"):
        result.unlink()
    words = ["study", str(computed[0].path), "--root", str(root), "--jobs", "0"]
    assert main([*words, "--columns", "clean", "--rows", "simclr"]) == 0
    measured = [path.stem.partition("-")[0] for path in root.glob("runs/*/results/*.json")]
    assert measured == ["clean"]
    assert "not computed yet" in capsys.readouterr().out


def test_a_study_that_loses_its_tests_loses_their_table(computed, root: Path, monkeypatch):
    words = ["report", str(computed[0].path), "--root", str(root)]
    mine = root / "tiny" / "mine.tex"
    assert main(words) == 0
    mine.write_text("of the user")
    assert (root / "tiny" / "paired.tex").is_file()
    monkeypatch.setattr("sslkuramoto.report.tables.latex.paired_table", lambda *_, **__: [])
    assert main(words) == 0
    assert not (root / "tiny" / "paired.tex").exists()
    assert mine.is_file()


def test_what_was_changed_adds_no_row_and_no_formula_to_the_csv(computed, root: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.model.Study.changes", ["changed: data.root=a\n=1+1,=2"])
    assert main(["report", str(computed[0].path), "--root", str(root)]) == 0
    first, second = (root / "tiny" / "table.csv").read_text().splitlines()[:2]
    assert first == "# changed: data.root=a =1+1,'=2"
    assert second.split(",")[:2] == ["kind", "row"]


def test_a_failed_task_is_a_dash_in_the_table_and_exit_code_2(computed, root: Path, capsys):
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()
    (root / "failures").mkdir()
    (root / "failures" / f"{result.parents[1].name}+{result.stem}.json").write_text(json.dumps({"reason": "no luck"}))
    assert main(["study", str(computed[0].path), "--root", str(root), "--jobs", "0"]) == 2
    captured = capsys.readouterr()
    assert "no luck" in captured.out
    assert "1 failed (--retry tries again)" in captured.out
    assert "1 of 6 tasks failed" in captured.err
    assert main(["study", str(computed[0].path), "--root", str(root), "--jobs", "0", "--retry"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "simclear"], "unknown row of study tiny 'simclear': did you mean 'simclr'"),
        (["--columns", "klean"], "unknown column of study tiny 'klean': did you mean 'clean'"),
        (["--seeds", "x"], "argument --seeds: 'x': must be a whole number >= 0"),
        (["--seeds", "4"], "unknown seed of study tiny"),
        (["--jobs", "-1"], "argument --jobs"),
        (["--threads", "0"], "'0': must be a whole number >= 1"),
        (["epocs=2"], "unknown key 'epocs': did you mean 'epochs'"),
        (["epochs"], "'epochs': changes are written key=value"),
        (["--device", "tpu"], "--device=tpu: not usable here: "),
        (["--slurm", "cluster=moon"], "--slurm cluster=moon: "),
    ],
)
def test_a_bad_command_line_is_one_line(computed, tmp_path: Path, capsys, words: list[str], message: str):
    if "--slurm" in words:
        pytest.importorskip("submitit")
    assert main(["study", str(computed[0].path), "--root", str(tmp_path / "new"), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "new" / "runs").exists()


def test_a_study_writes_its_own_files_and_no_other(computed, tmp_path: Path, capsys):
    assert main(["report", str(computed[0].path), "--html", str(tmp_path / "x.html")]) == 2
    assert "--html: a study writes its files under" in capsys.readouterr().err


def test_slurm_without_submitit_is_one_line(computed, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "submitit", None)
    assert main(["study", str(computed[0].path), "--root", str(tmp_path / "new"), "--slurm", "partition=gpu"]) == 2
    assert "--slurm needs submitit: pip install 'sslkuramoto[slurm]'" in capsys.readouterr().err


def test_each_chain_that_lacks_something_is_one_job(computed, root: Path, capsys):
    pytest.importorskip("submitit")
    (result,) = (path for path in root.glob("runs/*/results/clean-*.json") if "num_steps: 2" in _recipe(path))
    result.unlink()
    assert main(["study", str(computed[0].path), "--root", str(root), "--slurm", "cluster=debug", "timeout_min=5"]) == 0
    captured = capsys.readouterr()
    assert [line.split(": ")[1] for line in captured.err.splitlines() if line.startswith("job ")] == ["done"]
    assert result.is_file()


def _recipe(result: Path) -> str:
    return (result.parents[1] / "recipe.yaml").read_text()
