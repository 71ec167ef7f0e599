"""Clean against robust accuracy: one panel per reading, one point per row; reported points are hollow."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from sslkuramoto.report.pictures.drawing import INK, axes_grid, colour, plain_axes, styled, svg_of

Spread = tuple[float, float, float]  # a number in percent and the ends of what surrounds it


@dataclass(frozen=True)
class Point:
    """A row in a panel. ``series`` is its colour and, plus one, the number beside it.

    ``clean`` and ``robust`` have the standard deviation over seeds (of one seed the interval over images), ``images``
    both intervals over images.
    """

    series: int
    label: str
    clean: Spread
    robust: Spread
    reported: bool = False
    images: tuple[Spread, Spread] | None = None


def limits(values: Sequence[float]) -> tuple[float, float]:
    """The range of an axis in percent: around the values, with room, never outside [-3, 103]."""
    low, high = min(values), max(values)
    room = max(3.0, 0.12 * (high - low))
    return max(-3.0, low - room), min(103.0, high + room)


@styled
def scatter_pictures(panels: Sequence[tuple[str, Sequence[Point]]], *, name: str) -> list[Markup]:
    """Return an inline SVG a panel, all with the same axes.

    Args:
        panels: (title, points), each with at least one point.
        name: unique on the page.
    """
    every = [point for _, points in panels for point in points]
    x_range = limits([value for point in every for value in (*point.clean, *(point.images or ((), ()))[0])])
    y_range = limits([value for point in every for value in (*point.robust, *(point.images or ((), ()))[1])])
    return [_panel(title, points, x_range, y_range, f"{name}-{k}") for k, (title, points) in enumerate(panels)]


def _panel(
    title: str, points: Sequence[Point], x_range: tuple[float, float], y_range: tuple[float, float], name: str
) -> Markup:
    figure, ((axes,),) = axes_grid(1, 1, 3.9, 3.3)
    plain_axes(axes)
    axes.grid(axis="x")
    sentences = []
    for point in points:
        (x, x_low, x_high), (y, y_low, y_high) = point.clean, point.robust
        tint = colour(point.series)
        over_seeds = [[x - x_low], [x_high - x]], [[y - y_low], [y_high - y]]
        over_images = None
        if point.images is not None:
            (_, left, right), (_, bottom, top) = point.images
            over_images = [[x - left], [right - x]], [[y - bottom], [top - y]]
            axes.errorbar(x, y, xerr=over_images[0], yerr=over_images[1], fmt="none", color=tint, elinewidth=0.8)
        axes.errorbar(
            x,
            y,
            xerr=over_seeds[0],
            yerr=over_seeds[1],
            fmt="D" if point.reported else "o",
            markersize=5.5,
            color=tint,
            elinewidth=0.8 if over_seeds == over_images else 2.2,
            markerfacecolor="none" if point.reported else tint,
        )
        number = f"{point.series + 1}"
        axes.annotate(number, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
        sentences.append(f"{point.label}{' (reported)' if point.reported else ''}: {x:.1f} clean, {y:.1f} robust.")
    axes.set(xlim=x_range, ylim=y_range)
    axes.set_title(title)
    axes.set_xlabel("clean accuracy (%)")
    axes.set_ylabel("robust accuracy (%)")
    return svg_of(figure, alt=f"Clean against robust accuracy, {title}. {' '.join(sentences)}", name=name)
