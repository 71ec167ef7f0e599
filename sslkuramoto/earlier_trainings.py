"""Whether examples were kept from a network: by the run that trained it, and by the runs that it started from.

A data source marks the options that decide it: ``Mark.UNSEEN`` and ``Mark.HELD_OUT`` (:mod:`~sslkuramoto.values`).
Sources that divide the same things, as all tasks on icons do, declare one word for them as ``divides``.
"""

from pathlib import Path
from typing import NamedTuple

from sslkuramoto.data import DATA
from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home
from sslkuramoto.recipe import Part
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.values import Mark


class Training(NamedTuple):
    """A training of a network: its run, and the data source of its recipe (None: the run is gone or unreadable)."""

    run: Path
    source: Part | None


def trainings_of(run: RunDirectory) -> tuple[Training, ...]:
    """Return the training of a run, then that of the run that it started from (``init``), and so on."""
    found: dict[Path, Training] = {}
    while run.path.resolve() not in found:
        try:
            recipe = run.recipe()
        except UserError:
            return (*found.values(), Training(run.path, None))
        found[run.path.resolve()] = Training(run.path, recipe.data)
        if recipe.init is None:
            break
        run = RunDirectory(at_home(recipe.init)).owner
    return tuple(found.values())


def division(split: str) -> frozenset[Mark]:
    """Return the marks of the options that decide which examples a split keeps from training."""
    return frozenset({Mark.UNSEEN} if split == "test" else {Mark.UNSEEN, Mark.HELD_OUT})


def unlike(measured: Part, trained: Part, split: str) -> str | None:
    """Return the first option by which a training divided the same examples otherwise, as ``data.KEY=VALUE`` of it.

    Args:
        measured: data source of the measurement.
        trained: that of a training.
        split: ``"test"`` or ``"val"``.
    """
    if len({getattr(DATA[part.name], "divides", part.name) for part in (measured, trained)}) > 1:
        return None
    ours, theirs = (DATA.resolved(part.name, part.options) for part in (measured, trained))
    keys = frozenset[str]().union(*(DATA.marked(measured.name, mark) for mark in division(split)))
    differ = [key for key in ours if key in keys and key in theirs and ours[key] != theirs[key]]
    return f"data.{differ[0]}={theirs[differ[0]]}" if differ else None
