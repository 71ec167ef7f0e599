"""What a plan shares, what it lacks, and what it says when data are not there."""

import json
import re
import shutil
from pathlib import Path

import pytest
from small_runs import after_step, press_ctrl_c

from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.recipe import recipe_file
from sslkuramoto.study import Study, collect, load_study, plan_study, run_plan
from sslkuramoto.study.cost import cost_of_plan, plan_text
from sslkuramoto.study.jobs import Evaluation
from sslkuramoto.training.learner import resolved

GONE = {"set__data": {"name": "cifar10", "root": "nowhere"}}


def test_rows_share_stages_and_columns_share_measurements(study, tmp_path: Path):
    plan = plan_study(study(), tmp_path)
    first, second = plan.chains["simclr", 0], plan.chains["steps", 0]
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert plan.cells["simclr", "clean", 0] == plan.cells["simclr", "vote", 0]
    assert plan.cells["simclr", "knn", 0] == plan.cells["steps", "knn", 0]
    assert (len(plan.stages), len(plan.evaluations)) == (3, 3)


def test_every_task_stands_after_those_it_needs_and_a_whole_seed_before_the_next(study, tmp_path: Path):
    plan = plan_study(study(seeds=[3, 1]), tmp_path)
    order = list(plan.tasks)
    assert all(order.index(need) < order.index(key) for key, task in plan.tasks.items() for need in task.needs)
    assert ["seed 3" in task.label for task in plan.tasks.values()] == [True] * 6 + [False] * 6


@pytest.mark.parametrize(("limit", "times"), [(16, 1), ("${seed}", 3)])
def test_a_recipe_is_read_once_where_seeds_differ_in_the_seed_alone(limit, times, study, tmp_path: Path, monkeypatch):
    loaded = study(seeds=[11, 12, 13], **{"set__data.limit": limit})
    read, recipe = [], Study.recipe
    monkeypatch.setattr(Study, "recipe", lambda itself, *which: read.append(which) or recipe(itself, *which))
    plan = plan_study(loaded, tmp_path)
    assert len(read) == times * 4, "two rows of two stages"
    for (row, seed), chain in plan.chains.items():
        for number, key in enumerate(chain):
            assert plan.tasks[key].recipe == resolved(recipe(loaded, row, number, seed))


def test_rows_seeds_and_columns_can_be_chosen(study, tmp_path: Path):
    loaded = study(seeds=[0, 1, 2], rows__steps__seeds=[0])
    assert list(plan_study(loaded, tmp_path).chains) == [("simclr", 0), ("steps", 0), ("simclr", 1), ("simclr", 2)]
    assert list(plan_study(loaded, tmp_path, rows=["simclr"], seeds=[2]).chains) == [("simclr", 2)]
    with pytest.raises(UserError, match="unknown row of study tiny 'simclear': did you mean 'simclr'"):
        plan_study(loaded, tmp_path, rows=["simclear"])
    with pytest.raises(UserError, match="unknown seed of study tiny"):
        plan_study(loaded, tmp_path, seeds=[7])
    with pytest.raises(UserError, match="unknown column of study tiny 'klean': did you mean 'clean'"):
        plan_study(loaded, tmp_path, columns=["klean"])


def test_of_chosen_columns_nothing_else_is_measured_and_rows_without_them_are_not_trained(study, tmp_path: Path):
    loaded = study(columns__knn__rows=["simclr"])
    assert plan_study(loaded, tmp_path, columns=["knn"]).cells.keys() == {("simclr", "knn", 0)}
    assert plan_study(loaded, tmp_path, columns=["knn"]).chains.keys() == {("simclr", 0)}
    whole, clean = plan_study(loaded, tmp_path), plan_study(loaded, tmp_path, columns=["clean"])
    assert clean.cells == {cell: key for cell, key in whole.cells.items() if cell[1] == "clean"}
    assert clean.chains == whole.chains
    with pytest.raises(UserError, match="no chosen row has a chosen seed and a chosen column"):
        plan_study(loaded, tmp_path, rows=["steps"], columns=["knn"])


def test_of_chosen_columns_the_training_after_the_measured_run_is_left_out(study, tmp_path: Path):
    plan = plan_study(study(columns__knn__stage=0), tmp_path, rows=["simclr"], columns=["knn"])
    assert [stage.recipe.objective.name for stage in plan.stages] == ["simclr"]
    assert [task.key for task in plan.missing()] == [*plan.chains["simclr", 0], *plan.cells.values()]


def test_the_run_of_another_row_is_made_first_and_given_by_its_directory(study, tmp_path: Path, monkeypatch):
    robust = {
        "protocol": "clean",
        "metric": "accuracy",
        "rows": ["steps"],
        "set": {"draws": 21, "initial": "${run:simclr}"},
    }
    seen = []

    def load(name: str, overrides=()):
        seen.extend(word for word in overrides if word.startswith("initial="))
        return original(name, [word for word in overrides if not word.startswith("initial=")])

    from sslkuramoto.study import model
    from sslkuramoto.study import plan as planning

    original = model.load_protocol
    for reading in (model, planning):  # of the file that is checked, and for the plan
        monkeypatch.setattr(reading, "load_protocol", load)
    plan = plan_study(study(columns__robust=robust), tmp_path, rows=["steps"])
    task = plan.tasks[plan.cells["steps", "robust", 0]]
    assert isinstance(task, Evaluation)
    assert [path.name for path in task.sources] == [task.needs[1]]
    assert task.overrides == ("draws=21", f'initial="{task.sources[0]}"')
    assert plan.tasks[task.needs[1]].label == "simclr, seed 0: digits-akorn-finetune"
    assert seen[-1] == f'initial="{task.needs[1].split("-")[-2]}"', "the key names the content, not the place"
    assert list(plan.chains) == [("steps", 0)]
    assert set(task.needs) <= {missing.key for missing in plan.missing()}


def test_a_row_changes_options_of_its_measurements_and_of_no_others(study, tmp_path: Path):
    loaded = study(rows__steps__measure={"draws": 21}, columns__knn__except=["steps"], columns__vote__set={"draws": 30})
    plan = plan_study(loaded, tmp_path)

    def words(row: str, column: str) -> tuple[str, ...]:
        task = plan.tasks[plan.cells[row, column, 0]]
        assert isinstance(task, Evaluation)
        return task.overrides

    assert (words("simclr", "clean"), words("simclr", "vote")) == ((), ("draws=30",))
    assert (words("steps", "clean"), words("steps", "vote")) == (("draws=21",), ("draws=21",))
    assert plan.cells["steps", "clean", 0] == plan.cells["steps", "vote", 0]


def test_without_data_the_plan_is_printed_and_says_what_is_missing(study, tmp_path: Path):
    plan = plan_study(study(**GONE), tmp_path)
    assert len(plan.problems) == 1
    assert "nowhere" in plan.problems[0]
    text = plan_text(plan, cost_of_plan(plan))
    assert "training runs: 3 to do, 0 of 3 done" in text
    assert f"cannot run here: {plan.problems[0]}" in text
    assert "cost unknown" in text
    with pytest.raises(UserError, match="nowhere") as caught:
        run_plan(plan, jobs=0)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_steps_are_counted_and_seconds_taken_from_what_was_measured_before(study, tmp_path: Path, computed):
    plan = plan_study(study(set__epochs=3, seeds=[0, 1]), tmp_path)
    cost = cost_of_plan(plan)
    assert [(share.name, share.count, share.steps) for share in cost.training] == [
        ("digits-akorn-simclr", 2, 6),
        ("digits-akorn-finetune", 2, 6),
        ("digits-akorn-finetune", 2, 6),
    ]
    assert all(share.seconds is not None and share.seconds > 0 for share in cost.training)
    assert cost.unknown == 0
    assert sum(share.count for share in cost.measuring) == 6
    assert {share.source for share in cost.measuring} == {"its passes at most, timed here"}
    loaded, root, _ = computed
    for file in root.glob("runs/*/results/knn-*.json"):
        content = json.loads(file.read_text())
        copy = tmp_path / "root" / file.relative_to(root)
        copy.parent.mkdir(parents=True)
        copy.write_text(json.dumps(content | {"seconds": 7.5}))
    other = cost_of_plan(plan_study(study(set__epochs=3), tmp_path / "root"))
    assert [share.seconds for share in other.measuring if share.name == "knn (knn)"] == [7.5]
    assert cost_of_plan(plan_study(loaded, root)).seconds == 0


def test_results_of_another_code_version_count_only_when_asked(computed, tmp_path: Path, monkeypatch):
    loaded, root, table = computed
    copy = shutil.copytree(root, tmp_path / "root")
    monkeypatch.setattr("sslkuramoto.study.plan.training_code", lambda *_: "abcdef")
    monkeypatch.setattr("sslkuramoto.study.plan.measuring_code", lambda *_: "abcdef")
    assert len(plan_study(loaded, copy).missing()) == 6
    other = collect(loaded, copy)
    assert all(not cell.values for cell in other.cells.values())
    assert other.notes == []
    plan = plan_study(loaded, copy, any_code=True)
    assert plan.missing() == []
    again = collect(loaded, copy, any_code=True)
    assert {at: cell.mean for at, cell in again.cells.items()} == {at: cell.mean for at, cell in table.cells.items()}
    assert again.notes == ["3 results and 3 training runs come from another version of the code than this one"]


def test_a_run_of_another_version_whose_weights_have_another_precision_never_counts(
    computed, tmp_path: Path, monkeypatch
):
    loaded, root, _ = computed
    copy = shutil.copytree(root, tmp_path / "root")
    for file in copy.glob("runs/*/recipe.yaml"):  # older keys did not name it
        file.write_text(re.sub("precision: .*", "precision: bf16", file.read_text()))
    monkeypatch.setattr("sslkuramoto.study.plan.training_code", lambda *_: "abcdef")
    assert len(plan_study(loaded, copy, any_code=True).missing()) == 6


def test_a_run_on_weights_of_another_version_has_a_version_of_its_own(computed, tmp_path: Path, monkeypatch):
    loaded, root, _ = computed
    copy = shutil.copytree(root, tmp_path / "root")
    last = plan_study(loaded, copy).chains["steps", 0][1]
    shutil.rmtree(copy / "runs" / last)
    monkeypatch.setattr("sslkuramoto.study.plan.training_code", lambda *_: "abcdef")
    mixed = plan_study(loaded, copy, any_code=True).chains["steps", 0][1]
    assert mixed.rsplit("-", 1)[0] == last.rsplit("-", 1)[0]
    assert mixed.rsplit("-", 1)[1] not in (last.rsplit("-", 1)[1], "abcdef")


def test_a_start_that_has_gone_stops_only_what_has_not_begun(computed, study, tmp_path: Path):
    start = shutil.copytree(computed[1] / "runs" / plan_study(*computed[:2]).chains["simclr", 0][0], tmp_path / "start")
    recipe = tmp_path / "from.yaml"
    recipe.write_text(re.sub(r"(?m)^init: .*$", f"init: {start}", recipe_file("digits-akorn-finetune").read_text()))
    rows = {
        "begun": {"train": [{"recipe": str(recipe), "set": {"epochs": 2}}]},
        "new": {"train": [{"recipe": str(recipe), "set": {"epochs": 3}}]},
    }
    clean = {"clean": {"protocol": "clean", "metric": "accuracy"}}
    loaded, root = study(rows=rows, columns=clean, compare=None, published=None), tmp_path / "root"
    plan = plan_study(loaded, root)
    with after_step(1, press_ctrl_c), pytest.raises(Interrupted):
        run_plan(plan, jobs=0, report=lambda line: None)
    shutil.rmtree(start)
    loaded = load_study(loaded.path)
    after = plan_study(loaded, root)
    assert after.tasks.keys() == plan.tasks.keys()
    assert run_plan(after, jobs=0, report=lambda line: None) == 2
    cells = collect(loaded, root).cells
    assert cells["begun", "clean"].mean is not None
    assert f"init={start}: no finished run" in cells["new", "clean"].failures[0]
