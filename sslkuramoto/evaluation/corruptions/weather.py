"""Corruptions by weather and light: snow, frost, fog, brightness.

Hendrycks and Dietterich 2019 (1903.12261), section 4.1. x is the image, pixels in [0,1].

    snow         w x + (1 - w) max(x, 1.5 grey(x) + 0.5) + flakes + flakes turned by 180 degrees
    frost        a x + b texture
    fog          (x + t fractal) max(x) / (max(x) + t)
    brightness   V of HSV raised by c, at most 1

The fractal is a height map by the diamond-square algorithm (Fournier, Fussell and Carpenter 1982), scaled to [0,1].
Differs: the original frost is a crop of one of five photographs, which cannot be shipped; ours is procedural: bright
ridges of one fractal in patches of another, tinted blue.

Shapes: b batch, s side of the square images, m side of a height map.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.corruptions.blur import along, clipped_zoom
from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.strengths import growth, strength

Images = Float[Tensor, "b 3 s s"]
LUMA = (0.299, 0.587, 0.114)
FALL = (-135.0, -45.0)  # degrees
ICE = (0.80, 0.92, 1.0)
VEINS, PATCHES = 1.3, 1.7  # decays of the two fractals of the frost: the smaller, the rougher
GLOW = 0.7  # exponent that lifts its dark parts


def snow(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Whiten the image and add motion-blurred snow flakes."""
    mean, deviation, flake, threshold, reach, sigma, share = strength("snow", severity)
    size = images.shape[-1]
    layer = clipped_zoom(mean + deviation * draw.normal(1, size, size), flake * growth(size))
    layer = torch.where(layer < threshold, 0.0, layer).clamp(0.0, 1.0)
    layer = along(layer, draw.uniform(low=FALL[0], high=FALL[1]), reach, sigma)
    grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    whitened = share * images + (1 - share) * torch.maximum(images, 1.5 * grey + 0.5)
    return (whitened + layer + layer.flip(2, 3)).clamp(0.0, 1.0)


def frost(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Add a texture of ice to a dimmed image."""
    own, ice = strength("frost", severity)
    return (own * images + ice * frost_texture(images.shape[-1], draw)).clamp(0.0, 1.0)


def frost_texture(size: int, draw: ImageDraws) -> Images:
    """Return an ice texture: bright veins where a rough fractal crosses its middle, masked by a smoother fractal."""
    veins = 1 - (2 * fractal(size, VEINS, draw) - 1).abs()
    light = _stretched(veins**2 * fractal(size, PATCHES, draw)) ** GLOW
    return light[:, None] * light.new_tensor(ICE)[:, None, None]


def fog(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Add a bright fractal and rescale, so that the largest value is unchanged."""
    thickness, decay = strength("fog", severity)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    hazy = images + thickness * fractal(images.shape[-1], decay, draw)[:, None]
    return (hazy * brightest / (brightest + thickness)).clamp(0.0, 1.0)


def fractal(size: int, decay: float, draw: ImageDraws) -> Float[Tensor, "b s s"]:
    """Return a height map in [0,1] on a torus whose side is the next power of two, cut to ``size``.

    Each round halves the spacing of the known points: the middle of every square, then of every edge, becomes the mean
    of its four neighbours plus noise, uniform in (-a, a); a is divided by decay^2 a round.
    """
    side = 1 << max(1, math.ceil(math.log2(size)))
    heights = draw.uniform(1, 1) * 0.0  # one known point, at height 0
    amplitude = 1.0
    while heights.shape[-1] < side:
        known = heights
        rows = known + known.roll(-1, 1)
        middles = _bumped((rows + rows.roll(-1, 2)) / 4, amplitude, draw)
        across = _bumped((known + known.roll(-1, 2) + middles + middles.roll(1, 1)) / 4, amplitude, draw)
        down = _bumped((known + known.roll(-1, 1) + middles + middles.roll(1, 2)) / 4, amplitude, draw)
        upper = torch.stack([known, across], dim=-1).flatten(2)  # columns in turn
        lower = torch.stack([down, middles], dim=-1).flatten(2)
        heights = torch.stack([upper, lower], dim=2).flatten(1, 2)  # rows in turn
        amplitude /= decay**2
    return _stretched(heights)[:, :size, :size]


def _stretched(heights: Float[Tensor, "b m m"]) -> Float[Tensor, "b m m"]:
    """Bring each map to [0,1]."""
    low, high = heights.amin(dim=(1, 2), keepdim=True), heights.amax(dim=(1, 2), keepdim=True)
    return (heights - low) / (high - low)


def _bumped(heights: Float[Tensor, "b m m"], amplitude: float, draw: ImageDraws) -> Float[Tensor, "b m m"]:
    return heights + draw.uniform(*heights.shape[1:], low=-amplitude, high=amplitude)


def brightness(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Increase the value V = max(r, g, b); hue and saturation are unchanged, black becomes grey. Not random."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + strength("brightness", severity)).clamp(max=1.0)
    return torch.where(value > 0, images * (raised / value.clamp_min(1e-12)), raised).clamp(0.0, 1.0)
