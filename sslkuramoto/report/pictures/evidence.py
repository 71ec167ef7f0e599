"""Drawings of evidence: reliability diagrams, calibration of several networks, adversarial images, curves, histograms.

Shapes: m images, y x pixels.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from torch import Tensor

from sslkuramoto.report.evidence import Attacked, Bins, Curve, Histogram
from sslkuramoto.report.pictures.drawing import (
    FAINT,
    INK,
    axes_grid,
    colour,
    dash,
    plain_axes,
    styled,
    svg_of,
    wrapped,
)
from sslkuramoto.report.pictures.tiles import frame, place, tiles_of

SHOWN_IMAGES = 8
LARGEST_FACTOR = 64
TITLE_WIDTH = 34  # characters of a title over a diagram of 3.3 inches
CURVE_TITLE_WIDTH, HISTOGRAM_TITLE_WIDTH = 46, 30  # characters
DECADES = 20  # times the least positive x: from there on an axis is logarithmic
MOST_TICKS = 8
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
    title = wrapped(label, TITLE_WIDTH).split("\n")
    height = 3.8 + LINE_HEIGHT * (len(title) - 1)
    margins = (0.16, 0.95, 0.13 * 3.8 / height, 1 - (0.304 + LINE_HEIGHT * (len(title) - 1)) / height)
    figure, ((axes,), (counts,)) = axes_grid(2, 1, 3.3, height, margins=margins, heights=(3, 1))
    for each in (axes, counts):
        plain_axes(each)
    reliability_axes(axes, counts, bins, series)
    axes.set_title("\n".join(title))
    return svg_of(figure, alt=f"Reliability diagram, {bins.name}. {label}: {_in_words(bins)}", name=name)


def _in_words(bins: Bins) -> str:
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
    points = " ".join(f"{label}: {_in_words(bins)}" for label, bins in lines.values())
    return svg_of(figure, alt=f"Accuracy against confidence; the diagonal is perfect calibration. {points}", name=name)


def magnification(attacked: Attacked) -> int:
    """The factor that makes the largest change of a pixel half of the range, a power of two, at most 64; at least 1."""
    largest = float((attacked.adversarial - attacked.clean).abs().nan_to_num(0).max()) if len(attacked.clean) else 0.0
    return 1 if largest <= 0 else max(1, min(LARGEST_FACTOR, 2 ** math.floor(math.log2(0.5 / largest))))


@styled
def attacked_pictures(attacked: Attacked, *, name: str) -> list[Markup]:
    """Return one inline SVG per image: clean, its perturbation magnified on grey, adversarial, side by side."""
    factor, count = magnification(attacked), min(len(attacked.clean), SHOWN_IMAGES)
    difference: Float[Tensor, "m 3 y x"] = 0.5 + factor * (attacked.adversarial - attacked.clean)
    batches = [tiles_of(batch[:count]) for batch in (attacked.clean, difference, attacked.adversarial)]
    drawn = []
    for k in range(count):
        before, after = (attacked.class_of(int(labels[k])) for labels in (attacked.labels, attacked.prediction))
        title = wrapped(f"{before} → {after}", TITLE_WIDTH)
        figure, ((axes,),) = axes_grid(1, 1, 3.5, 1.45 + LINE_HEIGHT * (title.count("\n") + 1))
        for column, tiles in enumerate(batches):
            place(axes, tiles[k], 0, column)
        frame(axes, [""], ["clean", f"perturbation × {factor}", "adversarial"])
        axes.set_title(title)
        alt = f"An image of class {before}, its perturbation magnified {factor} times, and the sum, taken for {after}."
        drawn.append(svg_of(figure, alt=alt, name=f"{name}-{k}"))
    return drawn


def spans_decades(x: Sequence[float]) -> bool:
    """Return whether values are easier to distinguish on a logarithmic axis."""
    positive = [value for value in x if value > 0]
    return bool(positive) and min(x) >= 0 and max(positive) >= DECADES * min(positive)


def places_on_log_axis(axes: Axes, x: Sequence[float]) -> np.ndarray:
    """Return the positions of the values on a logarithmic axis, with ticks at the values themselves.

    0 has its place one step left of the least positive value, behind a break of the axis.
    """
    positive = sorted({value for value in x if value > 0})
    step = math.log10(positive[1] / positive[0]) if len(positive) > 1 else 0.5
    zero = math.log10(positive[0]) - max(step, 0.25)
    at = {value: math.log10(value) if value > 0 else zero for value in x}
    shown = sorted(at)
    shown = shown if len(shown) <= MOST_TICKS else [shown[0], *shown[1:-1:2], shown[-1]]
    axes.set_xticks([at[value] for value in shown], [f"{value:.3g}" for value in shown], fontsize=7)
    if 0 in at:
        axes.axvline((zero + math.log10(positive[0])) / 2, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
    return np.asarray([at[value] for value in x])


@styled
def curve_picture(curve: Curve, *, name: str) -> Markup:
    """Return an inline SVG of a few lines with their points, shares in percent."""
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 2.9)
    plain_axes(axes)
    scale = 100 if curve.unit == "fraction" else 1
    sentences = []
    logarithmic = spans_decades(curve.x)
    x = places_on_log_axis(axes, curve.x) if logarithmic else np.asarray(curve.x)
    for index, (label, values) in enumerate(curve.series.items()):
        y = scale * np.asarray(values)
        axes.plot(x, y, color=colour(index), linestyle=dash(index), marker="o", markersize=3, label=label)
        sentences.append(f"{label}: " + ", ".join(f"{b:.4g} at {a:.4g}" for a, b in zip(curve.x, y, strict=True)) + ".")
    if curve.threshold is not None:
        passes, height = curve.threshold.in_words(scale), scale * curve.threshold.value
        axes.axhline(height, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label=passes)
        sentences.append(f"A check {passes}.")
        if curve.unit != "fraction":  # a share has its range already; here 0 and 1 show how far the line is
            finite = [value for values in curve.series.values() for value in values if math.isfinite(value)]
            axes.set_ylim(min(0.0, *finite, height), max(1.0, *finite))
    axes.set_title(wrapped(curve.title, CURVE_TITLE_WIDTH))
    axes.set_xlabel(f"{curve.x_label}{' (log scale)' if logarithmic else ''}")
    axes.set_ylabel("%" if curve.unit == "fraction" else curve.unit)
    if curve.unit == "fraction":
        axes.set_ylim(-2, 102)
    if len(curve.series) > 1 or curve.threshold is not None:
        lines = -(-(len(curve.series) + 1) // 2)
        figure.set_figheight(2.9 + LINE_HEIGHT * lines)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return svg_of(figure, alt=f"{curve.title}. {' '.join(sentences)}", name=name)


@styled
def histograms_picture(histograms: Sequence[Histogram], *, name: str) -> Markup:
    """Return an inline SVG of histograms side by side, each as shares of its total."""
    columns = min(len(histograms), 3)
    rows = -(-len(histograms) // columns)
    figure, grid = axes_grid(rows, columns, 2.6 * columns + 0.4, 1.9 * rows + 0.4)
    sentences = []
    for axes in grid.flat[len(histograms) :]:
        axes.set_visible(False)
    for index, (axes, one) in enumerate(zip(grid.flat, histograms, strict=False)):
        plain_axes(axes)
        total = sum(one.count)
        shares = 100 * np.asarray(one.count) / (total or 1)
        axes.bar(one.edges[:-1], shares, np.diff(one.edges), align="edge", color=colour(0), linewidth=0)
        if one.threshold is not None:
            axes.axvline(one.threshold.value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            sentences.append(f"{one.title}: a check {one.threshold.in_words()}.")
        axes.set_title(wrapped(one.title, HISTOGRAM_TITLE_WIDTH), fontsize=8)
        axes.set_xlabel(one.x_label)
        if index % columns == 0:
            axes.set_ylabel("%")
        most = int(np.argmax(shares))
        span = f"most in {one.edges[most]:.3g} to {one.edges[most + 1]:.3g}" if total else "empty"
        sentences.append(f"{one.title}: {span}.")
    return svg_of(figure, alt=f"Histograms of {histograms[0].x_label}. {' '.join(sentences)}", name=name)
