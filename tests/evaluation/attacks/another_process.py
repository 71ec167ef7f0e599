"""Measure robustness in a process of its own: PARTS (a file of torch.save), NAME, and what happens on the way.

    killed N    SIGKILL when unit N (from 0) is begun
    meets OTHER the first unit is held until process OTHER has begun one too

Writes NAME.units (a line a unit begun) and NAME.json (what came out) beside PARTS.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parents[1])]
from conftest import NoisyCNN

from sslkuramoto.data.image_set import MemorySet
from sslkuramoto.evaluation import PROTOCOLS, Result, Subject


def subject_from(parts: dict, run_dir: Path) -> Subject:
    """Return the stochastic network of the test's fixtures on the images of ``parts``."""
    encoder, head = NoisyCNN(), torch.nn.Linear(24, 10)
    encoder.load_state_dict(parts["encoder"])
    head.load_state_dict(parts["head"])
    images = MemorySet("some", "test", tuple("0123456789"), parts["labels"], 8, "some", parts["images"])
    return Subject(encoder.eval(), head.eval(), lambda split: images, torch.device("cpu"), run_dir, "1" * 64)


def written(result: Result) -> dict:
    """Return what two measurements are compared by."""
    values = {name: metric.value for name, metric in result.metrics.items()}
    return {"per_image": result.per_image, "metrics": values, "details": result.details}


def main(parts_file: Path, name: str, what: str, argument: str) -> None:
    torch.set_num_threads(1)
    parts = torch.load(parts_file)
    units = parts_file.with_name(f"{name}.units")
    begun: list[str] = []

    def report(line: str) -> None:
        if ": chunk " not in line:
            return
        begun.append(line)
        units.write_text("\n".join(begun))
        if what == "killed" and len(begun) > int(argument):
            os.kill(os.getpid(), signal.SIGKILL)
        while what == "meets" and len(begun) == 1 and not units.with_name(f"{argument}.units").exists():
            time.sleep(0.005)

    subject = subject_from(parts, parts_file.with_name("run"))
    subject.report = report
    result = PROTOCOLS.build("robustness", parts["options"] | {"ledger": str(parts_file.with_name("ledger"))})(subject)
    parts_file.with_name(f"{name}.json").write_text(json.dumps(written(result)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
