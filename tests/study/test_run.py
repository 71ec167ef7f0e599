"""What is missing is computed once, whatever ends a process; what fails is a dash with its reason."""

import errno
import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from small_runs import Killed, after_step, assert_same_run, kill, press_ctrl_c

from sslkuramoto.cli import main
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.study import collect, plan_study, run_plan
from sslkuramoto.study.jobs import failure_file


def silently(plan, **options) -> int:
    return run_plan(plan, jobs=0, report=lambda line: None, **options)


def test_the_table_holds_measured_and_published_apart(computed):
    _, root, table = computed
    cell = table.cells["simclr", "clean"]
    (value,) = cell.values
    assert (value.seed, value.n, value.draws, value.unit) == (0, 20, 20, "fraction")
    assert value.low is not None
    assert value.high is not None
    assert value.low <= value.value <= value.high
    assert cell.mean == value.value == pytest.approx(sum(value.correct or []) / 20)
    assert cell.std is None
    assert cell.published is not None
    assert cell.published.value == 81.5
    assert table.cells["reported", "clean"].values == []
    assert table.cells["simclr", "vote"].values[0].result == value.result
    assert table.cells["simclr", "vote"].values[0].correct is None
    assert value.result.parent.parent == table.runs["simclr", 0][1]
    assert all((path / "encoder.safetensors").is_file() for runs in table.runs.values() for path in runs)
    assert json.loads(value.result.read_text())["protocol"] == "clean"
    assert not list((root / "failures").glob("*"))


def test_a_second_call_does_nothing(computed):
    loaded, root, _ = computed
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert silently(plan_study(loaded, root)) == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_after_a_kill_only_what_is_missing_is_done_and_the_result_is_the_same(study, tmp_path: Path, computed):
    loaded, whole, _ = computed
    plan = plan_study(loaded, tmp_path / "root")
    with after_step(0, kill), pytest.raises(Killed):
        silently(plan, retry=True)
    runs = [task for task in plan.tasks.values() if task.done()]
    assert runs == []
    with monitored(Clean) as calls, after_step(1, lambda: None):
        silently(plan)
    assert len(calls) == 2
    for run in plan.stages:
        assert_same_run(run.path, whole / "runs" / run.key)
    shutil.rmtree(plan.stages[-1].path)
    lines: list[str] = []
    run_plan(plan, jobs=0, report=lines.append)
    assert [line.split(": ")[1] for line in lines] == ["digits-akorn-finetune", "clean"]


class monitored:
    """Count the measurements of a protocol."""

    def __init__(self, protocol: type) -> None:
        self.protocol, self.original = protocol, protocol.__call__
        self.calls: list[int] = []

    def __enter__(self) -> list[int]:
        def call(protocol, subject):
            self.calls.append(1)
            return self.original(protocol, subject)

        self.protocol.__call__ = call
        return self.calls

    def __exit__(self, *_: object) -> None:
        self.protocol.__call__ = self.original


def test_ctrl_c_leaves_a_checkpoint_and_a_word(study, tmp_path: Path):
    plan = plan_study(study(set__epochs=2), tmp_path / "root")
    with after_step(1, press_ctrl_c), pytest.raises(Interrupted, match=r"stopped after step 2 .* 0 of 6 are done"):
        silently(plan)
    assert (plan.stages[0].path / "checkpoints" / "last.safetensors").is_file()
    assert not (tmp_path / "root" / "failures").exists()


def test_a_collapsed_training_is_a_dash_with_its_reason_and_the_rest_continues(study, tmp_path: Path):
    broken = {"recipe": "digits-akorn-simclr", "set": {"measure.stop_on_collapse": 1000.0, "epochs": 2}}
    fine = [{"recipe": "digits-akorn-supervised"}]
    loaded = study(
        rows__simclr__train=[broken, {"recipe": "digits-akorn-finetune"}], rows__steps__train=fine, compare=None
    )
    root = tmp_path / "root"
    assert silently(plan_study(loaded, root)) == 4
    table = collect(loaded, root)
    reason = table.cells["simclr", "clean"].failures[0]
    assert reason.startswith("training failed: ")
    assert "the representation collapsed" in reason
    assert table.cells["simclr", "clean"].missing == []
    assert table.cells["steps", "clean"].mean is not None
    failed = plan_study(loaded, root).stages[0].key
    assert json.loads(failure_file(root, failed).read_text())["label"] == "simclr, seed 0: digits-akorn-simclr"
    before = failure_file(root, failed).stat().st_mtime_ns
    assert silently(plan_study(loaded, root)) == 4
    assert failure_file(root, failed).stat().st_mtime_ns == before, "not tried again unasked"


@pytest.mark.parametrize(("number", "line"), [(errno.ENOSPC, "no space left on the disk"), (errno.EACCES, "denied")])
def test_what_the_machine_refuses_is_said_and_tried_again_unasked(
    computed, tmp_path: Path, monkeypatch, capsys, number: int, line: str
):
    loaded, whole, _ = computed
    root = shutil.copytree(whole, tmp_path / "root")
    shutil.rmtree(plan_study(loaded, root).stages[-1].path)
    real, words = os.replace, ["study", str(loaded.path), "--root", str(root), "--jobs", "0"]

    def refused(part: Path, path: Path) -> None:
        if Path(path).name == "recipe.yaml":
            raise OSError(number, os.strerror(number))
        real(part, path)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refused)
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"{line}; nothing was written (the same command tries it again)" in said
        assert "2 of 6 tasks failed" in said, "the training and what is measured on it"
    assert not list((root / "failures").glob("*"))
    assert main(words) == 0


def test_several_processes_are_refused_before_a_training_waits_for_them_under_a_lock(
    computed, tmp_path: Path, monkeypatch
):
    loaded, whole, _ = computed
    root = shutil.copytree(whole, tmp_path / "root")
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()
    assert silently(plan_study(loaded, root)) == 0, "measurements need no other process"
    shutil.rmtree(plan_study(loaded, root).stages[-1].path)
    with pytest.raises(UserError, match="torchrun or SLURM counts several processes; start a study in one"):
        silently(plan_study(loaded, root))
    assert not list((root / "failures").glob("*"))


def test_a_failed_measurement_is_tried_again_when_asked(computed, tmp_path: Path, monkeypatch):
    loaded, root, _ = computed
    copy = shutil.copytree(root, tmp_path / "root")
    for file in copy.glob("runs/*/results/knn-*.json"):
        file.unlink()

    def no_memory(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("sslkuramoto.evaluation.representation.knn.NearestNeighbours.__call__", no_memory)
        assert silently(plan_study(loaded, copy)) == 1
        (reason,) = collect(loaded, copy).cells["steps", "knn"].failures.values()
        assert reason.startswith("out of memory; ")
        patch.setattr("sslkuramoto.evaluation.representation.knn.NearestNeighbours.__call__", lambda *_: 1 / 0)
        assert silently(plan_study(loaded, copy), retry=True) == 1
        assert collect(loaded, copy).cells["steps", "knn"].failures == {0: "ZeroDivisionError: division by zero"}
        (file,) = (copy / "failures").iterdir()
        assert "Traceback" in json.loads(file.read_text())["traceback"]
    assert silently(plan_study(loaded, copy)) == 1
    assert silently(plan_study(loaded, copy), retry=True) == 0
    assert list((copy / "failures").iterdir()) == []
    assert collect(loaded, copy).cells["steps", "knn"].mean is not None


def test_a_metric_that_the_protocol_does_not_give_is_named_with_the_nearest(study, computed):
    _, root, _ = computed
    table = collect(study(columns__clean__metric="acuracy"), root)
    assert (
        "unknown metric of protocol clean 'acuracy': did you mean 'accuracy'"
        in table.cells["simclr", "clean"].failures[0]
    )
    table = collect(study(columns__clean__per_image="corect"), root)
    assert "did you mean 'correct'" in table.cells["simclr", "clean"].failures[0]


def test_what_another_process_is_at_is_waited_for_not_done_twice(computed, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sslkuramoto.study.run._PATIENCE", 0.2)
    loaded, root, _ = computed
    copy = shutil.copytree(root, tmp_path / "root")
    (result,) = copy.glob("runs/*/results/knn-*.json")
    content = result.read_text()
    result.unlink()
    lock = (copy / "locks" / f"{result.parents[1].name}+{result.stem}.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish() -> None:
        result.write_text(content)
        lock.close()

    timer = threading.Timer(1.0, finish)
    timer.start()
    lines: list[str] = []
    monkeypatch.setattr("sslkuramoto.study.execute._measure", lambda *_: pytest.fail("measured twice"))
    assert run_plan(plan_study(loaded, copy), jobs=0, report=lines.append) == 0
    timer.join()
    assert lines[0] == "simclr, seed 0: knn (knn): another process is computing it"
    assert len(lines) == 2


def test_a_moved_root_and_an_unfinished_run_in_it_are_no_other_study(study, tmp_path: Path):
    loaded = study(rows__simclr__published__knn=None, columns__knn=None, rows__steps=None, compare=None)
    plan = plan_study(loaded, tmp_path / "root")
    silently(plan)
    last = plan.stages[-1].path
    for name in ("encoder.safetensors", "head.safetensors"):
        (last / name).unlink()
    shutil.rmtree(last / "results")
    moved = (tmp_path / "root").rename(tmp_path / "moved")
    again = plan_study(loaded, moved)
    assert [task.key for task in again.missing()] == [plan.stages[-1].key, plan.evaluations[-1].key]
    assert silently(again) == 0


def test_data_that_are_not_there_are_a_dash_with_its_reason_and_the_rest_continues(study, tmp_path: Path):
    gone = {"data": {"name": "cifar10", "root": str(tmp_path / "nowhere")}}
    fine = [{"recipe": "digits-akorn-supervised"}]
    loaded = study(
        rows__simclr__train=[{"recipe": "digits-akorn-supervised", "set": gone}],
        rows__steps__train=fine,
        rows__simclr__published__knn=None,
        columns__knn=None,
        compare=None,
    )
    root = tmp_path / "root"
    plan = plan_study(loaded, root)
    assert silently(plan) == 2, "its training and its measurement"
    table = collect(loaded, root)
    assert "nowhere" in table.cells["simclr", "clean"].failures[0]
    assert table.cells["steps", "clean"].mean is not None
    assert not (root / "failures").exists(), "tried again without being asked, once the data are there"
    assert silently(plan_study(loaded, root)) == 2
