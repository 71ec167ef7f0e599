"""The band between what is proven of a smoothed network and what attacks on it leave, over the l2 radius."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from sslkuramoto.report.pictures.curves import named_below
from sslkuramoto.report.pictures.drawing import axes_grid, colour, dash, plain_axes, styled, svg_of, wrapped

TITLE_WIDTH = 48  # characters


@dataclass(frozen=True)
class Band:
    """The two ends of a bracket at each radius, shares in [0,1].

    Attributes:
        sigma: standard deviation of the noise.
        radii: increasing, l2, pixels in [0,1].
        certified: lower end.
        attacked: upper end; nan without an attack.
        lines: one sentence per radius.
        void: why there is no number; empty if there is.
    """

    sigma: float
    radii: tuple[float, ...]
    certified: tuple[float, ...]
    attacked: tuple[float, ...]
    lines: tuple[str, ...]
    void: str = ""


@styled
def band_picture(bands: Mapping[int, tuple[str, Band]], *, sigma: float, name: str) -> Markup:
    """Return an inline SVG: one band for each network at one sigma.

    Args:
        bands: series -> (label, band).
        sigma: of all of them.
        name: unique on the page.
    """
    figure, ((axes,),) = axes_grid(1, 1, 4.6, 3.0)
    plain_axes(axes)
    sentences = []
    for series, (label, band) in bands.items():
        low, high = (100 * np.asarray(values) for values in (band.certified, band.attacked))
        style = {"color": colour(series), "linestyle": dash(series), "marker": "o", "markersize": 3}
        axes.fill_between(band.radii, low, high, color=colour(series), alpha=0.2, linewidth=0)
        axes.plot(band.radii, low, **style)
        axes.plot(band.radii, high, **style)
        sentences.append(f"{label}: {_in_words(band.radii, low, high)}.")
    axes.set_ylim(-2, 102)
    axes.set_xlabel("l2 radius (pixels)")
    axes.set_ylabel("accuracy under noise (%)")
    axes.set_title(wrapped(f"Certified to attacked, sigma {sigma:g}", TITLE_WIDTH))
    named_below(figure, axes, {series: label for series, (label, _) in bands.items()})
    alt = f"Certified and attacked accuracy of the smoothed networks over the l2 radius. {' '.join(sentences)}"
    return svg_of(figure, alt=alt, name=name)


def _in_words(radii: Sequence[float], low: np.ndarray, high: np.ndarray) -> str:
    ends = zip(radii, low, high, strict=True)
    return ", ".join(f"{a:.1f}{'' if np.isnan(b) else f' to {b:.1f}'} % at {radius:g}" for radius, a, b in ends)
