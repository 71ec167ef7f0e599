"""Who does the tasks: this process, or workers that each import torch once and take tasks until none is left."""

import contextlib
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch

from sslkuramoto.study.execute import Outcome, carry_out
from sslkuramoto.study.jobs import Task
from sslkuramoto.study.keys import every_code


class Crew(Protocol):
    """Takes tasks, tells how they ended."""

    @property
    def free(self) -> bool:
        """Whether a task may be given now."""
        ...

    def give(self, task: Task) -> None:
        """Have a task done."""
        ...

    def ended(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """Return the tasks that ended; waits up to ``seconds`` for one."""
        ...

    def stop(self) -> None:
        """Have running tasks write their checkpoints and end."""
        ...


class Here:
    """This process, one task after the other."""

    def __init__(self, root: Path, device: str) -> None:
        self.root, self.device = root, device
        self._ended: list[tuple[Task, Outcome]] = []

    @property
    def free(self) -> bool:
        return not self._ended

    def give(self, task: Task) -> None:
        with _labelled(task.label):
            self._ended.append((task, carry_out(task, self.root, self.device)))

    def ended(self, seconds: float) -> list[tuple[Task, Outcome]]:
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Nothing runs while this is called."""


class Workers:
    """Several processes on this machine.

    Args:
        jobs: how many.
        root: of the studies.
        device: ``"auto"`` shares the GPUs of the machine out in turn.
        threads: of each.
        any_code: whether they may have read other sources than the plan was made with.
        prepare: called first in each; must be importable by name.
    """

    def __init__(
        self,
        jobs: int,
        root: Path,
        *,
        device: str,
        threads: int,
        any_code: bool,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.root, self.threads, self.prepare = root, threads, prepare
        self.code = None if any_code else every_code()
        gpus = torch.cuda.device_count() if device == "auto" else 0
        devices = [f"cuda:{number % gpus}" if gpus > 1 else device for number in range(jobs)]
        self._workers = [_Worker(self._start, each) for each in devices]

    def _start(self, connection: Connection, device: str) -> Any:
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(connection, self.root, device, self.threads, self.code, self.prepare), daemon=False
        )
        with _threads_of_children(self.threads), _deaf_to_ctrl_c():
            process.start()
        connection.close()  # ours of theirs: their end must be the only one
        return process

    @property
    def free(self) -> bool:
        return any(worker.task is None for worker in self._workers)

    def give(self, task: Task) -> None:
        next(worker for worker in self._workers if worker.task is None).give(task)

    def ended(self, seconds: float) -> list[tuple[Task, Outcome]]:
        busy: dict[Any, _Worker] = {worker.connection: worker for worker in self._workers if worker.task is not None}
        return [busy[connection].ended() for connection in (wait(list(busy), seconds) if busy else [])]

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()
        try:
            for worker in self._started():
                worker.process.join()
        except BaseException:  # asked once more: do not wait for the checkpoint
            for worker in self._started():
                worker.process.kill()
            raise

    def _started(self) -> "list[_Worker]":
        return [worker for worker in self._workers if worker.process is not None]


class _Worker:
    """A process and its present task; it starts with its first task, and again with the next one after it died."""

    def __init__(self, start: Callable[[Connection, str], Any], device: str) -> None:
        self._start, self._device = start, device
        self.task: Task | None = None
        self.process: Any = None
        self.connection: Connection | None = None

    def give(self, task: Task) -> None:
        if self.connection is None:
            self.connection, theirs = multiprocessing.get_context("spawn").Pipe()
            self.process = self._start(theirs, self._device)
        self.task = task
        with contextlib.suppress(BrokenPipeError):  # it died while idle: `ended` finds that out
            self.connection.send(task)

    def ended(self) -> tuple[Task, Outcome]:
        task, self.task = self.task, None
        assert task is not None
        assert self.connection is not None
        try:
            return task, self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            self.connection = None
            if code is None or code >= 0:
                return task, Outcome("failed", f"the process ended with exit code {code}")
            out = "; the machine may have run out of memory" if code == -signal.SIGKILL else ""
            return task, Outcome("killed", f"the process ended by {signal.Signals(-code).name}{out}")

    def stop(self) -> None:
        if self.connection is not None:
            self.connection.close()
            if self.task is not None:
                self.process.terminate()


def _work(
    connection: Connection,
    root: Path,
    device: str,
    threads: int,
    code: str | None,
    prepare: Callable[[], None] | None,
) -> None:
    """Do tasks until the connection ends. Ctrl-C is for the parent, which decides; training hears SIGTERM."""
    _end_with_parent()
    torch.set_num_threads(threads)
    if prepare is not None:
        prepare()
    changed = code is not None and every_code() != code
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            if changed:
                connection.send(Outcome("interrupted", "the source changed after the plan was made; start again"))
                continue
            with _labelled(task.label):
                outcome = carry_out(task, root, device)
            connection.send(outcome)


def _end_with_parent() -> None:
    """Stop, after a checkpoint where one can be written, when the parent is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that start meanwhile never hear Ctrl-C, not even while they import; one made here waits."""
    resource_tracker.ensure_running()  # else it starts with the first process, and lets that one hear Ctrl-C again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_of_children(threads: int) -> Iterator[None]:
    """Let the numerical libraries of processes that start meanwhile use so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _labelled(label: str) -> Iterator[None]:
    """Prefix every line that goes to stderr meanwhile."""
    with contextlib.redirect_stderr(_Prefixed(sys.stderr, f"[{label}] ")):
        yield


class _Prefixed(io.TextIOBase):
    """Prefixes whole lines. It is no terminal, so that no progress bar is drawn into it."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix, self._line = stream, prefix, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._stream.write(f"{self._prefix}{line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
