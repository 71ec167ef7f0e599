"""Accuracy against eps from the distances of single images: a staircase with its interval over images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from sslkuramoto.report.pictures.curves import named_below
from sslkuramoto.report.pictures.drawing import axes_grid, colour, dash, plain_axes, styled, svg_of, wrapped
from sslkuramoto.statistics import wilson

TITLE_WIDTH = 48  # characters
NORMS = {"l2": "l2", "linf": "l-inf"}
MOST_STEPS = 300  # of one staircase


@dataclass(frozen=True)
class Fall:
    """How the accuracy of one network falls with eps.

    Attributes:
        norm: "l2" or "linf".
        images: number of images.
        eps: increasing, from 0 to the largest distance searched, pixels in [0,1].
        accuracy: shares in [0,1], never rising; each holds from its eps to the next.
    """

    norm: str
    images: int
    eps: tuple[float, ...]
    accuracy: tuple[float, ...]

    def at(self, share: float) -> float | None:
        """Return the smallest eps at which the accuracy is at most ``share``; None if it stays above."""
        return next((eps for eps, value in zip(self.eps, self.accuracy, strict=True) if value <= share), None)


@styled
def falls_picture(falls: Mapping[int, tuple[str, Fall]], *, title: str, name: str) -> Markup:
    """Return an inline SVG: accuracy against eps, one staircase for each network, with its 95 % interval at each eps.

    Args:
        falls: series -> (label, fall), all in one norm.
        title: plain text.
        name: unique on the page.
    """
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 3.0)
    plain_axes(axes)
    sentences, ends = [], []
    for series, (label, fall) in falls.items():
        x, y = _thinned(fall)
        low, high = np.asarray([wilson(share, fall.images) for share in y]).T
        axes.fill_between(x, 100 * low, 100 * high, step="post", color=colour(series), alpha=0.2, linewidth=0)
        axes.plot(x, 100 * y, drawstyle="steps-post", color=colour(series), linestyle=dash(series))
        sentences.append(f"{label}: {_in_words(fall)}.")
        ends.append(fall.at(fall.accuracy[-1]) or 0.0)
    most = max(fall.eps[-1] for _, fall in falls.values())
    axes.set_xlim(0, min(most, 1.1 * max(ends)) or most)  # behind the last fall the lines are level
    axes.set_ylim(-2, 102)
    axes.set_xlabel(f"eps ({' and '.join(NORMS[norm] for norm in {fall.norm for _, fall in falls.values()})}, pixels)")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(wrapped(title, TITLE_WIDTH))
    named_below(figure, axes, {series: label for series, (label, _) in falls.items()})
    return svg_of(figure, alt=f"{title}: accuracy against eps. {' '.join(sentences)}", name=name)


def _thinned(fall: Fall) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps that are drawn: all, or evenly chosen ones with the first and the last."""
    kept = np.unique(np.linspace(0, len(fall.eps) - 1, MOST_STEPS).round().astype(int))
    kept = kept if len(fall.eps) > MOST_STEPS else np.arange(len(fall.eps))
    return np.asarray(fall.eps)[kept], np.asarray(fall.accuracy)[kept]


def _in_words(fall: Fall) -> str:
    first, last = fall.accuracy[0], fall.accuracy[-1]
    half = fall.at(first / 2)
    halved = "" if half is None else f", at most half of that from {half:.3g}"
    return f"{100 * first:.1f} % at 0{halved}, {100 * last:.1f} % at {fall.eps[-1]:.3g}"
