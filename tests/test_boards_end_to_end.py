"""4 x 4 Sudoku through the whole house: recipe, training, resume, protocol, report, study; and parts that disagree."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from house_files import ROOT
from small_runs import Killed, after_step, assert_same_run, kill

from sslkuramoto.checkpoint import export_head
from sslkuramoto.cli import main
from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import evaluate, load_protocol, subject_of
from sslkuramoto.heads import HEADS, PerCell
from sslkuramoto.recipe import Part, Recipe, load_recipe
from sslkuramoto.report import discover, load, summarise
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.study import collect, load_study, plan_study, run_plan
from sslkuramoto.study.cost import cost_of_plan
from sslkuramoto.training import check, train

RECIPE = ROOT / "recipes" / "sudoku4-akorn.yaml"
SMALL = {
    "data.puzzles": 24,
    "data.puzzles_test": 20,
    "encoder.channels": 8,
    "encoder.num_steps": 2,
    "encoder.attention_heads": 2,
    "epochs": 2,
    "batch_size": 8,
    "engine.device": "cpu",
}


def recipe(*overrides: str) -> Recipe:
    return load_recipe(RECIPE, [*(f"{key}={value}" for key, value in SMALL.items()), *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe(), tmp_path_factory.mktemp("runs") / "sudoku").path


def test_a_run_that_is_killed_and_resumed_leaves_the_same_bytes(run: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed), after_step(4, kill):
        train(recipe(), tmp_path / "again")
    assert_same_run(train(recipe(), tmp_path / "again").path, run)


def test_a_run_with_symmetries_resumes_to_the_same_bytes_and_learns_from_other_boards(
    run: Path, tmp_path: Path
) -> None:
    moved = recipe("views={name: sudoku_symmetries}")
    whole = train(moved, tmp_path / "whole").path
    with pytest.raises(Killed), after_step(4, kill):
        train(moved, tmp_path / "again")
    assert_same_run(train(moved, tmp_path / "again").path, whole)
    losses = [(path / "metrics.csv").read_text().splitlines()[1] for path in (whole, run)]
    assert losses[0] != losses[1]


def test_a_measurement_finds_the_head_and_its_numbers_stand_in_the_report(run: Path) -> None:
    subject = subject_of(run)
    assert isinstance(subject.head, PerCell)
    result, path = evaluate(subject, load_protocol("sudoku"), {})
    assert json.loads(path.read_text())["data"]["name"] == "sudoku"
    assert {metric.n for metric in result.metrics.values()} == {20}
    summary = summarise([load(row) for row in discover([run])])
    assert {head.name for head in summary.heads} >= {"Boards solved: blank cells", "Boards solved: all cells"}


def test_a_head_for_another_spec_is_refused_when_the_run_is_opened(run: Path, tmp_path: Path) -> None:
    copy = RunDirectory(shutil.copytree(run, tmp_path / "run"))
    export_head(copy.head_file(), HEADS.build("linear", {}, 8, 4), Part("linear"))
    with pytest.raises(UserError, match=r"^the head of .*run reads images or pairs; data sudoku gives boards$"):
        subject_of(copy.path)


def test_the_command_line_trains_measures_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{key}={value}" for key, value in SMALL.items()]
    path = str(tmp_path / "run")
    assert main(["train", str(RECIPE), *words, "--run", path]) == 0
    assert [file.name for file in (tmp_path / "run" / "pictures").iterdir()] == ["phases.npz"], "boards have no views"
    assert main(["evaluate", path, "sudoku", "--dry-run", "--device", "cpu"]) == 0
    assert main(["evaluate", path, "sudoku", "--device", "cpu"]) == 0
    assert main(["report", path, "--html", str(tmp_path / "report.html")]) == 0
    said = capsys.readouterr().out
    assert "board_accuracy_blanks" in said
    assert "board_accuracy_all_cells" in said
    page = (tmp_path / "report.html").read_text()
    assert "Boards solved" in page
    assert 'class="dynamics"' in page
    assert ">board 3<" in page


def test_a_study_of_boards_is_planned_estimated_run_and_collected(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "eval" / "studies" / "sudoku4-small.yaml").read_text())
    content |= {"set": {key: value for key, value in SMALL.items() if key != "encoder.num_steps"}, "seeds": [0]}
    file = tmp_path / "sudoku-tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    study = load_study(file)
    plan = plan_study(study, tmp_path / "root")
    cost = cost_of_plan(plan, device="cpu")
    assert cost.unknown == 0
    assert run_plan(plan, jobs=0, device="cpu", report=lambda _: None) == 0
    table = collect(load_study(file), tmp_path / "root")
    assert all(table.cells[row, "boards"].mean is not None for row in ("steps_1", "steps_4"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder={name: akorn}"], "encoder akorn reads images; data sudoku gives boards"),
        (["data={name: digits}"], "encoder board_akorn reads boards; data digits gives images"),
        (
            ["objective={name: classification}"],
            "objective classification reads images or pairs; data sudoku gives boards",
        ),
        (["views={name: plain}"], "views plain reads images; data sudoku gives boards"),
        (["data.side=9", "data.givens=30"], "encoder board_akorn is built for boards of 4 x 4 cells, 4 symbols"),
    ],
)
def test_parts_that_disagree_are_refused_in_one_line_before_data_are_read(
    overrides: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    words = [f"{key}={value}" for key, value in SMALL.items() if not key.startswith(("data", "encoder"))]
    assert main(["train", str(RECIPE), *words, *overrides, "--run", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_study_column_that_reads_images_is_refused_for_boards(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "eval" / "studies" / "sudoku4-small.yaml").read_text())
    content["columns"]["knn"] = {"protocol": "knn", "metric": "accuracy"}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"columns.knn: protocol knn reads images; data sudoku gives boards"):
        load_study(file)


def test_the_recipe_is_checked_without_a_puzzle_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DATA, "build", lambda *_: pytest.fail("data were read"))
    before = torch.get_rng_state()
    check(recipe())
    assert torch.equal(torch.get_rng_state(), before)
