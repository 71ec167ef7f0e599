"""One Markdown table over seeds: mean +- standard deviation of every column of the report.

    python scripts/results_table.py FOLDER
    python scripts/results_table.py FOLDER --into docs/results/cifar10-small.md
    python scripts/results_table.py FOLDER --figure docs/figures/quickstart.svg

FOLDER holds finished runs called ROW-seedK (as scripts/cifar10_small.sh leaves them). Hardware and versions, read from
the runs, are printed below the table. ``--into`` writes both between the markers of a page instead of printing them,
``--figure`` also draws the robust accuracies: the mean over seeds and its standard deviation, one block per row.
Exit code 2 when there is nothing to read.
"""

import argparse
import json
import re
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from result_pages import write_table

from sslkuramoto.errors import UserError
from sslkuramoto.report import Column, Model, columns, discover, load, summarise, write_readings
from sslkuramoto.report.tables.columns import Found, find, number


def rows_of(folder: Path) -> dict[str, dict[int, Path]]:
    """Return row -> seed -> run directory."""
    rows: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*-seed*")):
        named = re.fullmatch(r"(.+)-seed(\d+)", path.name)
        if named and (path / "encoder.safetensors").is_file():
            rows.setdefault(named[1], {})[int(named[2])] = path
    if not rows:
        raise UserError(f"{folder}: holds no finished run called ROW-seedK")
    return rows


def cell(values: list[float], departs: str = "") -> str:
    """Return mean +- standard deviation over seeds (n - 1), a single value, or a dash; and what it departs in."""
    if not values:
        return "-"
    spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}{f' ({departs})' if departs else ''}"


def table(folder: Path) -> str:
    """Return the table and its conditions as Markdown."""
    runs = rows_of(folder)
    models = {row: [load(discover([path])[0]) for path in seeds.values()] for row, seeds in runs.items()}
    by_column = {column.name: {row: _values(column, seeds) for row, seeds in models.items()} for column in columns()}
    filled = {name for name, of_rows in by_column.items() if any(values for values, _ in of_rows.values())}
    shown = {c.name: by_column[c.name] for c in columns() if not c.optional or c.name in filled}
    lines = [f"| {' | '.join(['row', 'seeds', *shown])} |", "|---|---|" + "---|" * len(shown)]
    for row, seeds in runs.items():
        cells = (cell(*of_rows[row]) for of_rows in shown.values())
        lines.append(f"| {' | '.join([row, ', '.join(map(str, seeds)), *cells])} |")
    conditions = {_conditions(path) for seeds in runs.values() for path in seeds.values()}
    return "\n".join([*lines, "", *sorted(conditions)])


def figure(folder: Path, path: Path) -> None:
    """Draw the robust accuracies of the rows that have one.

    Raises:
        UserError: none has.
    """
    all_numbers = []
    for row, seeds in rows_of(folder).items():
        summary = summarise([load(discover([run])[0]) for run in seeds.values()], grouped=True)
        if len(summary.main_numbers) > 1:
            raise UserError(f"{row}: its runs differ in more than the seed")
        all_numbers += [replace(numbers, label=row) for numbers in summary.main_numbers if numbers.robust]
    if not all_numbers:
        raise UserError(f"{folder}: no run has a robust accuracy")
    write_readings(path, all_numbers)


def _values(column: Column, seeds: list[Model]) -> tuple[list[float], str]:
    """Return the numbers of a row's seeds, in percent, and in what they depart from what their protocol's file says.

    Raises:
        UserError: not all depart alike: there is no mean of them.
    """
    items = [item for item in (find(column, model) for model in seeds) if isinstance(item, Found)]
    departs = {item.departs for item in items}
    if len(departs) > 1:
        raise UserError(f"{column.name}: seeds of one row are not measured alike: {', '.join(sorted(departs))}")
    return [value for item in items if (value := number(item)) is not None], "".join(departs)


def _conditions(run: Path) -> str:
    session = json.loads((run / "environment.json").read_text())["sessions"][-1]
    versions = ", ".join(f"{name} {number}" for name, number in session["versions"].items() if number)
    return (
        f"Hardware: {session['hardware']}, {session['threads']} thread(s), {session['device']}; "
        f"Python {session['python']}, {versions}; revision {session['revision']}."
    )


def main(argv: list[str] | None = None) -> int:
    """Print or write the table and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, metavar="PAGE")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="ends in .svg, .pdf or .png")
    arguments = parser.parse_args(argv)
    try:
        text = table(arguments.folder)
        if arguments.into is None:
            print(text)
        else:
            write_table(arguments.into, text)
        if arguments.figure is not None:
            figure(arguments.folder, arguments.figure)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
