"""The command ``list``: name what there is, or print one of it whole."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError, unknown


def add_list(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("list", help="name what there is")
    command.add_argument(
        "what", metavar="encoders|objectives|data|views|optimizers|schedules|attacks|recipes|protocols|studies"
    )
    command.add_argument("name", nargs="?", help="print the options of one")
    command.set_defaults(act=_list)


def _list(arguments: argparse.Namespace) -> None:
    kinds = _kinds()
    if arguments.what not in kinds:
        raise unknown("kind of thing to list", arguments.what, kinds)
    listed = kinds[arguments.what]()
    if arguments.name is None:
        for name, line in listed.items():
            print(f"{name:36s} {line}".rstrip())
        return
    if arguments.name not in listed:
        kind = "study" if arguments.what == "studies" else arguments.what.rstrip("s")
        raise unknown(kind, arguments.name, listed)
    _print_details(arguments.what, arguments.name)


def _print_details(what: str, name: str) -> None:
    if what == "recipes":
        from sslkuramoto.recipe import recipe_files

        print(recipe_files()[name].read_text())
        return
    if what == "protocols":
        from sslkuramoto.evaluation import PROTOCOLS, load_protocol, protocol_files

        print(protocol_files()[name].read_text())
        _print_options(PROTOCOLS, load_protocol(name).name)
        return
    if what == "studies":
        from sslkuramoto.study import study_file

        print(study_file(name).read_text())
        return
    _print_options(_registry(what), name)


def _print_options(registry: Any, name: str) -> None:
    from sslkuramoto.meanings import options_in_words

    for option in options_in_words(registry, name):
        print(f"  {option.key} = {option.default}  ({option.allowed})")
        print(f"      {option.meaning}")


def _registry(what: str) -> Any:
    from sslkuramoto.attacks import ATTACKS
    from sslkuramoto.data import DATA
    from sslkuramoto.encoders import ENCODERS
    from sslkuramoto.objectives import OBJECTIVES
    from sslkuramoto.training.optimizer import OPTIMIZERS
    from sslkuramoto.training.schedule import SCHEDULES
    from sslkuramoto.views import VIEWS

    return {
        "encoders": ENCODERS,
        "objectives": OBJECTIVES,
        "data": DATA,
        "views": VIEWS,
        "optimizers": OPTIMIZERS,
        "schedules": SCHEDULES,
        "attacks": ATTACKS,
    }[what]


def _kinds() -> Mapping[str, Callable[[], dict[str, str]]]:
    def members(what: str) -> Callable[[], dict[str, str]]:
        return lambda: {name: _described(_registry(what), name) for name in _registry(what)}

    def protocols() -> dict[str, str]:
        from sslkuramoto.evaluation import protocol_files

        return {name: _first_comment(path) for name, path in protocol_files().items()}

    def studies() -> dict[str, str]:
        from sslkuramoto.study import study_files

        return {name: _first_comment(path) for name, path in study_files().items()}

    def recipes() -> dict[str, str]:
        from sslkuramoto.recipe import recipe_files

        return {name: _first_comment(path) for name, path in recipe_files().items()}

    names = ("encoders", "objectives", "data", "views", "optimizers", "schedules", "attacks")
    return {name: members(name) for name in names} | {"recipes": recipes, "protocols": protocols, "studies": studies}


def _described(registry: Any, name: str) -> str:
    try:
        return _first_line(registry[name].__doc__)
    except UserError as error:  # another package's member that cannot be loaded hides nobody else
        return f"({error})"


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def _first_comment(path: Path) -> str:
    return path.read_text().splitlines()[0].lstrip("# ")
