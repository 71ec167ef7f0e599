"""Curves of a study: one panel per quantity, one line per row, its mean over seeds with a band."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from sslkuramoto.report.pictures.curves import (
    SMOOTH_FROM,
    cross_out,
    curve_in_words,
    named_below,
    not_finite,
    panel_of,
    set_step_ticks,
    title_of,
)
from sslkuramoto.report.pictures.drawing import MAX_POINTS, colour, dash, downsample, running_mean, styled, svg_of
from sslkuramoto.report.runs import Series


@dataclass(frozen=True)
class Together:
    """The curves of several seeds at the steps that all of them recorded.

    Shapes: s seeds, t steps.
    """

    steps: Float[np.ndarray, " t"]
    values: Float[np.ndarray, "s t"]

    @property
    def mean(self) -> Float[np.ndarray, " t"]:
        """Mean over seeds; not finite where one of them is not."""
        return self.values.mean(axis=0)


def together(curves: Sequence[Series]) -> Together | None:
    """Bring the curves of the seeds of a row to common steps; None when they share none."""
    common = sorted(set.intersection(*(set(steps) for steps, _ in curves))) if curves else []
    if not common:
        return None
    by_step = [dict(zip(*curve, strict=True)) for curve in curves]
    return Together(np.asarray(common), np.asarray([[one[step] for step in common] for one in by_step], dtype=float))


def smoothed(curves: Together) -> tuple[Together, int]:
    """Return means over equal stretches of steps of each seed, and how many steps one holds (1: left as it is)."""
    count = len(curves.steps)
    if count <= SMOOTH_FROM:
        return curves, 1
    means = [running_mean(values) for values in curves.values]
    middles = means[0][0]
    return Together(curves.steps[middles], np.asarray([mean for _, mean in means])), -(-count // len(middles))


@styled
def band_panel(
    metric: str, rows: Mapping[int, tuple[str, Together]], *, stage: str, name: str
) -> tuple[Markup, list[str]]:
    """Draw a quantity of several rows.

    Args:
        metric: column of metrics.csv.
        rows: series -> (label, curves of its seeds).
        stage: what they come from, for the words.
        name: unique on the page.

    Returns:
        An inline SVG, and remarks that belong below it.
    """
    shown = np.concatenate([curves.values.ravel() for _, curves in rows.values()])
    figure, axes = panel_of(metric, shown)
    logarithmic = axes.get_yscale() == "log"
    remarks, sentences = [], []
    for series, (label, curves) in rows.items():
        smooth, stretch = smoothed(curves)
        style = {"color": colour(series), "linestyle": dash(series)}
        mean = curves.mean
        if stretch > 1:
            x, y = downsample(curves.steps.tolist(), mean.tolist(), max(24, MAX_POINTS // len(rows)))
            axes.plot(x, y, color=colour(series), alpha=0.3, linewidth=0.7)
            remarks.append(f"{label}: bold line and band over means of {stretch} records each")
        if len(smooth.values) > 1:
            middle, std = smooth.mean, smooth.values.std(axis=0, ddof=1)
            low = np.maximum(middle - std, middle / 100) if logarithmic else middle - std
            axes.fill_between(smooth.steps, low, middle + std, color=colour(series), alpha=0.2, linewidth=0)
        marker = "o" if len(smooth.steps) < 40 else None
        axes.plot(smooth.steps, smooth.mean, marker=marker, markersize=3, **style)
        cross_out(axes, series, curves.steps.tolist(), mean.tolist())
        line = (curves.steps.tolist(), mean.tolist())
        remarks += [text] if (text := not_finite(label, line)) else []
        seeds = len(curves.values)
        sentences.append(curve_in_words(f"{label}, {'one seed' if seeds == 1 else f'mean of {seeds} seeds'}", line))
    named_below(figure, axes, {series: label for series, (label, _) in rows.items()})
    set_step_ticks(axes, [step for _, curves in rows.values() for step in curves.steps.tolist()])
    return svg_of(figure, alt=f"{title_of(metric)} over steps, {stage}. {' '.join(sentences)}", name=name), remarks
