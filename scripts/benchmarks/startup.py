"""What a command costs before its work begins: each one in a process of its own, CPU seconds of that process."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import sslkuramoto as sk
from benchmarks.timing import Figure, Settings, Spread, interleaved
from sslkuramoto.errors import UserError

TINY = {
    "data.limit": 48,
    "data.limit_test": 48,
    "data.size": 8,
    "encoder.channels": 8,
    "encoder.kernel_sizes": [3, 3],
    "epochs": 2,
    "batch_size": 16,
    "engine.device": "cpu",
}
"""Changes of a recipe on digits that leave six training steps."""
READINGS = ("published", "held", "eot", "union")
COLUMNS = {
    "clean": {"protocol": "clean", "metric": "accuracy"},
    "knn": {"protocol": "knn", "metric": "accuracy", "stage": 0},
    **{name: {"protocol": "robustness-digits", "metric": f"{name}/robust_accuracy"} for name in READINGS},
}
PLAN = """
import sys
from pathlib import Path
from sslkuramoto.cli_study import planned_study
from sslkuramoto.garbage import seldom_collected
with seldom_collected():
    plan, _ = planned_study(sys.argv[1], [], Path(sys.argv[2]))
assert len(plan.cells) == int(sys.argv[3]) and plan.missing()
"""
"""What ``sslkuramoto study`` does before it times passes for ``--dry-run``, or starts the first training."""


def figures(settings: Settings) -> Iterator[Figure]:
    """Yield the CPU seconds of commands that should not let a user wait."""
    root = Path(settings.root)
    runs, rows, seeds = _runs(root), settings.size(10, 2), settings.size(5, 1)
    study, cells = _study(root / "many-cells.yaml", rows, seeds), rows * seeds * len(COLUMNS)
    command = ("-m", "sslkuramoto")
    works = {
        "sslkuramoto --help": (0.3, [*command, "--help"]),
        "sslkuramoto list": (0.5, [*command, "list"]),
        "sslkuramoto report of two small runs": (3, [*command, "report", *runs]),
        "the same with --html, pictures included": (3, [*command, "report", *runs, "--html", str(root / "page.html")]),
        f"planning of a study of {cells} cells, nothing done": (5, ["-c", PLAN, study, str(root), str(cells)]),
    }
    times = interleaved({what: _process(words) for what, (_, words) in works.items()}, settings, clock=_children)
    for what, (limit, _) in works.items():
        note = f"By wall seconds {Spread.of(times[what].wall).median:.2f}."
        yield Figure("startup", what, "CPU s", Spread.of(times[what].cpu), wanted=limit, at_most=True, note=note)


def _runs(root: Path) -> list[str]:
    """Train and measure two small networks that differ in the seed."""
    changes, runs = [f"{key}={value}" for key, value in TINY.items()], []
    with redirect_stderr(StringIO()):  # lines of progress
        for seed in (0, 1):
            run = sk.train("digits-akorn-supervised", *changes, f"seed={seed}", run=root / f"run-{seed}")
            sk.evaluate(run, "clean")
            runs.append(str(run))
    return runs


def _study(path: Path, rows: int, seeds: int) -> str:
    """Write a study of pretrained and finetuned networks, one width a row."""
    stages = [{"recipe": "digits-akorn-simclr"}, {"recipe": "digits-akorn-finetune"}]
    content = {
        "title": "Many cells",
        "seeds": [*range(seeds)],
        "set": {key: value for key, value in TINY.items() if key != "encoder.channels"},
        "columns": COLUMNS,
        "rows": {
            f"width_{width}": {"train": [{**stage, "set": {"encoder.channels": width}} for stage in stages]}
            for width in range(8, 8 * (1 + rows), 8)
        },
    }
    path.write_text(json.dumps(content))  # JSON is YAML
    return str(path)


def _process(words: list[str]) -> Callable[[], None]:
    """Return work that runs Python in a process of its own, on one thread.

    Raises:
        UserError: (the work) it failed.
    """

    def work() -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{' '.join(words[:3])}: {done.stderr.strip()}: nothing was timed")

    return work


def _children() -> float:
    """Return the CPU seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
