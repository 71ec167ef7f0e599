"""The command ``study``: print what is missing and its cost, compute it, print ours beside the published table."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.files import at_home
from sslkuramoto.garbage import seldom_collected

ROOT = Path("runs/studies")


def add_study(commands: Any, prepare: Callable[[], None]) -> None:
    """Add the command to a parser.

    Args:
        commands: what ``add_subparsers`` returned.
        prepare: called first in every worker process.
    """
    command = commands.add_parser("study", help="compute a table and print it beside the published figures")
    command.add_argument("study", nargs="?", help="the path of a study file, or a name of 'list studies'")
    command.add_argument(
        "items",
        nargs="*",
        default=[],
        metavar="KEY=VALUE",
        help="changes of every training run, over those of the file, such as data.root=DIR; ROW.KEY=VALUE and "
        "ROW.STAGE.KEY=VALUE of some, columns.COLUMN.KEY=VALUE of a measurement",
    )
    command.add_argument("--new", type=at_home, metavar="FILE", help="write an annotated study file to start from")
    command.add_argument("--dry-run", action="store_true", help="only print what is missing and what it would cost")
    command.add_argument("--jobs", type=_count, default=1, metavar="N", help="worker processes; 0 works in this one")
    command.add_argument("--threads", type=_positive, default=1, metavar="N", help="of each worker")
    command.add_argument(
        "--root", type=at_home, default=ROOT, metavar="DIR", help=f"folder that holds all studies (default {ROOT})"
    )
    command.add_argument("--rows", type=_words, metavar="A,B", help="keys of rows: compute only these")
    command.add_argument("--columns", type=_words, metavar="A,B", help="keys of columns: compute only these")
    command.add_argument("--seeds", type=_numbers, metavar="0,1", help="compute only these")
    command.add_argument("--retry", action="store_true", help="try again what failed before")
    command.add_argument("--any-code", action="store_true", help="take results of other versions of the code too")
    command.add_argument("--device", default="auto")
    command.add_argument(
        "--slurm", nargs="+", metavar="KEY=VALUE", help="one job for each row and seed; submitit's and SLURM's options"
    )
    command.set_defaults(act=lambda arguments: _study(arguments, prepare))


def _count(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number >= {least}")
    return int(text)


def _positive(text: str) -> int:
    return _count(text, 1)


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise argparse.ArgumentTypeError(f"{text!r}: must name at least one")
    return words


def _numbers(text: str) -> list[int]:
    return [_count(word) for word in _words(text)]


def _study(arguments: argparse.Namespace, prepare: Callable[[], None]) -> None:
    if arguments.new is not None:
        _new(arguments)
        return
    if arguments.study is None:
        raise UserError("name a study file or a name of 'sslkuramoto list studies', or write a new file by --new FILE")
    with seldom_collected():
        from sslkuramoto.measuring import usable_device
        from sslkuramoto.study import run_plan
        from sslkuramoto.study.cost import cost_of_plan, plan_text

        jobs = arguments.jobs
        if arguments.device != "auto" and not arguments.slurm:  # a job's device need not be here
            usable_device(arguments.device, "--device")
        chosen = {"rows": arguments.rows, "columns": arguments.columns, "seeds": arguments.seeds}
        named = arguments.study, arguments.items, arguments.root
        plan, words = planned_study(*named, any_code=arguments.any_code, **chosen)
    where: dict[str, Any] = {"threads": arguments.threads, "device": arguments.device, "retry": arguments.retry}
    timed = where if not arguments.slurm else {**where, "device": "auto"}
    cost = cost_of_plan(plan, report=_on_terminal, **timed)
    print(plan_text(plan, cost, jobs=jobs, retry=arguments.retry), flush=True)
    if arguments.dry_run:
        return
    failed = (
        _submit(plan, words, arguments)
        if arguments.slurm
        else run_plan(plan, jobs=jobs, prepare=prepare, expected=cost.tasks, **where)
    )
    table = print_study(plan.study, words, arguments.root, any_code=arguments.any_code)
    if failed:
        where_to = f"see the lines above, the footnotes and {arguments.root}/failures"
        raise UserError(f"{failed} of {len(plan.tasks)} tasks failed; {where_to}")
    if unread := sum(seed in table.cells[row, column].failures for row, column, seed in plan.cells):
        raise UserError(f"{unread} of {len(plan.cells)} measurements have no number; the footnotes say why")


def planned_study(name: str, changes: Sequence[str], root: Path, **chosen: Any) -> tuple[Any, list[str]]:
    """Return the checked plan of a study, and all changes that it was loaded with.

    Args:
        name: path of a study file, a name of ``list studies``, or of a study that ``root`` holds with its changes.
        changes: ``KEY=VALUE`` words.
        root: folder that holds all studies.
        chosen: ``rows``, ``columns``, ``seeds`` and ``any_code`` of :func:`~sslkuramoto.study.plan.plan_study`.
    """
    from sslkuramoto.study import load_study, plan_study, recorded_study
    from sslkuramoto.study.table import check_metrics

    name, recorded = recorded_study(name, root) or (name, [])
    plan = plan_study(load_study(name, words := [*recorded, *changes]), root, **chosen)
    check_metrics(plan)
    return plan, words


def _new(arguments: argparse.Namespace) -> None:
    from sslkuramoto.study import new_study

    if arguments.study is not None:
        raise UserError(f"--new {arguments.new}: writes one file and takes no study and no KEY=VALUE")
    new_study(arguments.new)
    file = shlex.quote(str(arguments.new))
    print(f"wrote {file}; sslkuramoto study {file} --dry-run lists what it computes, sslkuramoto study {file} runs it")


def _on_terminal(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _submit(plan: Any, changes: list[str], arguments: argparse.Namespace) -> int:
    """Submit the jobs and, where they are processes of this machine, wait for them; return how many tasks failed."""
    from sslkuramoto.study.slurm import submit, wait_for

    jobs = submit(plan, arguments.slurm, overrides=changes, device=arguments.device, retry=arguments.retry)
    if not any(word in ("cluster=local", "cluster=debug") for word in arguments.slurm):
        words = ["sslkuramoto", "report", arguments.study, *arguments.items]
        words += [] if arguments.root == ROOT else ["--root", str(arguments.root)]
        words += ["--any-code"] if arguments.any_code else []
        print(f"{len(jobs)} jobs submitted; to print the results so far: {shlex.join(words)}", file=sys.stderr)
        return 0
    undone = 0
    for job, ending in wait_for(jobs):
        print(f"job {job.job_id}: {ending}", file=sys.stderr, flush=True)
        undone += "failed" in ending
    return plan.failures() or undone


def reported_study(arguments: argparse.Namespace) -> bool:
    """Print the results of a study so far when ``report`` was given one, and perhaps KEY=VALUE, in place of runs.

    Raises:
        UserError: whatever is wrong with the study; a file to write, for a study has its own.
    """
    names = [word for word in arguments.runs if "=" not in word]
    if len(names) != 1:
        return False
    from sslkuramoto.outputs import PAGES
    from sslkuramoto.study import load_study, recorded_study, study_files
    from sslkuramoto.study.named import ENDINGS

    found, changes = recorded_study(names[0], arguments.root), [word for word in arguments.runs if "=" in word]
    if found is None:
        here = names[0] in study_files() or names[0].endswith(ENDINGS) or Path(f"{names[0]}.yaml").is_file()
        if not here or Path(names[0]).is_dir():
            return False
        found = names[0], []
    for option in PAGES:
        if getattr(arguments, option) is not None:
            raise UserError(f"--{option}: a study writes its files under {arguments.root}/NAME, see --root")
    from sslkuramoto.report.pictures.export import exported_to  # loads matplotlib

    changes = [*found[1], *changes]
    with exported_to(arguments.figures):
        options = {"any_code": arguments.any_code, "verbose": arguments.verbose}
        print_study(load_study(found[0], changes), changes, arguments.root, **options)
    return True


def print_study(
    study: Any, changes: Sequence[str], root: Path, *, any_code: bool = False, verbose: bool = False
) -> Any:
    """Print the results of a study so far, write its table and page under ``root/FOLDER``, and return the table.

    Args:
        study: a loaded study.
        changes: ``KEY=VALUE`` words that it was loaded with.
        root: folder that holds all studies.
        any_code: take results of other versions of the code too.
        verbose: also print how each number was scored.
    """
    from sslkuramoto.files import write_atomically
    from sslkuramoto.report import study_csv, study_latex, study_markdown, study_text, write_study_page
    from sslkuramoto.report.tables.escape import csv_comment
    from sslkuramoto.study import collect, record_study

    table = collect(study, root, any_code=any_code)
    print(study_text(table, verbose=verbose))
    folder = root / study.folder
    marks = "".join(map(csv_comment, study.changes))  # for a line of cells would be a result
    texts = {"table.md": study_markdown(table), "table.csv": marks + study_csv(table)}
    texts |= {f"{name}.tex": text for name, text in study_latex(table).items()}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    if "paired.tex" not in texts:  # the study had tests before
        (folder / "paired.tex").unlink(missing_ok=True)
    write_study_page(folder / "report.html", table)
    record_study(folder, study.path, changes)
    print(f"wrote {folder}/{', '.join(sorted(texts))} and report.html")
    return table
