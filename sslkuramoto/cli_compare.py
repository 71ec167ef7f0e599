"""The command ``compare``: the paired tests of two runs on the same images."""

import argparse
from typing import Any

from sslkuramoto.errors import printable
from sslkuramoto.files import at_home


def add_compare(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("compare", help="print the paired tests of two runs on the same images")
    command.add_argument("first", type=at_home, metavar="RUN")
    command.add_argument("second", type=at_home, metavar="RUN")
    command.add_argument(
        "protocols", nargs="*", metavar="PROTOCOL[:LIST]", help="results that both hold (default: all of them)"
    )
    command.set_defaults(act=_compare, only_prints=True)


def _compare(arguments: argparse.Namespace) -> None:
    from sslkuramoto.report.tables.pairs import runs_text
    from sslkuramoto.study.run_pairs import compare_runs

    pairs = compare_runs(arguments.first, arguments.second, arguments.protocols)
    print(printable(runs_text(pairs), keep="\n"))
