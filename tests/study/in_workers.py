"""What workers of a study do beside their tasks in test_study_processes.py: each of them imports this."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

from sslkuramoto import checkpoint
from sslkuramoto.training.log import Log


def be_killed_while_saving() -> None:
    """End the first process that saves a second checkpoint by SIGKILL, in the middle; the next one tells what it left.

    The variable KILLED names a folder that the first one makes.
    """
    killed = Path(os.environ["KILLED"])
    if killed.is_dir():
        (kept,) = Path(os.environ["ROOT"]).glob("runs/*/checkpoints/last.safetensors")
        left = {"step": checkpoint.load(kept)["step"], "files": len(os.listdir(kept.parent))}
        (killed / "left.json").write_text(json.dumps(left))
    write, saved = checkpoint.write_atomically, []

    def watched(path: Path, content: bytes | str) -> None:
        saved.append(path)
        if saved.count(path) == 2:
            with contextlib.suppress(FileExistsError):
                killed.mkdir()
                os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        write(path, content)

    checkpoint.write_atomically = watched


def wait_in_the_second_training() -> None:
    """Say that the first step of the second training is done, by the file of the variable WAITS, and await a signal."""
    logged, logs = Log.step, []

    def step(self: Log, number: int, *arguments) -> None:
        logged(self, number, *arguments)
        logs.append(self)
        if len({*logs}) == 2:
            Path(os.environ["WAITS"]).touch()
            request = signal.getsignal(signal.SIGTERM).__self__  # the StopRequest of this training
            end = time.monotonic() + 300
            while not request.made and time.monotonic() < end:
                time.sleep(0.02)

    Log.step = step
