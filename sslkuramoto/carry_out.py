"""A training as a command or Python asks for it: which recipe, which directory; then the run with its pictures."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from sslkuramoto.data import batches, expected_spec
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.evaluation.representation.monitor import online_measures
from sslkuramoto.examples import accepts
from sslkuramoto.files import at_home, remove_leftovers
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe, load_recipe, recipe_file, recipe_files
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.training import train
from sslkuramoto.training.processes import rank
from sslkuramoto.views import VIEWS


class Training(NamedTuple):
    """A recipe, the file it was read from, and the run directory it is carried out in."""

    recipe: Recipe
    file: Path
    run: RunDirectory


def asked_training(
    name: str, overrides: Sequence[str] = (), *, run: Path | None = None, init: str | None = None
) -> Training:
    """Find what shall be trained, and where; trains nothing.

    Args:
        name: a recipe's file, the name of one under recipes/, or a run directory to continue.
        overrides: ``"key=value"``.
        run: run directory; None: the run that is continued, or runs/NAME.
        init: finished run whose encoder the training starts from; None: as the recipe says.

    Raises:
        UserError: no such recipe or a wrong one; a name with two meanings; two run directories.
    """
    again = RunDirectory(at_home(name))
    continues = bool(name) and again.recipe_file.is_file()
    if continues and name in recipe_files():
        raise UserError(f"{name}: a run directory here and a recipe; write ./{name} or its file")
    if continues and run is not None and run.resolve() != again.path.resolve():
        raise UserError(f"run={run}: {again.path} is a run directory itself; name its recipe.yaml")
    file = again.recipe_file if continues else recipe_file(name)
    recipe = load_recipe(file, overrides)
    if init is not None:
        recipe = replace(recipe, init=init)
    return Training(recipe, file, again if continues else RunDirectory(run or Path("runs") / Path(name).stem))


def carry_out(recipe: Recipe, run: RunDirectory) -> None:
    """Train, or continue, with the recipe's monitors; the first process records the pictures that reports show."""
    train(recipe, run.path, monitor=online_measures(recipe, run))
    if rank(os.environ) == 0:
        take_pictures(run.path)


def take_pictures(path: Path) -> None:
    """Keep views and oscillator phases of a few training examples for the report, where they are not there yet.

    Examples that are no pictures have no views, and those that are no grid (of pairs the protocol keeps the phases), or
    that the encoder reads only in parts, no phases.
    """
    from sslkuramoto.report import record_phases, record_views
    from sslkuramoto.report.pictures.oscillators import PHASES_FILE, VIEWS_FILE, spread_places

    remove_leftovers((path / VIEWS_FILE).parent)  # of a process that was killed between training and pictures
    views_missing, phases_missing = (not (path / file).is_file() for file in (VIEWS_FILE, PHASES_FILE))
    if not views_missing and not phases_missing:
        return
    recipe, subject = load_recipe(path / "recipe.yaml"), subject_of(path)
    encoder = subject.encoder
    dim = encoder.oscillator_dim
    spec = expected_spec(recipe.data.name, recipe.data.options) if subject.spec is None else subject.spec
    views_missing = views_missing and spec.pictures
    phases_missing = phases_missing and dim is not None and spec.grid and accepts(encoder.reads, spec)
    if not views_missing and not phases_missing:
        return
    try:
        train = subject.data("train")
    except UserError as error:  # the run is whole without pictures, its images may be gone
        print(f"{path}: no pictures for the report: {error}", file=sys.stderr)
        return
    some = next(iter(batches(train, [spread_places(len(train), 8)], device="cpu")))
    if views_missing:
        policy = VIEWS.build(recipe.views.name, recipe.views.options, train.spec.side)
        record_views(path, policy, some.inputs, generator("cpu", recipe.seed, "pictures of views"))
    if phases_missing and dim is not None:
        draw = generator("cpu", recipe.seed, "pictures of phases")
        mazes = encoder.inputs is not None and encoder.inputs.input_symbols is not None
        record_phases(path, encoder, some.inputs, dim, draw, answers=some.targets if mazes else None)
