"""The command ``train``: carry out a recipe, or continue a run by its directory."""

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError


def add_train(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("train", help="carry out a recipe: pretrain, finetune or supervised")
    command.add_argument("recipe", help="a file, the name of one under recipes/, or a run directory to continue")
    command.add_argument("items", nargs="*", default=[], metavar="KEY=VALUE", help="for example encoder.channels=32")
    run_help = "run directory (default runs/RECIPE); under torchrun write --run-dir, for --run is its own"
    command.add_argument("--run", "--run-dir", type=Path, metavar="DIR", help=run_help)
    command.add_argument("--init", metavar="RUN", help="start from the encoder of a finished run")
    command.add_argument("--check", action="store_true", help="only check the recipe; load no data, train nothing")
    command.set_defaults(act=_train)


def _train(arguments: argparse.Namespace) -> None:
    from sslkuramoto.evaluation.representation.monitor import online_measures
    from sslkuramoto.recipe import load_recipe, recipe_file, recipe_files
    from sslkuramoto.run_directory import RunDirectory
    from sslkuramoto.training import check, check_device, train

    again = RunDirectory(Path(arguments.recipe))
    continues = bool(arguments.recipe) and again.recipe_file.is_file()
    if continues and arguments.recipe in recipe_files():
        raise UserError(
            f"{arguments.recipe}: a run directory here and a recipe; write ./{arguments.recipe} or its file"
        )
    if continues and arguments.run is not None and arguments.run.resolve() != again.path.resolve():
        raise UserError(f"--run={arguments.run}: {again.path} is a run directory itself; name its recipe.yaml")
    path = again.recipe_file if continues else recipe_file(arguments.recipe)
    recipe = load_recipe(path, arguments.items)
    if arguments.init is not None:
        recipe = replace(recipe, init=arguments.init)
    if arguments.check:
        check(recipe)
        check_device(recipe.engine.device)
        print(f"{path}: a valid recipe")
        return
    run = again if continues else RunDirectory(arguments.run or Path("runs") / Path(arguments.recipe).stem)
    was_finished = run.finished
    train(recipe, run.path, monitor=online_measures(recipe, run))
    if not which_process():
        print(f"{run.path}: {'was finished already' if was_finished else 'finished'}")
        _take_pictures(run.path)


def _take_pictures(path: Path) -> None:
    """Keep views and oscillator phases of a few training images for the report, where they are not there yet.

    Of examples that are no pictures nothing is shown.
    """
    from sslkuramoto.data import batches, image_set
    from sslkuramoto.evaluation import subject_of
    from sslkuramoto.files import remove_leftovers
    from sslkuramoto.randomness import generator
    from sslkuramoto.recipe import load_recipe
    from sslkuramoto.report import record_phases, record_views
    from sslkuramoto.report.pictures.oscillators import PHASES_FILE, VIEWS_FILE, spread_places
    from sslkuramoto.views import VIEWS

    remove_leftovers((path / VIEWS_FILE).parent)  # of a process that was killed between training and pictures
    views_missing, phases_missing = (not (path / file).is_file() for file in (VIEWS_FILE, PHASES_FILE))
    if not views_missing and not phases_missing:
        return
    recipe, subject = load_recipe(path / "recipe.yaml"), subject_of(path)
    dim = subject.encoder.oscillator_dim
    if (not views_missing and dim is None) or (subject.spec is not None and not subject.spec.pictures):
        return
    try:
        train = image_set(subject.data("train"))
    except UserError as error:  # the run is whole without pictures, its images may be gone
        print(f"{path}: no pictures for the report: {error}", file=sys.stderr)
        return
    images = next(iter(batches(train, [spread_places(len(train), 8)], device="cpu"))).inputs
    if views_missing:
        policy = VIEWS.build(recipe.views.name, recipe.views.options, train.spec.side)
        record_views(path, policy, images, generator("cpu", recipe.seed, "pictures of views"))
    if phases_missing and dim is not None:
        record_phases(path, subject.encoder, images, dim, generator("cpu", recipe.seed, "pictures of phases"))


def which_process() -> str:
    """Return how messages name this process when it is one of many; nothing for the first, which speaks for all."""
    number = 0
    if {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & set(os.environ):
        from sslkuramoto.training.processes import rank

        with suppress(UserError):  # variables that are no numbers are refused where they are needed
            number = rank(os.environ)
    return f" (process {number})" if number else ""
