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

from sslkuramoto.cli import main
from sslkuramoto.errors import Interrupted
from sslkuramoto.study import Study, collect, load_study, plan_study, run_plan

COMMAND = [sys.executable, "-c", "from sslkuramoto.cli import main; raise SystemExit(main())"]
PATIENCE = 300  # seconds; a process imports torch first, on a machine that others use too


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start the command in a session of its own; what is left of it is killed in the end."""
    started: list[subprocess.Popen] = []

    def start(*words: str) -> subprocess.Popen:
        log = (tmp_path / f"log-{len(started)}.txt").open("w")
        started.append(
            subprocess.Popen(
                [*COMMAND, "study", *words],
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


def words_of(process: int) -> str:
    """Return the command line of a process that is sure to run: one on its way out has none left to show."""
    return (Path("/proc") / str(process) / "cmdline").read_text()


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


def test_two_workers_leave_what_one_process_leaves(computed, tmp_path: Path):
    loaded, whole, _ = computed
    lines: list[str] = []
    root = tmp_path / "root"
    assert run_plan(plan_study(loaded, root), jobs=2, device="cpu", report=lines.append) == 0
    assert sorted(line.split()[0] for line in lines) == [f"({k}/6)" for k in range(1, 7)]
    assert metrics_of(root) == metrics_of(whole)
    for file in whole.glob("runs/*/encoder.safetensors"):
        assert file.read_bytes() == (root / file.relative_to(whole)).read_bytes()


def test_after_sigkill_of_the_command_two_commands_at_once_share_what_is_missing(
    computed, tmp_path: Path, command, capsys
):
    loaded, whole, table = computed
    root = tmp_path / "root"
    words = [str(loaded.path), "--root", str(root), "--device", "cpu"]
    killed = command(*words, "--jobs", "1")
    until(lambda: stamps_of_what_is_done(loaded, root) if (root / "runs").is_dir() else None)
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: not of_session(killed.pid))
    before = stamps_of_what_is_done(loaded, root)
    assert 0 < len(before) < 6
    assert metrics_of(root).items() <= metrics_of(whole).items(), "a result is whole or absent"

    other = command(*words, "--jobs", "0")
    until(lambda: "training runs: " in (tmp_path / "log-1.txt").read_text())
    assert main(["study", *words, "--jobs", "0"]) == 0
    assert other.wait(PATIENCE) == 0
    here, there = capsys.readouterr().out, (tmp_path / "log-1.txt").read_text()
    for text in (here, there):
        assert "81.5" in text
        assert "not computed yet" not in text
    assert metrics_of(root) == metrics_of(whole)
    assert before.items() <= stamps_of_what_is_done(loaded, root).items(), "nothing was made twice"
    found = collect(loaded, root)
    assert {at: cell.mean for at, cell in found.cells.items()} == {at: cell.mean for at, cell in table.cells.items()}
    assert not list((root / "failures").glob("*"))


def test_after_ctrl_c_there_is_a_checkpoint_and_no_orphan(computed, tmp_path: Path, command):
    loaded, root = computed[0], tmp_path / "root"
    process = command(str(loaded.path), "epochs=5000", "--root", str(root), "--device", "cpu", "--jobs", "1")
    until(lambda: any(file.read_text().count("\n") > 3 for file in root.glob("runs/*/metrics.csv")))
    assert [pid for pid in of_session(process.pid) if hears_ctrl_c(pid)] == [process.pid], "the command decides alone"
    workers = [pid for pid in of_session(process.pid) if "spawn_main" in words_of(pid)]
    assert len(workers) == 1
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(PATIENCE) == 130
    assert not set(workers) & set(of_session(process.pid)), "the command waits for its worker"
    until(lambda: not of_session(process.pid))  # the tracker sees the end of its pipe a moment later
    text = (tmp_path / "log-0.txt").read_text()
    assert text.splitlines()[-1] == "sslkuramoto: 0 of 6 are done; the same command continues from there"
    assert "Traceback" not in text
    assert len(list(root.glob("runs/*/checkpoints/last.safetensors"))) == 1
    assert not (root / "failures").exists()


def test_a_worker_that_is_killed_once_is_replaced_and_its_task_continues_from_the_checkpoint(computed, tmp_path: Path):
    loaded, root = load_study(computed[0].path, ["epochs=40", "measure.checkpoint_every=1"]), tmp_path / "root"
    plan, lines = plan_study(loaded, root, rows=["simclr"]), []

    def shoot() -> None:
        until(lambda: list(root.glob("runs/*/checkpoints/last.safetensors")))
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)

    thread = threading.Thread(target=shoot)
    thread.start()
    assert run_plan(plan, jobs=1, device="cpu", report=lines.append) == 0
    thread.join()
    assert [line for line in lines if "SIGKILL" in line] == [
        "simclr, seed 0: digits-akorn-simclr: the process ended by SIGKILL; the machine may have run out of memory; "
        "restarted, it continues from where it was"
    ]
    first = root / "runs" / plan.chains["simclr", 0][0]
    assert len(json.loads((first / "environment.json").read_text())["sessions"]) == 2, "it went on"
    assert not (root / "failures").exists()


def test_sigterm_ends_workers_after_a_checkpoint(computed, tmp_path: Path):
    loaded, root = load_study(computed[0].path, ["epochs=5000"]), tmp_path / "root"

    def stop() -> None:
        until(lambda: any(file.read_text().count("\n") > 3 for file in root.glob("runs/*/metrics.csv")))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Interrupted, match="0 of 6 are done; the same command continues from there"):
        run_plan(plan_study(loaded, root), jobs=1, device="cpu", report=lambda line: None)
    thread.join()
    assert multiprocessing.active_children() == []
    assert len(list(root.glob("runs/*/checkpoints/last.safetensors"))) == 1


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
