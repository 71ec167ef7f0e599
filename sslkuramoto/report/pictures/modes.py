"""The two peaks of a network's phases, where there are two, and where in the image the oscillators near each are.

"Winfree Oscillatory Neural Network" (WONN, arXiv 2605.20922), figures 4, 6 and 7. For oscillators of dimension 2.
Shapes: b images or boards, c channels, m oscillators per site, h w grid, t steps, y x pixels or cells.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from markupsafe import Markup
from torch import Tensor

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.report.markup import NOTHING
from sslkuramoto.report.pictures.drawing import axes_grid, styled, svg_of
from sslkuramoto.report.pictures.inputs import input_tile, kind_of
from sslkuramoto.report.pictures.order import unit_vectors
from sslkuramoto.report.pictures.oscillators import INCHES, MAX_COLUMNS, NUM_PHASE_IMAGES
from sslkuramoto.report.pictures.tiles import frame, place, place_tile
from sslkuramoto.statistics import spread_steps

BINS, SMOOTHING = 72, 10.0  # of the histogram; standard deviation of the kernel that smooths it, degrees
APART = 60.0  # degrees: nearer maxima are one peak
VALLEY = 0.5  # between two peaks the histogram falls to this share of the lower one, on both arcs
REACH = 30.0  # degrees: an oscillator this far from a peak counts exp(-1/2) for it


def phases_of(states: Float[Tensor, "t b c h w"]) -> Float[Tensor, "t b m h w"]:
    """Return the phases of oscillators of dimension 2, radians."""
    x = unit_vectors(states, 2)
    return torch.atan2(x[:, :, :, 1], x[:, :, :, 0])


def two_peaks(phases: Float[Tensor, "..."]) -> tuple[float, float] | None:
    """Return the two peaks of a distribution of phases in degrees from 0 to 360, the higher one first; None without.

    The histogram is smoothed along the circle. Its two highest maxima that are ``APART`` are the peaks, if both are
    higher than phases drawn at random would be and the histogram falls to ``VALLEY`` of the lower one on both arcs
    between them.
    """
    degrees = np.rad2deg(phases.numpy().ravel()) % 360
    share = np.histogram(degrees, np.linspace(0, 360, BINS + 1))[0] / max(degrees.size, 1)
    bins = np.arange(BINS)
    offsets = (bins + BINS / 2) % BINS - BINS / 2
    kernel = np.exp(-0.5 * (offsets * 360 / BINS / SMOOTHING) ** 2)
    smooth = np.fft.ifft(np.fft.fft(share) * np.fft.fft(kernel / kernel.sum())).real
    maxima = [k for k in bins if smooth[k] > smooth[k - 1] and smooth[k] >= smooth[(k + 1) % BINS]]
    maxima = [k for k in maxima if smooth[k] > 1 / BINS]
    maxima.sort(key=lambda k: -smooth[k])
    for k in maxima[1:]:
        first, apart = maxima[0], abs((k - maxima[0] + BINS / 2) % BINS - BINS / 2) * 360 / BINS
        low, high = sorted((first, k))
        arcs = smooth[low:high], np.concatenate([smooth[high:], smooth[:low]])
        if apart >= APART and all(arc.min() <= VALLEY * smooth[k] for arc in arcs):
            return float(first + 0.5) * 360 / BINS, float(k + 0.5) * 360 / BINS
    return None


def nearness(phases: Float[Tensor, "b m h w"], peak: float) -> Float[Tensor, "b h w"]:
    """Return how near the phases of each site are to a peak, 0 to 1: the mean over the oscillators of a site.

    An oscillator at distance d counts exp((cos d - 1) / r^2), r = ``REACH`` in radians.
    """
    distance = phases - np.deg2rad(peak)
    return ((distance.cos() - 1) / np.deg2rad(REACH) ** 2).exp().mean(dim=1)


@styled
def modes_picture(
    trace: Sequence[LayerTrace],
    inputs: Shaped[Tensor, "b ..."],
    *,
    answers: Shaped[Tensor, "b y x"] | None = None,
    name: str = "modes",
) -> tuple[Markup, tuple[float, float] | None]:
    """Return an inline SVG and the two peaks of the last layer's last phases; nothing where there are not two.

    Two rows for each image, one for each peak; a column for each step of each layer: white where the phases after the
    step are near the peak. The maps of one row share one scale. Of more than eight steps, eight are shown.

    Args:
        trace: what the encoder returned with ``trace=True``; oscillators of dimension 2.
        inputs: what is behind the trace: pixels in [0,1], "b 3 y x"; or boards, "b y x".
        answers: of mazes: their paths are shown.
        name: unique on the page.
    """
    peaks = two_peaks(phases_of(trace[-1].states[-1:])[0])
    if peaks is None:
        return NOTHING, None
    steps = [(index, step) for index, layer in enumerate(trace) for step in range(len(layer.states))]
    steps = [steps[k] for k in spread_steps(len(steps), MAX_COLUMNS)]
    shown = [phases_of(trace[index].states[step : step + 1])[0] for index, step in steps]
    count = min(len(inputs), NUM_PHASE_IMAGES)
    figure, grid = axes_grid(1, 1, INCHES * (len(shown) + 1.9), 2 * INCHES * count + 0.35)
    axes, rows = grid[0, 0], []
    for k in range(count):
        for row, peak in enumerate(peaks):
            if row == 0:
                tile = input_tile(inputs[k], None if answers is None else answers[k])
                place_tile(axes, tile, 2 * k, 0, inches=INCHES)
            maps = [nearness(phases[k : k + 1], peak)[0].numpy() for phases in shown]
            scale = max(1e-12, *(map_.max() for map_ in maps))
            for column, map_ in enumerate(maps):
                tile = np.repeat((255 * map_ / scale).round().astype(np.uint8)[..., None], 3, axis=2)
                place(axes, tile, 2 * k + row, column + 1)
            rows.append(f"{peak:.0f}°")
    frame(axes, rows, ["", *(f"layer {index + 1}\nstep {step + 1}" for index, step in steps)])
    alt = (
        f"Where the phases are near the two peaks of the last layer, {peaks[0]:.0f} and {peaks[1]:.0f} degrees, for "
        f"{count} {kind_of(inputs, answers)}s (two rows each) over {len(shown)} steps of {len(trace)} "
        "layers (columns)."
    )
    return svg_of(figure, alt=alt, name=name), peaks
