"""The command ``train``: carry out a recipe, or continue a run by its directory."""

import argparse
import os
from contextlib import suppress
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home


def add_train(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("train", help="carry out a recipe: pretrain, finetune or supervised")
    command.add_argument("recipe", help="a file, the name of one under recipes/, or a run directory to continue")
    command.add_argument("items", nargs="*", default=[], metavar="KEY=VALUE", help="for example encoder.channels=32")
    run_help = "run directory (default runs/RECIPE); under torchrun write --run-dir, because torchrun has its own --run"
    command.add_argument("--run", "--run-dir", type=at_home, metavar="DIR", help=run_help)
    command.add_argument("--init", metavar="RUN", help="start from the encoder of a finished run")
    command.add_argument("--check", action="store_true", help="only check the recipe; load no data, train nothing")
    command.set_defaults(act=_train)


def _train(arguments: argparse.Namespace) -> None:
    from sslkuramoto.carry_out import asked_training, carry_out
    from sslkuramoto.encoders.features import UNTRAINED
    from sslkuramoto.training import check, check_device
    from sslkuramoto.training.learner import leaves_untrained, without_lost_init

    recipe, file, run = asked_training(arguments.recipe, arguments.items, run=arguments.run, init=arguments.init)
    if arguments.check:
        check(without_lost_init(recipe, run))
        check_device(recipe.engine.device)
        print(f"{file}: a valid recipe{f'; {UNTRAINED}' if leaves_untrained(recipe) else ''}")
        return
    was_finished = run.finished
    carry_out(recipe, run)
    if not which_process():
        print(f"{run.path}: {'was finished already' if was_finished else 'finished'}")


def which_process() -> str:
    """Return how messages name this process when it is one of many; nothing for the first, which speaks for all."""
    number = 0
    if {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & set(os.environ):
        from sslkuramoto.training.processes import rank

        with suppress(UserError):  # variables that are no numbers are refused where they are needed
            number = rank(os.environ)
    return f" (process {number})" if number else ""
