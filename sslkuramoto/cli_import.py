"""The command ``import``: weights that others published become a finished run."""

import argparse
from typing import Any

from sslkuramoto.files import at_home


def add_import(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("import", help="weights that others published become a finished run")
    command.add_argument("family", help="whose code wrote the file: akorn (Miyato et al. 2025) or winfree (WONN)")
    command.add_argument(
        "file", type=at_home, help="a checkpoint of torch.save; only tensors and plain values are read"
    )
    command.add_argument(
        "items", nargs="*", default=[], metavar="KEY=VALUE", help="changes the recipe, for example data.root=DIR"
    )
    command.add_argument(
        "--run", type=at_home, required=True, metavar="DIR", help="the run directory to make; must be new"
    )
    config_help = "arguments of the published network that differ from its defaults, for example n=2 T=3"
    config_help += " (a KEY with a dot, as in data.root=DIR, changes the recipe)"
    command.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help=config_help)
    recipe_help = "says on which data and how it was trained (default: the recipe of the published run)"
    command.add_argument("--recipe", metavar="NAME|FILE", help=recipe_help)
    command.set_defaults(act=_import)


def _import(arguments: argparse.Namespace) -> None:
    from sslkuramoto.carry_out import take_pictures
    from sslkuramoto.errors import unknown
    from sslkuramoto.interop.import_run import FAMILIES, import_run
    from sslkuramoto.run_directory import RunDirectory

    if arguments.family not in FAMILIES:
        raise unknown("family", arguments.family, FAMILIES)
    run = RunDirectory(arguments.run)
    lines = import_run(arguments.file, run, arguments.config, arguments.items, arguments.recipe, arguments.family)
    print("\n".join(lines), flush=True)
    line = f"pictures of examples for the report need data {run.recipe().data.name}, which may take a minute"
    print(f"{run.path}: written; {line}", flush=True)
    take_pictures(run.path)
    print(f"{run.path}: a finished run; measure it with: sslkuramoto evaluate {run.path} PROTOCOL")
