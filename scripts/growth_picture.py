"""Draw what `scripts/benchmark.py growth --json FILE` measured: time and memory against each size, logarithmic axes.

python scripts/growth_picture.py FILE docs/figures/growth.svg
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.growth import UPPER, amounts_by_axis
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from sslkuramoto.errors import UserError
from sslkuramoto.report.pictures.drawing import axes_grid, colour, styled, wrapped
from sslkuramoto.report.pictures.export import write_figure

COLUMNS = 4


@styled
def drawn(records: Sequence[Mapping[str, object]], path: Path) -> Path:
    """Draw the figures of the part, one panel for each axis.

    Raises:
        UserError: there are none.
    """
    panels = amounts_by_axis(records)
    if not panels:
        raise UserError("no figures of the part growth in it")
    rows = -(-len(panels) // COLUMNS)
    figure, grid = axes_grid(rows, COLUMNS, 10.0, 2.5 * rows)
    for axes, (name, pair) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, name, pair)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    return write_figure(figure, path)


def _panel(axes: Axes, name: str, pair: Sequence[Mapping[str, object]]) -> None:
    """Draw time and memory of one axis, each as a multiple of its smallest amount, with the fitted exponents."""
    for index, record in enumerate(pair):
        sizes, amounts = record["sizes"], record["amounts"]
        assert isinstance(sizes, list)
        assert isinstance(amounts, list)
        exponent = record["ours"]
        assert isinstance(exponent, dict)
        label = f"{('time', 'memory')[index]}, exponent {exponent['median']:.2f}"
        shares = [amount / amounts[0] for amount in amounts]
        axes.plot(sizes, shares, color=colour(index), marker="o", markersize=3, label=label)
    sizes = pair[0]["sizes"]
    assert isinstance(sizes, list)
    axes.plot(sizes, [size / sizes[0] for size in sizes], color=colour(7), linewidth=0.8, linestyle=(0, (1, 2)))
    axes.axvspan(sizes[-UPPER], sizes[-1], color=colour(7), alpha=0.07, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    for each in (axes.xaxis, axes.yaxis):
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        each.set_minor_locator(NullLocator())
    axes.set_xticks(sizes)
    axes.set_title(wrapped(name, 30), fontsize=8)
    axes.grid(axis="both")
    axes.legend(fontsize=7, frameon=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, help="what --json wrote")
    parser.add_argument("picture", type=Path, help="ends in .svg, .pdf or .png")
    args = parser.parse_args(argv)
    try:
        print(drawn(json.loads(args.record.read_text())["figures"], args.picture))
    except (OSError, ValueError, KeyError) as error:  # also no figures, or not JSON
        print(f"{args.record}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
