"""How far the oscillators of a layer agree over the oscillator steps: the order parameter and histograms of phases.

Shapes: b images, c channels, m oscillators per site, n oscillator dimension, h w grid, t steps.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from torch import Tensor

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.report.markup import NOTHING
from sslkuramoto.report.pictures.drawing import axes_grid, colour, plain_axes, styled, svg_of

BINS = 36


def unit_vectors(states: Float[Tensor, "t b c h w"], n: int) -> Float[Tensor, "t b m n h w"]:
    """Return the oscillators of all sites at unit length; a residual network leaves them at any."""
    t, b, c, h, w = states.shape
    x = states.detach().float().cpu().reshape(t, b, c // n, n, h, w)
    return x / x.norm(dim=3, keepdim=True).clamp_min(1e-12)


def order_parameter(states: Float[Tensor, "t b c h w"], n: int) -> Float[Tensor, "t b"]:
    """Return how far the sites agree: 1 when all point the same way, near 0 when they point everywhere.

    For each oscillator of a site it is the length of its mean over the grid (Kuramoto 1984); of these, the mean.
    """
    return unit_vectors(states, n).mean(dim=(4, 5)).norm(dim=3).mean(dim=2)


def angles_to_mean(x: Float[Tensor, "... n h w"]) -> Float[Tensor, "... h w"]:
    """Return the angle in radians between each unit vector and the mean direction over its grid, 0 to pi."""
    mean = x.mean(dim=(-2, -1), keepdim=True)
    mean = mean / mean.norm(dim=-3, keepdim=True).clamp_min(1e-12)
    return (x * mean).sum(dim=-3).clamp(-1, 1).arccos()


@styled
def order_picture(trace: Sequence[LayerTrace], n: int, *, name: str = "order") -> Markup:
    """Return an inline SVG, one panel a layer: the order parameter after each step, mean and range over images."""
    figure, grid = axes_grid(1, len(trace), 2.5 * len(trace), 1.9)
    sentences = []
    for index, (axes, layer) in enumerate(zip(grid[0], trace, strict=True)):
        order = order_parameter(layer.states, n).numpy()
        steps, mean = np.arange(1, len(order) + 1), order.mean(axis=1)
        plain_axes(axes)
        axes.fill_between(steps, order.min(axis=1), order.max(axis=1), color=colour(0), alpha=0.2, linewidth=0)
        axes.plot(steps, mean, color=colour(0), marker="o", markersize=3)
        axes.set_title(f"Layer {index + 1}")
        axes.set_xlabel("oscillator step")
        axes.set_ylim(0, 1.02)
        axes.set_xticks(steps if len(steps) <= 9 else np.linspace(1, len(steps), 6).round())
        sentences.append(f"Layer {index + 1}: {mean[0]:.3g} to {mean[-1]:.3g}.")
    alt = f"Order parameter over the oscillator steps, mean over {order.shape[1]} images. {' '.join(sentences)}"
    return svg_of(figure, alt=alt, name=name)


@styled
def histograms_picture(trace: Sequence[LayerTrace], n: int, *, name: str = "histograms") -> Markup:
    """Return an inline SVG, one panel a layer: how phases are distributed after the first and the last step.

    N = 2: the phase itself. N > 2: the angle between an oscillator and the mean direction of its grid. The dotted line
    is that of directions drawn at random. N = 1 has no angle: nothing.
    """
    if n == 1:
        return NOTHING
    figure, grid = axes_grid(1, len(trace), 2.5 * len(trace), 1.9)
    top = 360 if n == 2 else 180
    for index, (axes, layer) in enumerate(zip(grid[0], trace, strict=True)):
        plain_axes(axes)
        edges = np.linspace(0, top, BINS + 1)
        for series, step in enumerate(dict.fromkeys((0, len(layer.states) - 1))):
            degrees = np.rad2deg(_phases(layer.states[step : step + 1], n).numpy().ravel()) % 360
            share = np.histogram(degrees, edges)[0] / len(degrees)
            axes.stairs(100 * share, edges, color=colour(series), label=f"step {step + 1}")
        middle = np.deg2rad((edges[1:] + edges[:-1]) / 2)
        chance = np.ones(BINS) if n == 2 else np.sin(middle) ** (n - 2)
        axes.plot(np.rad2deg(middle), 100 * chance / chance.sum(), color=colour(7), linestyle=":", linewidth=1)
        axes.set_title(f"Layer {index + 1}")
        axes.set_xlabel("phase (degrees)" if n == 2 else "angle to the mean (degrees)")
        axes.set_xticks(np.linspace(0, top, 5))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7)
    grid[0, 0].set_ylabel("% of oscillators")
    what = "phases" if n == 2 else "angles to the mean direction"
    alt = f"Histograms of the {what} of all oscillators in {len(trace)} layers after the first and the last step."
    return svg_of(figure, alt=alt, name=name)


def _phases(states: Float[Tensor, "t b c h w"], n: int) -> Tensor:
    x = unit_vectors(states, n)
    return torch.atan2(x[:, :, :, 1], x[:, :, :, 0]) if n == 2 else angles_to_mean(x)
