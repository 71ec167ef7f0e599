"""Drawings of relations: energies of same and of different pairs, their coherences, examples with phases on the circle.

After figures 2, 6 and 7 of Veliz, Altabaa and Lafferty, "Binding by oscillatory dynamics in neural architectures for
relational reasoning" (poster, Yale University).
Shapes: p images, s side of the images, d oscillators of an object, n oscillator dimension.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes
from torch import Tensor

from sslkuramoto.report.pictures.drawing import FAINT, INK, axes_grid, colour, plain_axes, styled, svg_of
from sslkuramoto.report.pictures.tiles import frame, place, tiles_of

SERIES: Mapping[str, int] = {"same": 0, "different": 1}
"""Numbers of the colours of the two kinds of pairs."""
DASHES: Mapping[str, str] = {"same": "solid", "different": "dashed"}
HOW_PAIRS = {
    2: "The angle on the circle is the phase: 0 at the right, counter-clockwise.",
    3: "Angle between the two oscillators, with that of the first image at the top.",
}
"""What an angle means, by the dimension of an oscillator; beyond three as at three."""


@dataclass(frozen=True)
class Trajectory:
    """Energy of one kind of pairs before the first step and after each: mean and standard deviation."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@styled
def energies_picture(kinds: Mapping[str, Trajectory], *, name: str) -> Markup:
    """Return an inline SVG: energy against oscillator steps, mean of each kind with a band of one deviation."""
    figure, ((axes,),) = axes_grid(1, 1, 4.2, 2.7)
    plain_axes(axes)
    sentences = []
    for kind, found in kinds.items():
        steps, mean, std = np.arange(len(found.mean)), np.asarray(found.mean), np.asarray(found.std)
        axes.fill_between(steps, mean - std, mean + std, color=colour(SERIES[kind]), alpha=0.2, linewidth=0)
        axes.plot(steps, mean, color=colour(SERIES[kind]), linestyle=DASHES[kind], marker="o", markersize=2.5)
        sentences.append(f"{kind}: {mean[0]:.4g} to {mean[-1]:.4g}, deviation {std[-1]:.3g} at the end.")
    axes.set_title("Energy of pairs")
    axes.set_xlabel("oscillator step")
    axes.set_ylabel("energy")
    last = len(steps) - 1
    axes.set_xticks(np.unique(np.linspace(0, last, min(last + 1, 6)).round()))
    return svg_of(figure, alt=f"Energy over {last} oscillator steps. {' '.join(sentences)}", name=name)


@styled
def coherences_picture(edges: Sequence[float], kinds: Mapping[str, Sequence[float]], *, name: str) -> Markup:
    """Return an inline SVG: distribution of the coherence of one dimension, each kind as a share of its own."""
    figure, ((axes,),) = axes_grid(1, 1, 4.2, 2.7)
    plain_axes(axes)
    sentences = []
    middles = (np.asarray(edges)[1:] + np.asarray(edges)[:-1]) / 2
    for kind, count in kinds.items():
        total = sum(count)
        share = 100 * np.asarray(count) / max(total, 1)
        axes.stairs(share, np.asarray(edges), color=colour(SERIES[kind]), fill=True, alpha=0.3)
        axes.stairs(share, np.asarray(edges), color=colour(SERIES[kind]), linestyle=DASHES[kind])
        if total:
            sentences.append(
                f"{kind}: mean {np.average(middles, weights=count):.3g}, {share[-1]:.3g} % in the last bin."
            )
    axes.set_title("Coherence of a dimension")
    axes.set_xlabel("rho (2: in phase, 0: opposite)")
    axes.set_ylabel("dimensions (%)")
    return svg_of(figure, alt=f"Distribution of the coherence. {' '.join(sentences)}", name=name)


def angles_of(states: Float[Tensor, "2 d n"]) -> Float[np.ndarray, "2 d"]:
    """Return the angle of each oscillator of both objects in radians.

    n = 2: the phases. n > 2: 0 for the first object, for the second the angle between the two, 0 to pi.
    """
    x = states / states.norm(dim=2, keepdim=True).clamp_min(1e-12)
    if x.shape[2] == 2:
        return torch.atan2(x[..., 1], x[..., 0]).numpy()
    between = (x[0] * x[1]).sum(dim=1).clamp(-1, 1).arccos()
    return torch.stack([torch.zeros_like(between), between]).numpy()


def on_circle(states: Float[Tensor, "2 d n"]) -> Float[np.ndarray, "2 2 d"]:
    """Return where the oscillators are drawn, x and y of both objects: at the angles of :func:`angles_of`.

    n = 2: angle 0 is at the right, counter-clockwise. n > 2: it is at the top, clockwise.
    """
    angles = angles_of(states)
    sides = np.cos(angles), np.sin(angles)
    return np.stack(sides if states.shape[2] == 2 else sides[::-1])


def apart(states: Float[Tensor, "2 d n"]) -> Float[np.ndarray, " d"]:
    """Return the angle between the two oscillators of each dimension in degrees, 0 to 180."""
    x = states / states.norm(dim=2, keepdim=True).clamp_min(1e-12)
    return np.rad2deg((x[0] * x[1]).sum(dim=1).clamp(-1, 1).arccos().numpy())


@styled
def phases_picture(
    images: Float[Tensor, "2 3 s s"], states: Float[Tensor, "2 d n"] | None, kind: str, *, name: str
) -> Markup:
    """Return an inline SVG: a pair of images and, beside it, the oscillators of both at t = T on the circle.

    Those of the first image are filled and those of the second hollow; a line joins the two of one dimension.

    Args:
        images: pixels in [0, 1].
        states: unit oscillators; None where the network has none.
        kind: ``"same"`` or ``"different"``.
        name: unique on the page.
    """
    columns = 1 if states is None else 2
    figure, grid = axes_grid(1, columns, 1.5 + 1.7 * columns - 1.0 * (columns == 1), 1.9)
    show_images(grid[0, 0], images, [kind])
    alt = f"A pair of images, {kind}."
    if states is not None:
        _circle(grid[0, 1], on_circle(states), SERIES[kind])
        angles = apart(states)
        alt += (
            f" Angle between the two oscillators of {len(angles)} dimensions: median {np.median(angles):.3g} degrees, "
            f"largest {angles.max():.3g}."
        )
    return svg_of(figure, alt=alt, name=name)


@styled
def match_picture(images: Float[Tensor, "6 3 s s"], target: int, *, name: str) -> Markup:
    """Return an inline SVG of an example of match-to-sample: source, first and second target pair; a star is right."""
    figure, ((axes,),) = axes_grid(1, 1, 3.0, 1.9)
    show_images(axes, images, ["source", *(f"{k + 1}{'*' if k == target else ''}" for k in range(2))])
    alt = f"A source pair of images and two target pairs, of which the {('first', 'second')[target]} is right."
    return svg_of(figure, alt=alt, name=name)


def show_images(axes: Axes, images: Float[Tensor, "p 3 s s"], columns: list[str]) -> None:
    """Show pairs of images: one column a pair, the first image above the second."""
    for place_of, tile in enumerate(tiles_of(images)):
        place(axes, tile, place_of % 2, place_of // 2)
    frame(axes, ["", ""], columns)


def _circle(axes: Axes, points: Float[np.ndarray, "2 2 d"], series: int) -> None:
    round_ = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.sin(round_), np.cos(round_), color=FAINT, linewidth=0.8)
    x, y = points
    axes.plot(x, y, color=colour(series), linewidth=0.7, alpha=0.6)
    axes.plot(x[0], y[0], linestyle="none", marker="o", markersize=4, color=colour(series))
    axes.plot(
        x[1], y[1], linestyle="none", marker="o", markersize=6, markerfacecolor="none", color=INK, markeredgewidth=0.7
    )
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.set_axis_off()
