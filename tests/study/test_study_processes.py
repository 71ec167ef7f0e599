"""Several processes at one study, and what ends them: the same numbers, nothing twice, nobody left behind."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from in_workers import be_killed_while_saving
from made_rows import LAYERS, MODEL, NETWORK, with_model
from small_runs import assert_same_run

from sslkuramoto.cli import main
from sslkuramoto.errors import Interrupted
from sslkuramoto.sources import PACKAGE
from sslkuramoto.study import Study, collect, load_study, plan_study, run_plan
from sslkuramoto.study.execute import Outcome
from sslkuramoto.study.jobs import Task
from sslkuramoto.study.workers import Here

PATIENCE = 300  # seconds; a process imports torch first, on a machine that others use too


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start Python in a session of its own; what is left of it is killed in the end."""
    started: list[subprocess.Popen] = []

    def start(code: str, *words: str) -> subprocess.Popen:
        log = (tmp_path / f"log-{len(started)}.txt").open("w")
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code, *words],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        )
        return started[-1]

    yield start
    for process in started:
        for left in of_session(process.pid):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(left, signal.SIGKILL)
        process.wait()


def of_session(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(rest[2]) == session and state not in "ZX":
            found.append(int(folder.name))
    return found


def hears_ctrl_c(process: int) -> bool:
    status = dict(line.split(":\t", 1) for line in (Path("/proc") / str(process) / "status").read_text().splitlines())
    deaf_to = int(status["SigBlk"], 16) | int(status["SigIgn"], 16)
    return not deaf_to >> (signal.SIGINT - 1) & 1


def until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def metrics_of(root: Path) -> dict[str, object]:
    return {
        str(file.relative_to(root)): json.loads(file.read_text())["metrics"]
        for file in root.glob("runs/*/results/*.json")
    }


def stamps_of_what_is_done(loaded: Study, root: Path) -> dict[Path, int]:
    paths = [task.path for task in plan_study(loaded, root).tasks.values() if task.done()]
    files = [path / "encoder.safetensors" if path.is_dir() else path for path in paths]
    return {file: file.stat().st_mtime_ns for file in files}


@pytest.fixture
def model_row(content, tmp_path: Path, monkeypatch) -> Iterator[Study]:
    """The tiny study with a row by the network of a function, in its own working directory."""
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "layers_of_rows.py").write_text(LAYERS)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(with_model(content(), MODEL)))
    monkeypatch.chdir(tmp_path)
    yield load_study(path, ["epochs=2"])
    for name in ("layers_of_rows", "network_file_net"):
        sys.modules.pop(name, None)


def test_two_workers_of_which_one_is_killed_while_it_saves_leave_what_one_process_leaves(
    model_row: Study, tmp_path: Path, monkeypatch, capfd
):
    whole, root, rows = tmp_path / "whole", tmp_path / "root", ["simclr", "net"]
    assert run_plan(plan_study(model_row, whole, rows=rows), jobs=0, report=lambda line: None) == 0
    capfd.readouterr()
    monkeypatch.setenv("KILLED", str(tmp_path / "killed"))
    monkeypatch.setenv("ROOT", str(root))
    plan, lines = plan_study(model_row, root, rows=rows), []
    assert run_plan(plan, jobs=2, device="cpu", prepare=be_killed_while_saving, report=lines.append) == 0
    assert sorted(line.split()[0] for line in lines if line.startswith("(")) == [f"({k}/6)" for k in range(1, 7)]
    assert [line for line in lines if not line.startswith("(")] == [
        "simclr, seed 0: digits-akorn-simclr: the process ended by SIGKILL; the machine may have run out of memory; "
        "restarted, it continues from where it was"
    ]
    left = json.loads((tmp_path / "killed" / "left.json").read_text())
    assert left == {"step": 2, "files": 2}, "the checkpoint before is whole; what was being written lies beside it"
    first = root / "runs" / plan.chains["simclr", 0][0]
    assert [path.name for path in (first / "checkpoints").iterdir()] == ["last.safetensors"]
    assert len(json.loads((first / "environment.json").read_text())["sessions"]) == 2, "it continued"
    assert metrics_of(root) == metrics_of(whole)
    assert len(list(root.glob("runs/net-build-*/results/*.json"))) == 2, "workers call functions too"
    for run in plan.stages:
        assert_same_run(run.path, whole / "runs" / run.key)
    assert not (root / "failures").exists()
    assert "[simclr, seed 0: knn (knn)] features of test: 20 images, 20 draws" in capfd.readouterr().err


COMMAND_THAT_WAITS = """
import sys
from pathlib import Path
from in_workers import wait_in_the_second_training
from sslkuramoto.study import load_study, plan_study, run_plan
if __name__ == "__main__":
    plan = plan_study(load_study(Path(sys.argv[1])), Path(sys.argv[2]))
    run_plan(plan, jobs=1, device="cpu", prepare=wait_in_the_second_training)
"""


def test_of_two_commands_at_once_that_share_what_is_missing_the_one_left_after_kill_9_finishes_all(
    computed, tmp_path: Path, command, monkeypatch, capsys
):
    loaded, whole, table = computed
    root, waits = tmp_path / "root", tmp_path / "waits"
    monkeypatch.setenv("WAITS", str(waits))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), str(PACKAGE.parent)]))
    other = command(COMMAND_THAT_WAITS, str(loaded.path), str(root))
    until(waits.exists)
    before: dict[Path, int] = {}

    def shoot() -> None:  # when only the training of the other command is missing, and what needs it
        until(lambda: len(stamps_of_what_is_done(loaded, root)) == 4)
        before.update(stamps_of_what_is_done(loaded, root))
        os.kill(other.pid, signal.SIGKILL)

    thread = threading.Thread(target=shoot)
    thread.start()
    assert main(["study", str(loaded.path), "--root", str(root), "--device", "cpu", "--jobs", "0"]) == 0
    thread.join()
    until(lambda: not of_session(other.pid))
    said = capsys.readouterr()
    assert "simclr, seed 0: digits-akorn-finetune: another process is computing it" in said.err
    assert "81.5" in said.out
    assert "not computed yet" not in said.out
    sessions = {
        run: len(json.loads((root / "runs" / run / "environment.json").read_text())["sessions"])
        for run in (*plan_study(loaded, root).chains["simclr", 0], plan_study(loaded, root).chains["steps", 0][1])
    }
    assert [*sessions.values()] == [1, 2, 1], "its worker wrote a checkpoint and ended with it"
    assert before.items() <= stamps_of_what_is_done(loaded, root).items(), "nothing was made twice"
    assert metrics_of(root) == metrics_of(whole)
    for file in whole.glob("runs/*/encoder.safetensors"):
        assert file.read_bytes() == (root / file.relative_to(whole)).read_bytes()
    found = collect(loaded, root)
    assert {at: cell.mean for at, cell in found.cells.items()} == {at: cell.mean for at, cell in table.cells.items()}
    assert not list((root / "failures").glob("*"))


def test_after_ctrl_c_there_is_a_checkpoint_and_no_orphan(computed, tmp_path: Path, capfd):
    loaded, root = computed[0], tmp_path / "root"
    heard: dict[int, bool] = {}

    def press() -> None:
        try:
            until(lambda: any(file.read_text().count("\n") > 3 for file in root.glob("runs/*/metrics.csv")))
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                heard[worker.pid] = hears_ctrl_c(worker.pid)
                os.kill(worker.pid, signal.SIGINT)  # a terminal sends it to all
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    words = [str(loaded.path), "epochs=5000", "--root", str(root), "--device", "cpu", "--jobs", "1"]
    assert main(["study", *words]) == 130
    thread.join()
    assert [*heard.values()] == [False], "the command decides alone"
    assert not [pid for pid in heard if (Path("/proc") / str(pid)).exists()], "the command waits for its worker"
    text = capfd.readouterr().err
    assert text.splitlines()[-1] == "sslkuramoto: 0 of 6 are done; the same command continues from there"
    assert "Traceback" not in text
    assert len(list(root.glob("runs/*/checkpoints/last.safetensors"))) == 1
    assert not (root / "failures").exists()


class Crew(Here):
    """Workers that are this process, so that a test can say how their tasks end."""

    def __init__(self, jobs: int, root: Path, *, device: str, **_: object) -> None:
        super().__init__(root, device)


def test_a_task_whose_process_is_killed_twice_fails_alone(computed, tmp_path: Path, monkeypatch):
    loaded, whole, table = computed
    root = shutil.copytree(whole, tmp_path / "root")
    for result in root.glob("runs/*/results/*.json"):
        result.unlink()

    class Dying(Crew):
        def give(self, task: Task) -> None:
            if "knn" not in task.label:
                return super().give(task)
            reason = "the process ended by SIGKILL; the machine may have run out of memory"
            return self._ended.append((task, Outcome("killed", reason)))

    monkeypatch.setattr("sslkuramoto.study.run.Workers", Dying)
    lines: list[str] = []
    assert run_plan(plan_study(loaded, root), jobs=1, report=lines.append) == 1
    cells = collect(loaded, root).cells
    reason = "twice the process ended by SIGKILL; the machine may have run out of memory"
    assert cells["simclr", "knn"].failures == {0: reason}
    assert cells["steps", "clean"].mean == table.cells["steps", "clean"].mean
    assert [line.rpartition("; ")[2] for line in lines if "knn" in line] == [
        "restarted, it continues from where it was",
        "the machine may have run out of memory",
    ]


def test_sigterm_stops_workers_as_ctrl_c_does(study, tmp_path: Path, monkeypatch):
    stopped = []

    class Busy(Crew):
        def give(self, task: Task) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def stop(self) -> None:
            stopped.append(True)

    monkeypatch.setattr("sslkuramoto.study.run.Workers", Busy)
    with pytest.raises(Interrupted, match="0 of 6 are done; the same command continues from there"):
        run_plan(plan_study(study(), tmp_path / "root"), jobs=1, report=lambda line: None)
    assert stopped == [True]


def test_what_another_process_failed_at_meanwhile_is_not_tried_again(computed, tmp_path: Path, monkeypatch):
    loaded, whole, _ = computed
    root = shutil.copytree(whole, tmp_path / "root")
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()
    plan = plan_study(loaded, root)
    (task,) = plan.missing()
    monkeypatch.setattr("sslkuramoto.study.execute._measure", lambda *_: pytest.fail("tried again"))
    from sslkuramoto.study import run
    from sslkuramoto.study.jobs import record_failure

    def meanwhile(*arguments):
        schedule = original(*arguments)
        record_failure(root, task.key, "knn", "no luck", "")
        return schedule

    original = run._Schedule
    monkeypatch.setattr(run, "_Schedule", meanwhile)
    lines: list[str] = []
    assert run_plan(plan, jobs=0, report=lines.append) == 1
    assert lines == ["(1/1) simclr, seed 0: knn (knn): failed: no luck (in another process)"]
    assert collect(loaded, root).cells["simclr", "knn"].failures == {0: "no luck"}


def test_a_root_without_locks_is_a_reason_and_not_an_endless_wait(computed, tmp_path: Path, monkeypatch):
    loaded, whole, _ = computed
    root = shutil.copytree(whole, tmp_path / "root")
    (result,) = root.glob("runs/*/results/knn-*.json")
    result.unlink()

    def flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    assert run_plan(plan_study(loaded, root), jobs=0, report=lambda line: None) == 1
    (reason,) = collect(loaded, root).cells["simclr", "knn"].failures.values()
    assert "cannot be locked: Function not implemented; choose another --root" in reason
