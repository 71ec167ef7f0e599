"""Curves over training steps: one panel a quantity, one line a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from sslkuramoto.report.pictures.drawing import (
    MAX_POINTS,
    axes_grid,
    colour,
    dash,
    downsample,
    plain_axes,
    running_mean,
    styled,
    svg_of,
)
from sslkuramoto.report.runs import Model, Series

SMOOTH_FROM = 120  # points; below, a curve is drawn as it is
FIRST = ("loss", "grad_norm")
ACCURACY = {"accuracy", "acc", "knn", "probe", "top1"}
SKIPPED = {"epoch"}
TITLES = {
    "loss": "Loss",
    "grad_norm": "Gradient norm",
    "knn": "Online k-NN accuracy",
    "accuracy": "Train accuracy",
    "lr": "Learning rate",
}


@dataclass(frozen=True)
class Panel:
    """One quantity: its name in metrics.csv, whether it belongs to the main ones, and its picture."""

    metric: str
    main: bool
    svg: Markup
    remarks: tuple[str, ...]


def _is_accuracy(metric: str) -> bool:
    return bool(ACCURACY & set(re.split(r"[^a-z0-9]+", metric.lower())))


def title_of(metric: str) -> str:
    """A heading for a column of metrics.csv."""
    return TITLES.get(metric) or (metric[:1].upper() + metric[1:]).replace("_", " ")


def panels(models: Sequence[Model], part: str) -> list[Panel]:
    """One panel a quantity that any model recorded in ``part``: loss, gradient norm, accuracies, then the rest."""
    metrics = list(dict.fromkeys(m for model in models if part in model.parts for m in model.parts[part].series))
    order = [m for m in FIRST if m in metrics] + [m for m in metrics if _is_accuracy(m)]
    order += [m for m in metrics if m not in order and m not in SKIPPED]
    drawn = []
    for index, metric in enumerate(order):
        lines = {
            i: model.parts[part].series[metric]
            for i, model in enumerate(models)
            if part in model.parts and metric in model.parts[part].series
        }
        main = metric in FIRST or _is_accuracy(metric)
        drawn.append(_panel(metric, lines, [model.label for model in models], part, f"{part}-{index}", main))
    return drawn


@styled
def _panel(metric: str, lines: Mapping[int, Series], labels: Sequence[str], part: str, name: str, main: bool) -> Panel:
    limit = max(24, min(MAX_POINTS, 4 * MAX_POINTS // len(lines)))
    figure, axes = panel_of(metric, np.concatenate([values for _, values in lines.values()]))
    for index, (steps, values) in lines.items():
        x, y = downsample(steps, values, limit)
        style = {"color": colour(index), "linestyle": dash(index)}
        if len(values) > SMOOTH_FROM:
            axes.plot(x, y, color=colour(index), alpha=0.3, linewidth=0.7)
            at, means = running_mean(values, limit)
            axes.plot(np.asarray(steps)[at], means, **style)
        else:
            lone = np.isfinite(y).sum() < 40
            axes.plot(x, y, marker="o" if lone else None, markersize=3, **style)
        cross_out(axes, index, steps, values)
    remarks = [text for index, line in lines.items() if (text := not_finite(labels[index], line))]
    told = [told_of(labels[index], line) for index, line in lines.items()]
    alt = f"{title_of(metric)} over steps, {part}. {' '.join(told)}"
    return Panel(metric, main, svg_of(figure, alt=alt, name=name), tuple(remarks))


def panel_of(metric: str, values: np.ndarray) -> tuple[Figure, Axes]:
    """Axes for one quantity over steps, dressed for the ``values`` that they will show."""
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 2.7, margins=(0.14, 0.98, 0.17, 0.9))
    plain_axes(axes)
    finite = values[np.isfinite(values)]
    is_percent = _is_accuracy(metric) and finite.size > 0 and finite.min() >= 0 and finite.max() <= 1
    if metric == "grad_norm" and finite.size and finite.min() > 0 and finite.max() / finite.min() > 30:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(f"{title_of(metric)}{' (%)' if is_percent else ''}")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    scale = 100 if is_percent else 1
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{scale * value:g}"))
    return figure, axes


def cross_out(axes: Axes, index: int, steps: Sequence[float], values: Sequence[float]) -> None:
    """Put a cross at the first value that is not finite, if there is one."""
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        place = axes.get_xaxis_transform()
        axes.plot(steps[wrong[0]], 0.97, marker="x", color=colour(index), transform=place, clip_on=False)


def not_finite(label: str, line: Series) -> str:
    """Say how many values of a curve are not finite; nothing when all are."""
    wrong = np.flatnonzero(~np.isfinite(line[1]))
    if not len(wrong):
        return ""
    return f"{label}: {len(wrong)} of {len(line[1])} values not finite, the first at step {line[0][wrong[0]]:g} (cross)"


def told_of(label: str, line: Series) -> str:
    """A curve in words."""
    steps, values = line
    if len(steps) == 1:
        return f"{label}: {values[0]:.4g} at step {steps[0]:g}."
    return f"{label}: from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}."
