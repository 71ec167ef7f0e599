"""The readings of one network as dots with intervals, clean accuracy above them: one block per model."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sslkuramoto.report.pictures.drawing import FAINT, INK, axes_grid, colour, plain_axes, styled, svg_of, wrapped
from sslkuramoto.report.pictures.export import write_figure
from sslkuramoto.report.tables.main_numbers import UNION, MainNumbers, Measured

NAMES = {"clean": "clean", "fixed": "fixed oscillators", "adaptive": "adaptive", UNION: "union of all"}
TITLE_WIDTH = 48  # characters over a block
LINE, ROW, WIDTH = 0.19, 0.27, 4.6  # inches: of a title, per reading, of a block


@styled
def readings_pictures(main_numbers: Sequence[MainNumbers], *, name: str) -> list[Markup]:
    """Return one inline SVG per model, all on one scale.

    Args:
        main_numbers: each with at least one robust accuracy.
        name: unique on the page.
    """
    drawn = []
    for k, numbers in enumerate(main_numbers):
        rows = _rows(numbers)
        title = wrapped(numbers.label, TITLE_WIDTH)
        above = 0.14 + LINE * (title.count("\n") + 1)
        height = above + ROW * len(rows) + 0.5
        margins = (0.31, 0.89, 0.5 / height, 1 - above / height)
        figure, ((axes,),) = axes_grid(1, 1, WIDTH, height, margins=margins)
        _block(axes, numbers, rows, k)
        axes.set_title(title, x=-0.43, pad=5)
        drawn.append(svg_of(figure, alt=alt_of(numbers), name=f"{name}-{k}"))
    return drawn


@styled
def write_readings(path: Path, main_numbers: Sequence[MainNumbers], *, columns: int = 3) -> Path:
    """Write the picture as a file of its own, for a paper or a README.

    Args:
        path: its ending says the format: ``.svg``, ``.pdf`` or ``.png``.
        main_numbers: each with at least one robust accuracy.
        columns: blocks side by side.
    """
    return write_figure(_figure(main_numbers, min(columns, len(main_numbers))), path)


def _figure(main_numbers: Sequence[MainNumbers], columns: int) -> Figure:
    lines = -(-len(main_numbers) // columns)
    most = max(len(_rows(numbers)) for numbers in main_numbers)
    figure, grid = axes_grid(lines, columns, WIDTH * 0.8 * columns, lines * (ROW * most + 0.9))
    for axes in grid.flat[len(main_numbers) :]:
        axes.set_visible(False)
    for k, (axes, numbers) in enumerate(zip(grid.flat, main_numbers, strict=False)):
        _block(axes, numbers, _rows(numbers), k)
        axes.set_title(wrapped(numbers.label, 32))
    return figure


def _rows(numbers: MainNumbers) -> list[tuple[str, Measured]]:
    rows = [("clean", numbers.clean)] if numbers.clean else []
    return [*rows, *numbers.robust.items()]


def _block(axes: Axes, numbers: MainNumbers, rows: Sequence[tuple[str, Measured]], series: int) -> None:
    """Draw one model: a line per reading, its 95 % interval over images thin, the deviation over seeds thick."""
    headline = numbers.headline
    plain_axes(axes)
    axes.grid(visible=False)
    axes.grid(axis="x")
    for y, (key, found) in enumerate(rows):
        is_headline = headline is not None and key == headline[0]
        tint = INK if key == "clean" else colour(series)
        if found.low is not None and found.high is not None:
            axes.hlines(y, found.low, found.high, color=tint, linewidth=1.4)
        if found.std is not None:
            axes.hlines(y, found.value - found.std, found.value + found.std, color=tint, linewidth=3.5)
        size, face = (8 if is_headline else 5.5), (tint if is_headline else "none")
        marker = "D" if is_headline else "o"
        axes.plot(found.value, y, marker=marker, markersize=size, color=tint, markerfacecolor=face, clip_on=False)
        weight = "bold" if is_headline else "normal"
        place = axes.get_yaxis_transform()
        axes.text(1.03, y, f"{found.value:.1f}", transform=place, va="center", fontweight=weight)
    axes.set(xlim=(-4, 103), xticks=range(0, 101, 20), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [_name(key, found, numbers) for key, found in rows])
    if headline is not None:
        axes.get_yticklabels()[[key for key, _ in rows].index(headline[0])].set_fontweight("bold")
    if numbers.clean:
        axes.axhline(0.5, color=FAINT, linewidth=0.6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"accuracy (%){f', {numbers.threat}' if numbers.threat else ''}")


def alt_of(numbers: MainNumbers) -> str:
    """The picture in words."""
    listed = "; ".join(f"{_name(key, found, numbers)} {found.text}" for key, found in _rows(numbers))
    return f"Accuracy of {numbers.label} by reading, {numbers.threat or 'under attack'}: {listed}."


def _name(key: str, found: Measured, numbers: MainNumbers) -> str:
    """The name of a row, with its threat where that is not the picture's."""
    other = f" ({found.threat})" if found.threat not in ("", numbers.threat) else ""
    return f"{NAMES.get(key, key)}{other}"
