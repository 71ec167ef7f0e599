"""Time the package against plain code that does the same, side by side, and say what meets its aim.

    python scripts/benchmark.py [PART ...] [--device cpu] [--threads 1,2] [--json FILE] [--into docs/performance.md]

Every figure is a ratio of two works that were timed in turn in one run, or an amount with a limit. On a CPU the CPU
seconds are compared, so that other work on the machine does not count; on a GPU the wall seconds. PART is one of the
names that --help lists; without one, all parts run.

Exit code: 0; 1 with --check if a figure misses its aim; 2 for invalid arguments, or if two works disagree in what they
compute.
"""

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from benchmarks import attacks, attention, data, evaluation, growth, memory, startup, step, views
from benchmarks.timing import Figure, Settings, settings_record, table

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically

PARTS: dict[str, Callable[[Settings], Iterator[Figure]]] = {
    "startup": startup.figures,
    "step": step.figures,
    "memory": memory.figures,
    "attention": attention.figures,
    "attacks": attacks.figures,
    "data": data.figures,
    "views": views.figures,
    "evaluation": evaluation.figures,
    "growth": growth.figures,
}
BEGIN, END = "<!-- benchmark {}: written by scripts/benchmark.py -->", "<!-- end of benchmark {} -->"


def machine(device: torch.device) -> dict[str, str]:
    """Return what the figures depend on: device, processor and versions."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    found = {"processor": processor, "python": platform.python_version(), "torch": torch.__version__}
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def into_document(path: Path, device: torch.device, text: str) -> None:
    """Replace the section of ``path`` for such a device by ``text``.

    Raises:
        UserError: the file has no such section.
    """
    begin, end = BEGIN.format(device.type), END.format(device.type)
    try:
        document = path.read_text()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    if document.count(begin) != 1 or document.count(end) != 1:
        raise UserError(f"{path}: has no section between {begin} and {end}")
    before, _, rest = document.partition(begin)
    write_atomically(path, f"{before}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)} (all)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", default="1", help="numbers of CPU threads, such as 1,2 (1)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each work (5)")
    parser.add_argument("--warmup", type=int, default=1, help="runs before them that are not measured (1)")
    parser.add_argument("--small", action="store_true", help="smallest sizes: whether all runs; figures say nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, with the machine, as JSON")
    parser.add_argument("--into", type=Path, metavar="FILE", help="replace the device's table in this document")
    parser.add_argument("--check", action="store_true", help="exit 1 if a figure misses its aim")
    args = parser.parse_args(argv)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"{part}: no such part; there are {', '.join(PARTS)}")
    for name, least in (("repeats", 1), ("warmup", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name} {getattr(args, name)}: must be >= {least}")
    try:
        args.threads = tuple(int(number) for number in args.threads.split(","))
    except ValueError:
        parser.error(f"--threads {args.threads}: must be whole numbers, such as 1,2")
    if min(args.threads) < 1:
        parser.error(f"--threads {min(args.threads)}: must be >= 1")
    if args.device.type not in ("cpu", "cuda"):
        parser.error(f"--device {args.device}: must be cpu or cuda")
    if args.device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {args.device}: no CUDA device here")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the requested parts and return the exit code."""
    args = parse(argv)
    here = machine(args.device)
    print(", ".join(f"{key} {value}" for key, value in here.items()), flush=True)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as root:
        settings = Settings(args.device, args.threads, args.repeats, args.warmup, args.small, root)
        try:
            for name in args.parts or PARTS:
                for figure in PARTS[name](settings):
                    figures.append(figure)
                    print(line_of(figure), flush=True)
            if args.json is not None:
                record = {"machine": here, "settings": settings_record(settings)}
                record["figures"] = [figure.record() for figure in figures]
                write_atomically(args.json, json.dumps(record, indent=1) + "\n")
            if args.into is not None:
                about = ", ".join(f"{key} {value}" for key, value in here.items())
                text = f"{about}; medians of {args.repeats}.\n\n{table(figures)}"
                into_document(args.into, args.device, text)
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
    missed = [figure for figure in figures if figure.met is False]
    for figure in missed:
        print(f"misses its aim: {line_of(figure)}")
    return 1 if missed and args.check else 0


def line_of(figure: Figure) -> str:
    """Return a figure as one line of text."""
    return table([figure]).splitlines()[2].replace("**", "").strip("| ").replace(" | ", "; ")


if __name__ == "__main__":
    sys.exit(main())
