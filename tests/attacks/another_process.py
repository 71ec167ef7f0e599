"""Measure robustness in a process of its own, twice: sharing a ledger with the test, and alone until it is killed.

    FOLDER/shared   its first unit is held until the test has begun one too (FOLDER/test.units)
    FOLDER/killed   SIGKILL when its unit number KILL_AT is begun

FOLDER/shared.units and FOLDER/killed.units get a line a unit begun, FOLDER/shared.json what came out.
"""

import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.evaluation import PROTOCOLS, Result, Subject

PATIENCE = 300  # seconds, on a machine that others use too


def subject_from(parts: dict, run_dir: Path) -> Subject:
    """Return the stochastic network of the test's fixtures on the images of ``parts``."""
    # by its path and under one name in both processes: the ledger knows foreign code by its module
    found = importlib.util.spec_from_file_location("networks", Path(__file__).parents[1] / "small_networks.py")
    networks = importlib.util.module_from_spec(found)
    found.loader.exec_module(networks)
    encoder, head = networks.NoisyCNN(), torch.nn.Linear(24, 10)
    encoder.load_state_dict(parts["encoder"])
    head.load_state_dict(parts["head"])
    images = MemorySet("some", "test", tuple("0123456789"), parts["labels"], 8, "some", parts["images"])
    return Subject(encoder.eval(), head.eval(), lambda split: images, torch.device("cpu"), run_dir, "1" * 64)


def written(result: Result) -> dict:
    """Return what two measurements are compared by."""
    values = {name: metric.value for name, metric in result.metrics.items()}
    return {"per_image": result.per_image, "metrics": values, "details": result.details, "notes": result.notes}


def measure_shared(subject: Subject, options: dict, folder: Path, name: str, other: str) -> Result:
    """Measure on the ledger of a folder; the first unit waits until ``other`` has begun one."""
    begun: list[str] = []
    latest = time.monotonic() + PATIENCE

    def report(line: str) -> None:
        if ": chunk " in line:
            begun.append(line)
            (folder / f"{name}.units").write_text("\n".join(begun))
            while len(begun) == 1 and not (folder / f"{other}.units").exists():
                assert time.monotonic() < latest, f"{other} has not begun in {PATIENCE} s"
                time.sleep(0.05)

    subject.report = report
    return PROTOCOLS.build("robustness", options | {"ledger": str(folder / "shared")})(subject)


def measure_until_killed(subject: Subject, options: dict, folder: Path, kill_at: int) -> None:
    """Begin on a ledger of its own and end abruptly."""
    begun: list[str] = []

    def report(line: str) -> None:
        if ": chunk " in line:
            begun.append(line)
            (folder / "killed.units").write_text("\n".join(begun))
            if len(begun) > kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    subject.report = report
    PROTOCOLS.build("robustness", options | {"ledger": str(folder / "killed")})(subject)


def main(folder: Path, kill_at: int) -> None:
    torch.set_num_threads(1)
    parts = torch.load(folder / "parts")
    subject = subject_from(parts, folder / "run")
    result = measure_shared(subject, parts["options"], folder, "shared", "test")
    (folder / "shared.json").write_text(json.dumps(written(result)))
    measure_until_killed(subject, parts["options"], folder, kill_at)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
