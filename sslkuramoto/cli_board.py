"""The command ``board``: a page of networks, each card recomputed from its run; and the check of one card."""

import argparse
import sys
from typing import Any

from sslkuramoto.errors import UserError, printable
from sslkuramoto.files import at_home


def add_board(commands: Any) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
    """
    command = commands.add_parser("board", help="write a page of networks whose cards match their runs; check a card")
    command.add_argument("runs", nargs="*", type=at_home, metavar="RUN|DIR", help="measured runs, or folders of them")
    command.add_argument("--html", type=at_home, metavar="FILE", help="the page")
    command.add_argument("--title", help="heading of the page")
    command.add_argument("--check", type=at_home, metavar="CARD", help="only check this card against --run")
    command.add_argument("--run", type=at_home, metavar="RUN", help="the run of the card to check")
    command.set_defaults(act=_board)


def _board(arguments: argparse.Namespace) -> None:
    from sslkuramoto.files import write_atomically
    from sslkuramoto.leaderboard import board_page, check_card, checked_card, keep_card
    from sslkuramoto.leaderboard.network import Unmeasured
    from sslkuramoto.leaderboard.page import TITLE, same_weights
    from sslkuramoto.outputs import check_output
    from sslkuramoto.report.runs import discover, load

    if (arguments.check is None) != (arguments.run is None):
        raise UserError("board: --check CARD and --run RUN belong together")
    if arguments.check is not None:
        if arguments.runs or arguments.html or arguments.title is not None:
            raise UserError("board: --check takes no further run, no --html and no --title")
        card = check_card(arguments.check, arguments.run)
        print(printable(f"{arguments.check}: matches {arguments.run} ({card['name']})"))
        return
    page = arguments.html
    if not arguments.runs or page is None:
        raise UserError("board: name at least one RUN or DIR, and --html FILE")
    check_output("html", page)
    cards = []
    for row in discover(arguments.runs):
        parts = [part.path for part in load(row).parts.values() if part.results or part.of_others]
        robust = [path for path in parts if path != row.run] or parts or [row.run]  # a finetuned part, where there is
        for path in filter(None, robust):
            try:
                cards.append((path, checked_card(path, row.label)))
            except Unmeasured as error:
                if row.run in arguments.runs:
                    raise
                print(printable(f"left out: {error}"), file=sys.stderr)
    if not cards:
        raise UserError(f"board: no run below {', '.join(map(str, arguments.runs))} holds a robust accuracy")
    shown = [card for _, card in cards]
    write_atomically(page, board_page(shown, title=TITLE if arguments.title is None else arguments.title))
    for path, card in cards:
        keep_card(path, card)
    for line in same_weights(shown):
        print(printable(line))
    agree = "1 card matches its run" if len(cards) == 1 else f"{len(cards)} cards match their runs"
    print(f"{agree}; wrote {page}")
