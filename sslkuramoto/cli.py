"""The command: parse, call, print.

Exit code 0 when done, 2 for what the user can mend, 130 after Ctrl-C (while training also SIGTERM), 1 for our faults.
"""

import argparse
import errno
import io
import logging
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, NoReturn

from sslkuramoto import __version__
from sslkuramoto.cli_board import add_board
from sslkuramoto.cli_compare import add_compare
from sslkuramoto.cli_export import add_export
from sslkuramoto.cli_import import add_import
from sslkuramoto.cli_list import add_list
from sslkuramoto.cli_study import ROOT, add_study, reported_study
from sslkuramoto.cli_train import add_train, which_process
from sslkuramoto.errors import Interrupted, UserError, printable, too_large
from sslkuramoto.files import LONGEST_NAME, at_home, name_beside, places_told
from sslkuramoto.garbage import seldom_collected

FIRST_SPEAKS = 3.0  # seconds that another process than the first waits with a message; torchrun ends it meanwhile


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _quieten()
    try:
        _act(argv)
    except BrokenPipeError:  # the reader, such as head, has seen enough of a text
        _discard_output()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _discard_output()
        return _told(f"{error.filename or 'the output'}: no space left on the disk", 2)
    except UserError as error:
        return _told(str(error), 2)
    except (Interrupted, KeyboardInterrupt) as stop:
        if not which_process():  # all processes stop together
            with suppress(BrokenPipeError):
                print(f"sslkuramoto: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    except (MemoryError, RuntimeError, TypeError, OverflowError) as error:  # TypeError: torch, for sizes beyond 64 bits
        found = too_large(error)
        if found is not None:
            return _told(f"{found.what}; {found.advice}", 2)
        if not _lost(error):
            raise
        return _told("another process of this run has ended; its message, if it left one, says why", 1, last=True)
    return 0


def _act(argv: Sequence[str] | None) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr has it; the terminal may know ASCII only
    try:
        with places_told():
            arguments = _parsed(argv)
            _check_working_directory()
            _carried_out(arguments)
    except SystemExit:  # --help
        _flush()
        raise
    _flush()


def _check_working_directory() -> None:
    """Raise a UserError where the working directory was removed: torch's libraries would end the process."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the working directory no longer exists; change to another folder") from None


def _carried_out(arguments: argparse.Namespace) -> None:
    """Run the command; where its reader goes away, work that is cut off is no success, unlike a text that is."""
    try:
        with seldom_collected() if arguments.only_prints else nullcontext():
            arguments.act(arguments)
    except BrokenPipeError:
        if arguments.only_prints:
            raise
        _discard_output()
        raise Interrupted("the reader of the output went away; the same command continues") from None


def _flush() -> None:
    if sys.stdout is not None:  # None where the caller closed it
        sys.stdout.flush()


def _discard_output() -> None:
    """Let the interpreter, which flushes once more at its end, not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(message: str, code: int, *, last: bool = False) -> int:
    """Print one line and return the exit code; of many processes one speaks: the first, or whichever failed alone.

    Args:
        message: what went wrong.
        code: exit code.
        last: whether the message of every other process is more useful.
    """
    process = which_process()
    if process or last:
        time.sleep(FIRST_SPEAKS)
    print(f"sslkuramoto{process}: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code


def _lost(error: Exception) -> bool:
    """Return whether this is one process of many and the error only reports that another one has ended."""
    if not {"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & set(os.environ):
        return False
    from sslkuramoto.training.processes import another_ended

    return isinstance(error, RuntimeError) and another_ended(error)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see {self.prog} --help)")


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse; unlike argparse alone, KEY=VALUE may also follow an option."""
    words = list(sys.argv[1:] if argv is None else argv)
    for word in words:
        if any("\ud800" <= sign <= "\udfff" for sign in word):  # bytes of a file's name that are no text
            raise UserError(f"{word!r}: is no UTF-8; rename the file or folder")
    arguments, rest = _parser().parse_known_args(words)
    for item in rest:
        if item.startswith("-") or not hasattr(arguments, "items"):
            raise UserError(f"unrecognized argument {item!r} (see sslkuramoto --help)")
        arguments.items.append(item)
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sslkuramoto",
        description="Pretrain oscillator networks without labels; report robust accuracy as an upper bound.",
    )
    parser.add_argument("--version", action="version", version=f"sslkuramoto {__version__}")
    parser.set_defaults(only_prints=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    add_train(commands)

    command = commands.add_parser("evaluate", help="measure a finished run, or any network, by protocols")
    model_help = "a finished run, or FILE.py:FUNCTION or package.module:FUNCTION, which runs that code: a function "
    model_help += "without arguments that returns a classifier; its images are given by data='{name: NAME, ...}'"
    command.add_argument("run", metavar="RUN|FUNCTION", type=at_home, help=model_help)
    command.add_argument(
        "items", nargs="+", metavar="PROTOCOL|KEY=VALUE", help="protocols; KEY=VALUE changes an option"
    )
    results_help = "where results of a FUNCTION are written (default runs/FILE-FUNCTION)"
    command.add_argument("--run", "--run-dir", dest="results", type=at_home, metavar="DIR", help=results_help)
    command.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto: a GPU if there is one)"
    )
    command.add_argument("--weights", choices=("ema", "raw"), default="ema", help="of a run that averaged them")
    checkpoint_help = "of the weights that a run kept after this epoch (measure.keep_checkpoints)"
    command.add_argument("--checkpoint", type=int, metavar="EPOCH", help=checkpoint_help)
    command.add_argument("--seed", type=int, help="of the measurement (default: the run's)")
    command.add_argument(
        "--batch-size", type=int, default=100, metavar="N", help="images per forward pass (default 100)"
    )
    command.add_argument("--as", dest="name", help="name of the result file (one protocol only)")
    command.add_argument("--dry-run", action="store_true", help="only print what it would cost on this device")
    command.set_defaults(act=_evaluate)

    add_study(commands, prepare=_quieten)

    command = commands.add_parser("report", help="print one table over runs, write it as HTML, Markdown, LaTeX or CSV")
    command.add_argument("runs", nargs="+", metavar="RUN|STUDY", help="runs, or one study: its results so far")
    command.add_argument(
        "--root", type=at_home, default=ROOT, metavar="DIR", help=f"folder that holds all studies (default {ROOT})"
    )
    command.add_argument("--any-code", action="store_true", help="a study: results of other code versions too")
    command.add_argument("--html", type=at_home, metavar="FILE")
    command.add_argument("--markdown", type=at_home, metavar="FILE")
    command.add_argument("--latex", type=at_home, metavar="FILE")
    command.add_argument("--csv", type=at_home, metavar="FILE")
    figures_help = "also write every figure of the page as SVG and PDF"
    command.add_argument("--figures", type=at_home, metavar="DIR", help=figures_help)
    command.add_argument("-v", "--verbose", action="store_true", help="also print how each number was scored")
    command.add_argument("--no-groups", action="store_true", help="a row for each run, also where only seeds differ")
    command.add_argument("--title", default="sslkuramoto report")
    command.set_defaults(act=_report, only_prints=True)

    add_board(commands)
    add_compare(commands)
    add_export(commands)
    add_import(commands)
    add_list(commands)
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    import torch
    from omegaconf import OmegaConf

    from sslkuramoto.evaluation import evaluate, load_protocols, subject_of
    from sslkuramoto.evaluation.foreign import foreign_subject, names_function, run_of_function
    from sslkuramoto.measured import shown
    from sslkuramoto.measuring import run_options, usable_device
    from sslkuramoto.recipe import override
    from sslkuramoto.run_directory import RunDirectory, describe_environment
    from sslkuramoto.values import Seed, check_value

    names = list(dict.fromkeys(item for item in arguments.items if "=" not in item))
    settings = [item for item in arguments.items if "=" in item]
    if not names:
        raise UserError("evaluate: name at least one protocol (see sslkuramoto list protocols)")
    if arguments.name is not None:
        _check_name(arguments.name, len(names))
    check_value("--seed", arguments.seed, Seed | None)
    foreign = names_function(str(arguments.run))
    if not foreign and arguments.results is not None:
        raise UserError(
            f"--run={arguments.results}: the results of a run are in its directory; only a FUNCTION takes --run"
        )
    data_items = ("data=", "data.") if foreign else ("data.",)
    changed = [item for item in settings if not (foreign and item.startswith(data_items))]
    if arguments.weights != "ema":
        changed.append(f"weights={arguments.weights}")
    if arguments.checkpoint is not None:
        changed.append(f"checkpoint={arguments.checkpoint}")
    if arguments.seed is not None:
        changed.append(f"seed={arguments.seed}")
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size={arguments.batch_size}: must be >= 1")
    if foreign:
        of_runs = arguments.weights != "ema" or arguments.checkpoint is not None
        if of_runs or any(item.startswith("encoder.") for item in settings):
            raise UserError(
                f"{arguments.run}: encoder.KEY, --weights, --checkpoint are for runs; the function decides its network"
            )
        own = [item for item in settings if item.startswith(data_items)]
        given = override(OmegaConf.create({"data": {}}), own)["data"]
        parts = {"data": given if isinstance(given, dict) else {"name": given}}
        rest = [item for item in settings if item not in own]
    else:
        parts, rest = run_options(arguments.run, settings)
    protocols = load_protocols(names, rest)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if arguments.device == "auto" else arguments.device
    common: dict[str, Any] = {"device": usable_device(device, "--device"), "batch_size": arguments.batch_size}
    common["measures"] = [protocol.measure for protocol in protocols]
    if foreign:
        common |= {"seed": arguments.seed or 0, "write": not arguments.dry_run}
        place = arguments.results or run_of_function(str(arguments.run))
        subject = foreign_subject(str(arguments.run), place, parts["data"], **common)
    else:
        subject = subject_of(
            arguments.run,
            weights=arguments.weights,
            checkpoint=arguments.checkpoint,
            encoder_options=parts["encoder"],
            data_options=parts["data"],
            seed=arguments.seed,
            **common,
        )
    subject.report = lambda line: print(printable(line), file=sys.stderr, flush=True)
    if arguments.dry_run:
        _print_costs(subject, protocols)
        return
    RunDirectory(subject.run_dir).check_results()  # not only after hours of an attack
    for protocol in protocols:
        asked = protocol.file
        if arguments.name:
            protocol = protocol._replace(file=arguments.name)
        elif own := [item for item in changed if item not in rest or protocol.takes(item)]:
            protocol = protocol._replace(file=name_beside(protocol.file, own))
        try:
            result, path = evaluate(subject, protocol, describe_environment(str(device)))
        except UserError as error:
            raise UserError(f"{asked}: {error}" if len(protocols) > 1 else str(error)) from None
        print(f"{arguments.run} {protocol.file}  ({path})")
        for name, metric in result.metrics.items():
            print(printable(f"  {name:32s} {shown(metric)}"))
        for note in result.notes:
            print(printable(f"  note: {note}"))


def _check_name(name: str, protocols: int) -> None:
    if protocols > 1:
        raise UserError("--as names the result of one protocol; several were given")
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise UserError(f"--as={name!r}: must be a plain name of letters, digits, '.', '_' and '-'")
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        raise UserError(f"--as={name!r}: is longer than {LONGEST_NAME} bytes")


def _print_costs(subject: Any, protocols: Sequence[Any]) -> None:
    for protocol in protocols:
        protocol.measure.check(subject)
        costs = protocol.measure.estimate(subject)
        if not costs:
            print(f"{protocol.file}: no estimate; it makes a few passes over the images")
            continue
        for part, cost in costs:
            print(f"{protocol.file}{f', {part}' if part else ''}, {cost.images} images:")
            for line in cost.lines():
                print(f"  {line}")


def _report(arguments: argparse.Namespace) -> None:
    from sslkuramoto.files import write_atomically
    from sslkuramoto.outputs import PAGES, check_output
    from sslkuramoto.report import csv_text, discover, load, markdown, page, show, summarise

    for option in PAGES:
        path = getattr(arguments, option)
        if path is not None:
            check_output(option, path)
    if reported_study(arguments):
        return
    rows = discover([at_home(run) for run in arguments.runs])
    grouped = not arguments.no_groups
    models = [load(row) for row in rows]
    summary = summarise(models, grouped=grouped)
    if arguments.html or arguments.figures:
        from sslkuramoto.report.pictures.export import exported_to  # a table alone needs no matplotlib

        with exported_to(arguments.figures):
            text = page(models, title=arguments.title, grouped=grouped)
        if arguments.html:
            write_atomically(arguments.html, text)
    robust = [numbers for numbers in summary.main_numbers if numbers.robust]
    if arguments.figures and robust:
        from sslkuramoto.report import write_readings

        for ending in ("svg", "pdf"):
            write_readings(arguments.figures / f"readings.{ending}", robust)
    if arguments.markdown:
        write_atomically(arguments.markdown, markdown(summary))
    if arguments.latex:
        from sslkuramoto.report import summary_latex

        write_atomically(arguments.latex, summary_latex(summary, arguments.title))
    if arguments.csv:
        write_atomically(arguments.csv, csv_text(summary))
    show(summary, verbose=arguments.verbose)  # after the files: a reader such as head may go away
    for path in (arguments.html, arguments.markdown, arguments.latex, arguments.csv, arguments.figures):
        if path:
            print(f"wrote {path}")


def _quieten() -> None:
    """Keep other packages' notices off the terminal; ours go through print."""
    of_fabric = ("lightning_fabric", "lightning_fabric.utilities.rank_zero", "lightning_fabric.utilities.distributed")
    for name in (*of_fabric, "matplotlib", "wandb"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


if __name__ == "__main__":
    sys.exit(main())
