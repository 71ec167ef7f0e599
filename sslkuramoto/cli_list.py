"""The command ``list``: name what there is, or print one of it whole."""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError, printable, unknown
from sslkuramoto.files import packaged

_REGISTRIES = {
    "encoders": "sslkuramoto.encoders:ENCODERS",
    "objectives": "sslkuramoto.objectives:OBJECTIVES",
    "heads": "sslkuramoto.heads:HEADS",
    "data": "sslkuramoto.data:DATA",
    "views": "sslkuramoto.views:VIEWS",
    "optimizers": "sslkuramoto.training.optimizer:OPTIMIZERS",
    "schedules": "sslkuramoto.training.schedule:SCHEDULES",
    "attacks": "sslkuramoto.attacks:ATTACKS",
    "plants": "sslkuramoto.evaluation.audit.plants:PLANTS",
    "sections": "sslkuramoto.report.sections:SECTIONS",
}
"""Imported only when they are listed: a list of files needs no torch."""
_FOLDERS = {"recipes": "recipes", "protocols": "eval/protocols", "studies": "eval/studies"}


def add_list(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("list", help="name what there is")
    command.add_argument("what", nargs="?", metavar="|".join([*_REGISTRIES, *_FOLDERS]))
    command.add_argument("name", nargs="?", help="print the options of one")
    command.set_defaults(act=_list, only_prints=True)


def _list(arguments: argparse.Namespace) -> None:
    kinds = _kinds()
    if arguments.what is None:
        print("\n".join(kinds))
        return
    if arguments.what not in kinds:
        raise unknown("kind of thing to list", arguments.what, kinds)
    listed = kinds[arguments.what]()
    if arguments.name is None:
        for name, line in listed.items():
            print(printable(f"{name:36s} {line}".rstrip()))
        return
    if arguments.name not in listed:
        kind = "study" if arguments.what == "studies" else arguments.what.rstrip("s")
        raise unknown(kind, arguments.name, listed)
    _print_details(arguments.what, arguments.name)


def _print_details(what: str, name: str) -> None:
    if what not in _FOLDERS:
        _print_options(_registry(what), name)
        return
    file = packaged(_FOLDERS[what]) / f"{name}.yaml"
    if file.is_file():
        print(file.read_text())
    if what == "protocols":
        from sslkuramoto.evaluation import PROTOCOLS, load_protocol

        _print_options(PROTOCOLS, load_protocol(name).name if file.is_file() else name)


def _print_options(registry: Any, name: str) -> None:
    from sslkuramoto.meanings import options_in_words

    for option in options_in_words(registry, name):
        print(f"  {option.key} = {option.default}  ({option.allowed})")
        print(f"      {option.meaning}")


def _registry(what: str) -> Any:
    module, _, name = _REGISTRIES[what].partition(":")
    return getattr(import_module(module), name)


def _kinds() -> Mapping[str, Callable[[], dict[str, str]]]:
    def members(what: str) -> dict[str, str]:
        return {name: _described(_registry(what), name) for name in _registry(what)}

    def in_files(folder: str) -> dict[str, str]:
        return {path.stem: _first_comment(path) for path in sorted(packaged(folder).glob("*.yaml"))}

    def protocols() -> dict[str, str]:
        others = sorted(entry_points(group="sslkuramoto.protocols"), key=lambda point: point.name)
        added = {point.name: f"(of another package: {point.value})" for point in others}
        return added | in_files(_FOLDERS["protocols"])

    in_folders = {what: partial(in_files, folder) for what, folder in _FOLDERS.items()}
    return {what: partial(members, what) for what in _REGISTRIES} | in_folders | {"protocols": protocols}


def _described(registry: Any, name: str) -> str:
    from sslkuramoto.meanings import as_text

    try:
        return as_text(_first_line(registry[name].__doc__))
    except UserError as error:  # another package's member that cannot be loaded hides no other
        return f"({error})"


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def _first_comment(path: Path) -> str:
    return path.read_text().splitlines()[0].lstrip("# ")
