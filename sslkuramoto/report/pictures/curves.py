"""Curves over training steps: one panel a quantity, one line a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import yaml
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
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
    wrapped,
)
from sslkuramoto.report.runs import Model, Part, Series

LOSS = "loss"
TITLE_WIDTH, LABEL_WIDTH = 48, 56  # characters
LINE_HEIGHT = 0.17  # of a label, inches
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
    labels = [model.label for model in models]
    objectives = {i: objective_of(model.parts[part]) for i, model in enumerate(models) if part in model.parts}
    for index, metric in enumerate(order):
        lines = {i: model.parts[part].series[metric] for i, model in enumerate(models) if _records(model, part, metric)}
        main = metric in FIRST or _is_accuracy(metric)
        alone = LOSS in metric.split("_") and len({objectives[i] for i in lines}) > 1
        groups = dict.fromkeys(objectives[i] if alone else "" for i in lines)
        for k, objective in enumerate(groups):
            own = {i: line for i, line in lines.items() if not alone or objectives[i] == objective}
            drawn.append(_panel(metric, own, labels, part, f"{part}-{index}-{k}", main, objective))
    return drawn


def objective_of(part: Part) -> str:
    """Return the name of the objective of a run; empty where its recipe states none.

    Losses of two objectives have no common scale, so they share no axes.
    """
    try:
        recipe = yaml.safe_load(part.recipe or "")
    except yaml.YAMLError:
        return ""
    objective = recipe.get("objective") if isinstance(recipe, dict) else None
    return str(objective.get("name", "")) if isinstance(objective, dict) else ""


def _records(model: Model, part: str, metric: str) -> bool:
    return part in model.parts and metric in model.parts[part].series


@styled
def _panel(
    metric: str,
    lines: Mapping[int, Series],
    labels: Sequence[str],
    part: str,
    name: str,
    main: bool,
    objective: str,
) -> Panel:
    limit = max(24, min(MAX_POINTS, 4 * MAX_POINTS // len(lines)))
    figure, axes = panel_of(metric, np.concatenate([values for _, values in lines.values()]), of=objective)
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
    named_below(figure, axes, {index: labels[index] for index in lines})
    set_step_ticks(axes, [step for steps, _ in lines.values() for step in steps])
    remarks = [text for index, line in lines.items() if (text := not_finite(labels[index], line))]
    sentences = [curve_in_words(labels[index], line) for index, line in lines.items()]
    alt = f"{title_of(metric)} over steps, {', '.join(filter(None, (part, objective)))}. {' '.join(sentences)}"
    return Panel(metric, main, svg_of(figure, alt=alt, name=name), tuple(remarks))


def named_below(figure: Figure, axes: Axes, labels: Mapping[int, str]) -> None:
    """Name the curves of a panel under it, where it has several; the figure grows by the lines that they need."""
    if len(labels) < 2:
        return
    lines = [wrapped(label, LABEL_WIDTH) for label in labels.values()]
    marks = [Line2D([], [], color=colour(index), linestyle=cast(Any, dash(index))) for index in labels]
    columns = 2 if max(map(len, lines)) <= LABEL_WIDTH // 2 else 1
    height = sum(text.count("\n") + 1 for text in lines) / columns
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * (height + 1))
    figure.legend(marks, lines, loc="outside lower left", ncols=columns, frameon=False, fontsize=8)


def set_step_ticks(axes: Axes, steps: Sequence[float]) -> None:
    """Put ticks at whole steps; a record of one step has one tick."""
    if len(set(steps)) == 1:
        axes.set_xticks([steps[0]], [f"{steps[0]:g}"])
        return
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def panel_of(metric: str, values: np.ndarray, *, of: str = "") -> tuple[Figure, Axes]:
    """Axes for one quantity over steps, dressed for the ``values`` that they will show.

    Args:
        metric: column of metrics.csv.
        values: all that will be shown.
        of: the objective whose quantity it is, for the title; empty where the title needs none.
    """
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 2.7)
    plain_axes(axes)
    finite = values[np.isfinite(values)]
    is_percent = _is_accuracy(metric) and finite.size > 0 and finite.min() >= 0 and finite.max() <= 1
    if metric == "grad_norm" and finite.size and finite.min() > 0 and finite.max() / finite.min() > 30:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(wrapped(f"{title_of(metric)}{f' of {of}' if of else ''}{' (%)' if is_percent else ''}", TITLE_WIDTH))
    axes.set_xlabel("step")
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


def curve_in_words(label: str, line: Series) -> str:
    """A curve in words."""
    steps, values = line
    if len(steps) == 1:
        return f"{label}: {values[0]:.4g} at step {steps[0]:g}."
    return f"{label}: from {values[0]:.4g} at step {steps[0]:g} to {values[-1]:.4g} at step {steps[-1]:g}."
