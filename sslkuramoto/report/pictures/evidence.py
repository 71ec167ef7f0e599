"""Drawings of evidence: reliability diagrams, calibration of several networks, adversarial images, curves, histograms.

Shapes: m images, y x pixels.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from torch import Tensor

from sslkuramoto.report.evidence import Attacked, Bins, Curve, Histogram
from sslkuramoto.report.pictures.drawing import FAINT, axes_grid, colour, dash, plain_axes, styled, svg_of
from sslkuramoto.report.pictures.oscillators import frame, place, tiles_of

SHOWN_IMAGES = 8
LARGEST_FACTOR = 64
TITLE_WIDTH = 34  # characters of a title over a diagram of 3.3 inches
LINE_HEIGHT = 0.19  # of a title, inches


def reliability_axes(axes: Axes, counts: Axes, bins: Bins, series: int) -> None:
    """Draw a reliability diagram: a bar a bin as high as its accuracy, a mark where its confidence meets it.

    Args:
        axes: of accuracy against confidence, percent.
        counts: of the share of answers a bin, below it.
        bins: in [0,1].
        series: number of the colour.
    """
    edges = 100 * np.asarray(bins.edges)
    at = bins.filled
    left, width = edges[:-1][at], np.diff(edges)[at]
    accuracy, confidence = (100 * np.asarray(values)[at] for values in (bins.accuracy, bins.confidence))
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.bar(left, accuracy, width, align="edge", color=colour(series), alpha=0.3, linewidth=0)
    axes.vlines(confidence, np.minimum(accuracy, confidence), np.maximum(accuracy, confidence), color=colour(series))
    axes.plot(confidence, accuracy, linestyle="none", marker="o", markersize=3.5, color=colour(series))
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_ylabel("accuracy (%)")
    axes.tick_params(labelbottom=False)
    count = np.asarray(bins.count)[at]
    counts.bar(left, 100 * count / max(count.sum(), 1), width, align="edge", color=colour(series), linewidth=0)
    counts.set(xlim=(0, 100))
    counts.set_xlabel("confidence (%)")
    counts.set_ylabel("answers (%)")


@styled
def reliability_picture(label: str, bins: Bins, *, series: int, name: str) -> Markup:
    """Return an inline SVG of one reliability diagram with the histogram of confidences below."""
    title = textwrap.wrap(label, TITLE_WIDTH) or [""]
    height = 3.8 + LINE_HEIGHT * (len(title) - 1)
    margins = (0.16, 0.95, 0.13 * 3.8 / height, 1 - (0.304 + LINE_HEIGHT * (len(title) - 1)) / height)
    figure, ((axes,), (counts,)) = axes_grid(2, 1, 3.3, height, margins=margins, heights=(3, 1))
    for each in (axes, counts):
        plain_axes(each)
    reliability_axes(axes, counts, bins, series)
    axes.set_title("\n".join(title))
    return svg_of(figure, alt=f"Reliability diagram, {bins.name}. {label}: {_told(bins)}", name=name)


def _told(bins: Bins) -> str:
    if not bins.filled:
        return "no answers."
    texts = [f"{100 * bins.confidence[k]:.0f} to {100 * bins.accuracy[k]:.0f}" for k in bins.filled]
    return f"confidence to accuracy in percent: {', '.join(texts)}; mean gap {100 * bins.calibration_error:.1f}."


@styled
def calibration_picture(lines: Mapping[int, tuple[str, Bins]], *, name: str) -> Markup:
    """Return an inline SVG: accuracy against confidence of several networks, series -> (label, bins)."""
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 3.6, margins=(0.13, 0.97, 0.14, 0.97))
    plain_axes(axes)
    axes.plot([0, 100], [0, 100], color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    for series, (_, bins) in lines.items():
        at = bins.filled
        x, y = (100 * np.asarray(values)[at] for values in (bins.confidence, bins.accuracy))
        axes.plot(x, y, color=colour(series), linestyle=dash(series), marker="o", markersize=3)
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_xlabel("confidence (%)")
    axes.set_ylabel("accuracy (%)")
    told = " ".join(f"{label}: {_told(bins)}" for label, bins in lines.values())
    return svg_of(figure, alt=f"Accuracy against confidence; the diagonal is perfect calibration. {told}", name=name)


def magnification(attacked: Attacked) -> int:
    """The factor that makes the largest change of a pixel half of the range, a power of two, at most 64; at least 1."""
    largest = float((attacked.adversarial - attacked.clean).abs().nan_to_num(0).max()) if len(attacked.clean) else 0.0
    return 1 if largest <= 0 else max(1, min(LARGEST_FACTOR, 2 ** math.floor(math.log2(0.5 / largest))))


@styled
def attacked_picture(attacked: Attacked, *, name: str) -> Markup:
    """Return an inline SVG: a row of clean images, one of adversarial ones, one of their differences on grey."""
    factor, count = magnification(attacked), min(len(attacked.clean), SHOWN_IMAGES)
    difference: Float[Tensor, "m 3 y x"] = 0.5 + factor * (attacked.adversarial - attacked.clean)
    figure, ((axes,),) = axes_grid(1, 1, 0.78 * count + 1.1, 0.78 * 3 + 0.3)
    for row, batch in enumerate((attacked.clean, attacked.adversarial, difference)):
        for column, tile in enumerate(tiles_of(batch[:count])):
            place(axes, tile, row, column)
    labels, predictions = attacked.labels.tolist()[:count], attacked.prediction.tolist()[:count]
    frame(
        axes,
        ["clean", "adversarial", f"difference\n× {factor}"],
        [f"{a} → {b}" for a, b in zip(labels, predictions, strict=True)],
    )
    told = ", ".join(f"class {a} taken for {b}" for a, b in zip(labels, predictions, strict=True))
    alt = f"Images before and after the attack and their difference, magnified {factor} times, on grey: {told}."
    return svg_of(figure, alt=alt, name=name)


@styled
def curve_picture(curve: Curve, *, name: str) -> Markup:
    """Return an inline SVG of a few lines with their points, shares in percent."""
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 2.9)
    plain_axes(axes)
    scale = 100 if curve.unit == "fraction" else 1
    told = []
    for index, (label, values) in enumerate(curve.series.items()):
        y = scale * np.asarray(values)
        axes.plot(curve.x, y, color=colour(index), linestyle=dash(index), marker="o", markersize=3, label=label)
        told.append(f"{label}: " + ", ".join(f"{b:.4g} at {a:.4g}" for a, b in zip(curve.x, y, strict=True)) + ".")
    axes.set_title(curve.title)
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel("%" if curve.unit == "fraction" else curve.unit)
    if curve.unit == "fraction":
        axes.set_ylim(-2, 102)
    if len(curve.series) > 1:
        axes.legend(frameon=False, fontsize=7)
    return svg_of(figure, alt=f"{curve.title}. {' '.join(told)}", name=name)


@styled
def histograms_picture(histograms: Sequence[Histogram], *, name: str) -> Markup:
    """Return an inline SVG of histograms side by side, each as shares of its total."""
    columns = min(len(histograms), 3)
    rows = -(-len(histograms) // columns)
    figure, grid = axes_grid(rows, columns, 2.2 * columns + 0.4, 1.6 * rows + 0.4)
    told = []
    for axes in grid.flat[len(histograms) :]:
        axes.set_visible(False)
    for index, (axes, one) in enumerate(zip(grid.flat, histograms, strict=False)):
        plain_axes(axes)
        total = sum(one.count)
        shares = 100 * np.asarray(one.count) / (total or 1)
        axes.bar(one.edges[:-1], shares, np.diff(one.edges), align="edge", color=colour(0), linewidth=0)
        axes.set_title(one.title, fontsize=8)
        axes.set_xlabel(one.x_label)
        if index % columns == 0:
            axes.set_ylabel("%")
        most = int(np.argmax(shares))
        span = f"most in {one.edges[most]:.3g} to {one.edges[most + 1]:.3g}" if total else "empty"
        told.append(f"{one.title}: {span}.")
    return svg_of(figure, alt=f"Histograms of {histograms[0].x_label}. {' '.join(told)}", name=name)
