"""Columns of a study as bars: a panel a column, a bar a row with its spread over seeds; reported figures hollow."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sslkuramoto.report.pictures.drawing import INK, axes_grid, colour, plain_axes, styled, svg_of, wrapped
from sslkuramoto.report.pictures.scatter import Spread

TITLE_WIDTH = 34  # characters


@dataclass(frozen=True)
class Bar:
    """A row in a panel; ``series`` is its colour and, plus one, the number below it.

    ``measured`` and ``reported`` have the ends of what surrounds them; None where there is no such number.
    """

    series: int
    label: str
    measured: Spread | None
    reported: Spread | None


@styled
def bars_picture(title: str, unit: str, bars: Sequence[Bar], *, name: str) -> Markup:
    """Return an inline SVG of one column.

    Args:
        title: of the column.
        unit: of its numbers.
        bars: its rows, at least one.
        name: unique on the page.
    """
    figure, ((axes,),) = axes_grid(1, 1, max(2.6, 0.42 * len(bars) + 1.0), 2.5)
    plain_axes(axes)
    sentences = []
    for place, bar in enumerate(bars):
        if bar.measured is not None:
            value, low, high = bar.measured
            axes.bar(place, value, 0.7, color=colour(bar.series), alpha=0.75, linewidth=0)
            axes.errorbar(place, value, yerr=[[value - low], [high - value]], fmt="none", color=INK, elinewidth=1.2)
            sentences.append(f"{bar.label}: {value:.4g} ({low:.4g} to {high:.4g}).")
        if bar.reported is not None:
            value, low, high = bar.reported
            spread = [[value - low], [high - value]]
            axes.errorbar(place, value, yerr=spread, fmt="D", color=INK, markerfacecolor="none", elinewidth=0.8)
            sentences.append(f"{bar.label} (reported): {value:.4g}.")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(bars)), [str(bar.series + 1) for bar in bars])
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.set_ylabel(unit)
    axes.set_title(wrapped(title, TITLE_WIDTH))
    return svg_of(figure, alt=f"Bars, {title}. {' '.join(sentences)}", name=name)
