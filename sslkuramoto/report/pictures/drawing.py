"""matplotlib figures -> inline SVG that takes the page's colours, light or dark, and refers to nothing outside."""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from sslkuramoto.report.markup import legend_of, picture_of, swatch_of
from sslkuramoto.report.pictures.export import FAINT, INK, SERIES, export

MAX_POINTS = 400
POINTS = 72.0  # an inch of an SVG file
NUM_COLOURS = len(SERIES)
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
DASHES_SVG = ("none", "5 2", "1 1.5", "6 2 1 2")
OPTIONS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sslkuramoto",
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "path.simplify": True,
}

# Decorates whatever draws: matplotlib reads its settings when a text or a line is made. Put back on leaving.
styled = matplotlib.rc_context(OPTIONS)


def colour(index: int) -> str:
    """The colour of series ``index``, as a placeholder for a CSS variable."""
    return SERIES[index % NUM_COLOURS]


def dash(index: int) -> Any:
    """The dash pattern of series ``index``: colours repeat after eight, patterns then change."""
    return DASHES[index // NUM_COLOURS % len(DASHES)]


def swatch(index: int) -> Markup:
    """A short line in the colour and dashes of series ``index``, for a legend in HTML."""
    dashes = DASHES_SVG[index // NUM_COLOURS % len(DASHES_SVG)]
    return swatch_of(index % NUM_COLOURS, dashes)


def legend(labels: Mapping[int, str]) -> Markup:
    """The colours and dashes of series by their number."""
    return legend_of((swatch(k), label) for k, label in labels.items())


def axes_grid(
    rows: int,
    columns: int,
    width: float,
    height: float,
    margins: tuple[float, float, float, float] | None = None,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure without pyplot and its axes [rows, columns].

    Args:
        rows: of axes.
        columns: of axes.
        width: inches.
        height: inches.
        margins: left, right, bottom, top of the axes as shares of the figure; when left out, found from the labels.
        heights: of the rows, relative to each other.
    """
    figure = Figure(figsize=(width, height), layout=None if margins else "constrained")
    if margins:
        left, right, bottom, top = margins
        figure.subplots_adjust(left=left, right=right, bottom=bottom, top=top)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def wrapped(title: str, width: int) -> str:
    """Return a title over as many lines as it needs, ``width`` characters each."""
    return "\n".join(textwrap.wrap(title, width)) or title


def plain_axes(axes: Axes) -> None:
    """Light horizontal rules and no more."""
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


@styled
def svg_of(figure: Figure, *, alt: str, name: str) -> Markup:
    """Render a figure as inline SVG.

    Args:
        figure: drawn with the placeholder colours of this file.
        alt: what a reader who cannot see it should know.
        name: unique on the page; goes before every id inside.
    """
    _lay_out(figure)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    export(figure, alt=alt, name=name)  # after the page's own drawing, which it must not change
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, _, body = text.partition(">")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)
    assert box, "matplotlib wrote an SVG without a viewBox"
    body = body.replace("xlink:href", "href")
    body = _own_ids(body, name)
    body = re.sub(r" ?font-family: [^;\"]*;", "", body)  # the page has its own
    body = re.sub(r' transform="rotate\(-0 [^"]*"', "", body)
    body = re.sub(r"\n\s+", "\n", body)
    body = _rounded(body)
    for index, stand_in in enumerate(SERIES):
        body = body.replace(stand_in, f"var(--series-{index})")
    body = body.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    style = f"max-width: {float(box[1]) * 4 / 3:.0f}px"  # shrinks to its column, never grows
    return picture_of(body, alt=alt, width=box[1], height=box[2], style=style)


def _lay_out(figure: Figure) -> None:
    """Place the axes now: with a layout engine left, ``savefig`` draws the whole figure twice."""
    if (engine := figure.get_layout_engine()) is not None:
        FigureCanvasSVG(figure)  # measures texts as it will write them
        dpi, figure.dpi = figure.dpi, POINTS
        engine.execute(figure)
        figure.dpi = dpi
        figure.set_layout_engine(None)


def _own_ids(body: str, name: str) -> str:
    """Keep the ids that something refers to, as ids of this page; equal pictures would otherwise share one."""
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in wanted else "", body)
    return re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", body)


def _rounded(body: str) -> str:
    """Two decimals of a point are enough: paths are most of the page's size. Embedded images stay as they are."""

    def shorten(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", match[2]) + '"'

    return re.sub(r'((?: d| x| y|points)=")([^"]*)"', shorten, body)


def downsample(
    steps: Sequence[float], values: Sequence[float], limit: int = MAX_POINTS
) -> tuple[np.ndarray, np.ndarray]:
    """Thin a curve to at most ``limit`` points: of each stretch the lowest and the highest, so that no spike is lost.

    Values that are not finite stay as gaps (nan): one marks the stretch that holds any.
    """
    x, y = np.asarray(steps, dtype=float), np.asarray(values, dtype=float)
    y = np.where(np.isfinite(y), y, np.nan)
    if len(x) <= limit:
        return x, y
    keep: list[int] = []
    for stretch in np.array_split(np.arange(len(x)), max(limit // 3, 1)):
        part = y[stretch]
        gaps = np.flatnonzero(np.isnan(part))
        chosen = {int(gaps[0])} if len(gaps) else set()
        if len(gaps) < len(part):
            chosen |= {int(np.nanargmin(part)), int(np.nanargmax(part))}
        keep += [int(stretch[0]) + index for index in sorted(chosen)]
    return x[keep], y[keep]


def running_mean(values: Sequence[float], limit: int = MAX_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Means of the finite values over at most ``limit // 4`` equal stretches, with the index of each one's middle."""
    y = np.asarray(values, dtype=float)
    stretches = np.array_split(np.arange(len(y)), min(max(limit // 4, 1), len(y)))
    middles = np.array([int(s[len(s) // 2]) for s in stretches])
    means = [part[np.isfinite(part)] for part in (y[s] for s in stretches)]
    return middles, np.array([part.mean() if len(part) else np.nan for part in means])
