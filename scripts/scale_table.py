"""Estimate memory and hours of recipes on 1, 8 and 64 GPUs, or check the model behind it on this machine.

    python scripts/scale_table.py [RECIPE ...] [--into docs/scale.md]
    python scripts/scale_table.py --check [--into docs/scale.md]

Without RECIPE: all recipes of ImageNet size. Nothing is trained: the work of a step is counted (scripts/scale/), and
H100 below says what is assumed. --check measures steps of small recipes here (minutes) and compares.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scale.checked import Row, decoding_seconds, measured, single_rows, two_processes
from scale.counted import Counted, count, line
from scale.model import GIB, Machine, Network, Step, memory_of, parts_that_fit, step_of

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.recipe import Recipe, load_recipe

ROOT = Path(__file__).parents[1]
IMAGES = 1_281_167  # of ImageNet-1k for training
FEW, MANY = 4, 8  # images of the two counts
VIEWED = 32  # images of the count of views
H100 = Machine(
    flops={"bf16": 0.3 * 989e12, "32": 0.3 * 494e12},
    bandwidth=0.7 * 3.35e12,
    scores=0.3 * 3.9e12,
    start=16e-6,
    ahead=True,
    memory=78 * GIB,
    beyond=1.3,
    decoded=300.0,
)
"""An H100 SXM: shares of its peaks; the table of the page says where they come from."""
NVLINK = Network(0.7 * 450e9, 30e-6)
INFINIBAND = Network(0.7 * 50e9, 100e-6)
NETWORKS = {1: None, 8: NVLINK, 64: INFINIBAND}
"""Between the processes of one, eight and sixty-four GPUs, eight a machine."""
BEGIN, END = "<!-- {}: written by scripts/scale_table.py -->", "<!-- end of {} -->"


class Estimate(NamedTuple):
    """A recipe on some GPUs.

    Attributes:
        parts: of a batch in one process, one after the other.
        images: of one part.
        memory: bytes of a process.
        step: seconds of a step.
        hours: of the run.
    """

    parts: int
    images: int
    memory: float
    step: Step
    hours: float


def at_of(recipe: Recipe) -> Callable[[int], Counted]:
    """Return the counted work of a recipe as a function of the images of a part."""
    low, high = (count(recipe, n, viewed=VIEWED) for n in (FEW, MANY))
    return cache(line(low, high, FEW, MANY))


def estimate(recipe: Recipe, at: Callable[[int], Counted], processes: int) -> Estimate:
    """Return memory and hours of a recipe on ImageNet."""
    parts, counted = parts_that_fit(recipe, at, H100, processes)
    step = step_of(counted, recipe, parts, processes, H100, NETWORKS[processes])
    images = recipe.batch_size // (parts * processes)
    steps = recipe.epochs * (IMAGES // recipe.batch_size)
    return Estimate(parts, images, memory_of(counted, H100, processes), step, steps * step.seconds / 3600)


def flop_of(recipe: Recipe, at: Callable[[int], Counted]) -> float:
    """Return the floating-point operations of the whole run."""
    return recipe.epochs * IMAGES * at(MANY).network.flop / MANY


def table(paths: Sequence[Path]) -> str:
    """Return a line of Markdown for each recipe."""
    lines = [
        "| recipe | trained weights | FLOP | " + " | ".join(f"{n} GPU{'s' * (n > 1)}" for n in NETWORKS) + " |",
        "|---|---:|---:|" + "---|" * len(NETWORKS),
    ]
    for path in paths:
        recipe = load_recipe(path, ["init=null"])
        at = at_of(recipe)
        cells = [cell(estimate(recipe, at, processes)) for processes in NETWORKS]
        weights = f"{at(MANY).trainable / 1e6:.1f} M"
        lines.append(f"| `{path.stem}` | {weights} | {flop_of(recipe, at):.1e} | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def cell(found: Estimate) -> str:
    """Return parts, memory and hours as text, with what a step waits for most."""
    step = found.step
    waits = "data" if step.data > step.compute + step.reduce else "all-reduce" if step.reduce > step.compute else ""
    split = f"{found.parts} x {found.images}" if found.parts > 1 else f"{found.images}"
    memory = found.memory / GIB
    amount = f"{memory:.0f} GiB" if memory >= 1 else f"{memory:.1f} GiB"
    return f"{split} images, {amount}, {hours(found.hours)}" + (f" ({waits})" if waits else "")


def hours(value: float) -> str:
    """Return hours with two significant digits."""
    return f"{value:.1f} h" if value < 10 else f"{float(f'{value:.2g}'):,.0f} h"


def checked_table(rows: Sequence[Row]) -> str:
    """Return measured and predicted amounts as a Markdown table."""
    lines = ["| | measured | predicted | error |", "|---|---:|---:|---:|"]
    for row in rows:
        found, predicted = (f"{amount:#.3g} {row.unit}" for amount in (row.measured, row.predicted))
        lines.append(f"| {row.what} | {found} | {predicted} | {100 * row.error:+.0f} % |")
    return "\n".join(lines) + "\n"


def check() -> str:
    """Measure on this machine, and return the tables of one process and of two."""
    rows = list(single_rows(list(measured())))
    with tempfile.TemporaryDirectory() as folder:
        both = list(two_processes(Path(folder)))
    decoded = f"{1000 * decoding_seconds():.1f} ms for a JPEG of 500 x 375 pixels."
    return f"{checked_table(rows)}\nTwo gloo processes:\n\n{checked_table(both)}\nDecoding: {decoded}\n"


def into_document(path: Path, name: str, text: str) -> None:
    """Replace a section of a document.

    Raises:
        UserError: it has no such section.
    """
    begin, end = BEGIN.format(name), END.format(name)
    document = path.read_text()
    if document.count(begin) != 1 or document.count(end) != 1:
        raise UserError(f"{path}: has no section between {begin} and {end}")
    before, _, rest = document.partition(begin)
    write_atomically(path, f"{before}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write a table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", type=Path, metavar="RECIPE", help="files (recipes/imagenet-*.yaml)")
    parser.add_argument("--check", action="store_true", help="compare the model with measurements here")
    parser.add_argument("--into", type=Path, metavar="FILE", help="replace the table in this document")
    args = parser.parse_args(argv)
    try:
        paths = args.recipes or sorted((ROOT / "recipes").glob("imagenet-*.yaml"))
        text = check() if args.check else table(paths)
        print(text)
        if args.into is not None:
            into_document(args.into, "check" if args.check else "estimates", text)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
