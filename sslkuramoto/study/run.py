"""Carry out what a plan lacks: each task after the one it needs, a failed one noted and the rest done."""

import os
import sys
import time
from collections.abc import Callable, Mapping

from sslkuramoto.durations import shown_time
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.study.execute import Outcome
from sslkuramoto.study.jobs import Stage, Task, failure_file, record_failure, recorded_failure
from sslkuramoto.study.plan import Plan
from sslkuramoto.study.table import value_of
from sslkuramoto.study.time_left import TimeLeft
from sslkuramoto.study.workers import Crew, Here, Workers
from sslkuramoto.training.processes import processes
from sslkuramoto.training.stopping import StopRequest

_PATIENCE = 2.0  # seconds until a task that another process was at is tried again


def run_plan(
    plan: Plan,
    *,
    jobs: int = 1,
    threads: int = 1,
    device: str = "auto",
    retry: bool = False,
    prepare: Callable[[], None] | None = None,
    report: Callable[[str], None] | None = None,
    expected: Mapping[str, float | None] | None = None,
) -> int:
    """Do everything of ``plan`` that is missing.

    Args:
        plan: from :func:`~sslkuramoto.study.plan.plan_study`.
        jobs: worker processes; 0 works in this one.
        threads: of each worker.
        device: where to train and measure, unless a recipe names a device.
        retry: also what failed before.
        prepare: called first in each worker.
        report: receives one line of progress at a time; stderr when None.
        expected: estimated seconds by key of a task, such as ``cost_of_plan(plan).tasks``, for the time left.

    Returns:
        How many tasks failed, now or before, or lack their data; the table holds the reasons but those of this machine
        (no room on the disk, no permission), which are reported and not recorded.

    Raises:
        UserError: data are not there, and so nothing can be done; where something can, the rest count as failed;
            torchrun or SLURM started several processes, which would train together under a lock of one.
        Interrupted: Ctrl-C or SIGTERM, after running trainings wrote their checkpoints.
    """
    todo = plan.possible(retry)
    if plan.problems and not todo and not any(task.done() for task in plan.tasks.values()):
        raise UserError(plan.problems[0])
    if any(isinstance(task, Stage) for task in todo) and not _alone():
        raise UserError(
            "torchrun or SLURM counts several processes; start a study in one, with --jobs N (where there is only one, "
            "unset SLURM_NTASKS)"
        )
    left = TimeLeft(expected or {}, min(max(jobs, 1), len(todo)))
    schedule = _Schedule(plan, todo, left, report or (lambda line: print(line, file=sys.stderr, flush=True)))
    if not todo:
        return plan.failures()
    if not jobs:
        return schedule.carry_out(Here(plan.root, device), None)
    workers = Workers(
        min(jobs, len(todo)), plan.root, device=device, threads=threads, any_code=plan.any_code, prepare=prepare
    )
    with StopRequest() as stop:
        return schedule.carry_out(workers, stop)


def _alone() -> bool:
    """Return whether torchrun or SLURM tells of no other process."""
    try:
        return processes(os.environ)[1] == 1
    except UserError:  # tasks that the variables count, and that were not started or cannot share a training
        return False


class _Schedule:
    """Which tasks wait, run and ended."""

    def __init__(self, plan: Plan, todo: list[Task], left: TimeLeft, report: Callable[[str], None]) -> None:
        self.plan, self.left, self.report = plan, left, report
        self.waiting = {task.key: task for task in todo}
        self.running: dict[str, Task] = {}
        self.not_before: dict[str, float] = {}
        self.killed: set[str] = set()
        self.hindered: set[str] = set()  # and what needs these
        self.total, self.settled = len(todo), 0
        self.failed_before = {task.key: self._failed_at(task.key) for task in todo}

    def carry_out(self, crew: Crew, stop: StopRequest | None) -> int:
        """Keep the crew busy until nothing waits.

        Raises:
            Interrupted: asked to stop.
        """
        try:
            while self.waiting or self.running:
                self._hand_out(crew)
                for task, outcome in crew.ended(0.5):
                    del self.running[task.key]
                    self._settle(task, outcome)
                if stop is not None and stop.made:
                    self._interrupted()
                if not self.running and self.waiting:
                    time.sleep(0.1)
        finally:
            crew.stop()
        return self.plan.failures(self.hindered)

    def _hand_out(self, crew: Crew) -> None:
        while crew.free and (task := self._next()) is not None:
            del self.waiting[task.key]
            if self._failed_at(task.key) != self.failed_before[task.key]:
                self._fail(task, f"{recorded_failure(self.plan.root, task.key)} (in another process)")
                continue
            self.running[task.key] = task
            crew.give(task)

    def _failed_at(self, key: str) -> int | None:
        """Return a stamp of the record of a failure, of this process or another; None without one."""
        file = failure_file(self.plan.root, key)
        return file.stat().st_mtime_ns if file.is_file() else None

    def _next(self) -> Task | None:
        """Return a task that can be done now, if possible of a run that is not in use: its features are shared."""
        now = time.monotonic()
        ready = [
            task
            for task in self.waiting.values()
            if not self.waiting.keys() & task.needs
            and not self.running.keys() & task.needs
            and self.not_before.get(task.key, 0) <= now
        ]
        runs = {task.run for task in self.running.values()}
        return next((task for task in ready if task.run not in runs), ready[0] if ready else None)

    def _settle(self, task: Task, outcome: Outcome) -> None:
        if outcome.kind == "interrupted":
            self._interrupted(outcome.reason)
        if outcome.kind == "busy":
            if task.key not in self.not_before:
                self.report(f"{task.label}: another process is computing it")
            self.not_before[task.key] = time.monotonic() + _PATIENCE
            self.waiting[task.key] = task
            return
        if outcome.kind == "killed" and task.key not in self.killed:
            self.killed.add(task.key)
            self.report(f"{task.label}: {outcome.reason}; restarted, it continues from where it was")
            self.waiting[task.key] = task
            return
        if outcome.kind == "done":
            self.settled += 1
            failure_file(self.plan.root, task.key).unlink(missing_ok=True)
            self.left.finished(task.key, outcome.seconds)
            left = self.left.of([*self.waiting, *self.running])
            done = f"{self._place()} {task.label}: done in {shown_time(outcome.seconds)}"
            self.report(f"{done}; {left}" if left else done)
            for line in self._unreadable(task):
                self.report(f"{task.label}: {line}")
            return
        if outcome.kind == "hindered":
            self.hindered.add(task.key)
            self._fail(task, f"{outcome.reason} (the same command tries it again)")
            return
        reason = f"twice {outcome.reason}" if outcome.kind == "killed" else outcome.reason
        if self._failed_at(task.key) == self.failed_before[task.key]:  # its process died before it recorded why
            record_failure(self.plan.root, task.key, task.label, reason, outcome.trace)
        self._fail(task, reason)

    def _unreadable(self, task: Task) -> list[str]:
        """Say at once, not after the last row, which columns will not find their number in a result."""
        columns, lines = self.plan.study.columns, dict[str, None]()
        for (_, column, seed), key in self.plan.cells.items():
            if key == task.key:
                try:
                    value_of(self.plan.tasks[key].path, columns[column], seed)
                except UserError as error:
                    lines[f"column {column}: {error}"] = None
        return list(lines)

    def _fail(self, task: Task, reason: str) -> None:
        """Say that a task failed, and drop what needs it."""
        self.settled += 1
        self.report(f"{self._place()} {task.label}: failed: {reason}")
        for key in [key for key in self.waiting if self._needs(key, task.key)]:
            if task.key in self.hindered:
                self.hindered.add(key)
            del self.waiting[key]
            self.settled += 1

    def _needs(self, key: str, before: str) -> bool:
        needs = self.plan.tasks[key].needs
        return before in needs or any(self._needs(each, before) for each in needs)

    def _place(self) -> str:
        return f"({self.settled}/{self.total})"

    def _interrupted(self, reason: str = "") -> None:
        what = f"{reason}; " if reason else ""
        raise Interrupted(f"{what}{self.settled} of {self.total} are done; the same command continues from there")
