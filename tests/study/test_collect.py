"""What a table says of cells that are full, half full, broken or not a number, and what a plan says they cost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sslkuramoto.errors import UserError
from sslkuramoto.study import Study, collect, load_study, plan_study
from sslkuramoto.study.cost import Cost, Share, cost_of_plan, plan_text
from sslkuramoto.study.jobs import record_failure
from sslkuramoto.study.table import check_metrics
from sslkuramoto.study.time_left import TimeLeft


@pytest.fixture(scope="module")
def of_three_seeds(content, tmp_path_factory: pytest.TempPathFactory) -> Study:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(json.dumps(content(seeds=[0, 1, 2])))
    return load_study(path)


@pytest.fixture
def written(of_three_seeds: Study, tmp_path: Path) -> Callable[..., tuple[Study, Path]]:
    """A study of three seeds of which the clean accuracies of a row are written by hand."""

    def write(*values: Any, row: str = "simclr", **content: Any) -> tuple[Study, Path]:
        loaded, root = of_three_seeds, tmp_path / "root"
        plan = plan_study(loaded, root)
        for seed, value in enumerate(values):
            if value is None:
                continue
            metrics = {"accuracy": {"value": value, "low": None, "high": None, "n": 2, "unit": "fraction"}}
            path = plan.tasks[plan.cells[row, "clean", seed]].path
            path.parent.mkdir(parents=True)
            path.write_text(
                json.dumps({"metrics": metrics, "per_image": {"correct": [value, value]}, "seconds": 1, **content})
            )
        return loaded, root

    return write


def cell_of(written: tuple[Study, Path]):
    return collect(*written).cells["simclr", "clean"]


def test_a_cell_is_the_mean_and_the_sample_deviation_over_seeds(written):
    cell = cell_of(written(0.2, 0.5, 0.8))
    assert cell.mean == pytest.approx(0.5)
    assert cell.std == pytest.approx(0.3), "n - 1: with n it would be 0.245"
    assert cell.n_seeds == 3
    assert [value.seed for value in cell.values] == [0, 1, 2]
    assert cell.values[0].correct == [0.2, 0.2]


def test_a_cell_that_is_half_full_says_which_seeds_it_lacks_and_why(written):
    loaded, root = written(0.2, 0.6, None)
    plan = plan_study(loaded, root)
    cell = collect(loaded, root).cells["simclr", "clean"]
    assert (cell.n_seeds, cell.missing, cell.failures) == (2, [2], {})
    assert cell.mean == pytest.approx(0.4)
    record_failure(root, plan.cells["simclr", "clean", 2], "x", "no luck", "")
    cell = collect(loaded, root).cells["simclr", "clean"]
    assert (cell.n_seeds, cell.missing, cell.failures) == (2, [], {2: "no luck"})
    assert collect(loaded, root).cells["steps", "clean"].missing == [0, 1, 2]


def test_one_seed_has_no_deviation_and_none_no_mean(written):
    assert cell_of(written(0.2)).std is None
    cell = collect(*written()).cells["steps", "clean"]
    assert (cell.mean, cell.std, cell.n_seeds) == (None, None, 0)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ('{"metrics": {"accuracy"', "truncated or not JSON"),
        ("[]", "holds a list, must hold a JSON object"),
        ("null", "holds a NoneType"),
        ("\udcff", "truncated or not JSON"),
        ('{"metrics": []}', "metrics=[]: must be an object"),
        ('{"metrics": {"accuracy": 0.5}}', "metrics.accuracy=0.5: must be an object with a value"),
        ('{"metrics": {"accuracy": {"value": 0.5, "n": 2}}, "per_image": {"correct": []}}', "one entry per image"),
        ('{"metrics": {"accuracy": {"value": null, "n": 2}}, "per_image": {"correct": [1]}}', "a finite value"),
        ('{"metrics": {"accuracy": {"value": "high", "n": 2}}}', "metrics.accuracy.value='high': must be a number"),
        ('{"metrics": {"accuracy": {"value": 0.5}}, "per_image": {"correct": [1]}}', "a finite value and its n"),
        ('{"metrics": {"accuracy": {"value": 0.5, "n": 2}}, "per_image": {"correct": 3}}', "correct=3: must be a list"),
        ('{"metrics": {"accuracy": {"value": 0.5, "n": 2}}, "data": "digits"}', "data='digits': must be an object"),
    ],
)
def test_a_damaged_result_is_a_dash_that_says_what_to_do(written, damage: str, reason: str):
    loaded, root = written(0.2, 0.6)
    plan = plan_study(loaded, root)
    path = plan.tasks[plan.cells["simclr", "clean", 1]].path
    path.write_bytes(damage.encode(errors="surrogateescape"))
    cell = collect(loaded, root).cells["simclr", "clean"]
    assert [value.seed for value in cell.values] == [0]
    assert list(cell.failures) == [1]
    assert cell.failures[1].startswith(f"{path}: ")
    assert reason in cell.failures[1]
    assert cell.failures[1].endswith("(damaged result; remove it and measure again)")


@pytest.mark.parametrize(
    ("per_image", "others"),
    [
        (
            {"index": [0, 1], "correct": ["apgd-ce", None], "held/correct": [1, 0.5], "clean_correct": [1, 1]},
            "these hold shares: clean_correct, held/correct",
        ),
        ({"index": [0, 1], "correct": [None, None]}, "no other does"),
        ({"correct": [3, 4], "empty": []}, "no other does"),
    ],
)
def test_a_per_image_list_without_shares_is_named_with_those_that_have_some(written, per_image: dict, others: str):
    loaded, root = written(0.2, per_image=per_image)
    told = f"per-image list 'correct' of protocol clean holds no shares of correct draws; {others}"
    assert collect(loaded, root).cells["simclr", "clean"].failures == {0: told}
    plan = plan_study(loaded, root)
    with pytest.raises(UserError) as error:
        check_metrics(plan)
    file = plan.tasks[plan.cells["simclr", "clean", 0]].path
    assert str(error.value) == f"study tiny: columns.clean: {told} (read from {file})"


def test_a_per_image_list_that_is_not_that_of_the_number_is_a_dash(written):
    """Paired tests of a list beside another number would contradict their column."""
    loaded, root = written(0.2, 0.6, per_image={"correct": [0.7, 0.5]})
    plan = plan_study(loaded, root)
    file = plan.tasks[plan.cells["simclr", "clean", 0]].path
    cell = collect(loaded, root).cells["simclr", "clean"]
    assert cell.failures == {
        0: f"{file}: per-image list 'correct' of protocol clean does not belong to 'accuracy', or the file was edited: "
        "its mean is 0.6, the number 0.2"
    }
    assert [value.value for value in cell.values] == [0.6]


def test_results_of_another_version_do_not_stop_a_study_by_what_they_lack(written):
    loaded, root = written(0.2, per_image={"other": [0.2, 0.2]})
    plan = plan_study(loaded, root)
    with pytest.raises(UserError, match="unknown per-image result of protocol clean 'correct'"):
        check_metrics(plan)
    plan.other_code.add(plan.cells["simclr", "clean", 0])
    check_metrics(plan)


def test_a_value_knows_the_data_and_split_and_places_of_its_images(written):
    cell = cell_of(written(0.2, 0.3, data={"fingerprint": "abc", "split": "test", "n": 2}))
    which = {"fingerprint": "abc", "split": "test", "n": 2, "index": None}
    assert [value.images for value in cell.values] == [which] * 2


def test_a_damaged_result_stops_no_estimate(written, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.cost._own_estimate", lambda *_: None)
    monkeypatch.setattr("sslkuramoto.study.cost.seconds_a_step", lambda *_: 1.0)
    loaded, root = written(0.2)
    (result,) = root.glob("runs/*/results/*.json")
    result.write_text("{")
    shares = [share for share in cost_of_plan(plan_study(loaded, root)).measuring if share.name == "clean"]
    assert [(share.count, share.seconds) for share in shares] == [(5, None)]


def test_reading_a_table_writes_nothing(study, tmp_path: Path):
    collect(study(), tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_a_dry_run_in_full(study, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.cost.seconds_a_step", lambda *_: 60.0)
    monkeypatch.setattr("sslkuramoto.study.cost._own_estimate", lambda *_: None)
    loaded, root = study(), tmp_path / "root"
    plan = plan_study(loaded, root)
    record_failure(root, plan.cells["simclr", "knn", 0], "x", "no luck", "")
    (root / "runs" / plan.chains["steps", 0][0]).mkdir(parents=True)
    (root / "runs" / plan.chains["steps", 0][0] / "encoder.safetensors").touch()
    lines = plan_text(plan, cost_of_plan(plan), jobs=2).splitlines()
    assert lines == [
        "tiny: Tiny",
        "  training runs: 2 to do, 1 of 3 done",
        "    2 x digits-akorn-finetune: 2 steps, 2 min each (a step timed here)",
        "  measurements: 2 to do, 0 of 3 done, 1 failed (--retry tries again)",
        "    2 x clean: cost unknown",
        "  estimate: 4 min of one worker, about 2 min with 2, and 2 tasks of unknown cost",
    ]
    again = plan_text(plan, cost_of_plan(plan, retry=True), jobs=1, retry=True).splitlines()
    assert again[3:] == [
        "  measurements: 3 to do, 0 of 3 done, 1 failed",
        "    2 x clean: cost unknown",
        "    1 x knn (knn): cost unknown",
        "  estimate: 4 min of one worker, and 3 tasks of unknown cost",
    ]


def test_a_training_costs_its_steps_times_a_step_timed_here(study, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.cost.seconds_a_step", lambda recipe, *_: 0.25 * recipe.batch_size)
    plan = plan_study(study(set__epochs=5, set__batch_size=4), tmp_path)
    shares = cost_of_plan(plan).training
    assert [(share.count, share.steps, share.seconds) for share in shares] == [(1, 20, 20.0), (2, 20, 20.0)]
    assert sum(share.count for share in shares) == 3


def test_a_step_that_cannot_be_timed_is_unknown_and_stops_nothing(study, tmp_path: Path, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr("sslkuramoto.study.cost._timed", no_memory)
    assert {share.seconds for share in cost_of_plan(plan_study(study(), tmp_path)).training} == {None}


def test_seconds_of_earlier_results_are_averaged(written, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.cost.seconds_a_step", lambda *_: 1.0)
    loaded, root = written(0.5, 0.5, seconds=30)
    (share,) = (share for share in cost_of_plan(plan_study(loaded, root)).measuring if share.name == "clean")
    assert (share.count, share.seconds, share.source) == (4, 30.0, "as earlier results took")
    total = Cost([Share("a", 2, 10, 3.0, "")], [Share("b", 3, 0, None, ""), Share("c", 1, 0, 0.5, "")])
    assert (total.seconds, total.unknown) == (6.5, 3)


def test_the_time_left_follows_what_the_finished_tasks_took():
    left = TimeLeft({"a": 10.0, "b": 10.0, "c": 30.0, "d": None}, workers=2)
    assert left.of(["a", "b", "c"]) == "about 30 s left", "the longest task, for two run side by side"
    left.finished("a", 20.0)
    assert left.of(["b", "c"]) == "about 60 s left", "tasks take twice their estimates"
    assert left.of(["b", "d"]) == "about 20 s left, and 1 tasks of unknown cost"
    assert left.of(["d"]) == left.of([]) == ""
