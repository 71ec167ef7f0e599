"""Corruptions that draw each pixel value for itself: Gaussian, shot and impulse noise.

Hendrycks and Dietterich 2019 (1903.12261), section 4.1 and appendix B. x is the image, pixels in [0,1].

    gaussian   x + sigma N(0, 1)
    shot       Poisson(c x) / c
    impulse    a share p of the values becomes 0 or 1, either with probability p / 2

Shapes: b batch, s side of the square images, q rates.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.strengths import strength

Images = Float[Tensor, "b 3 s s"]
WHITE = 255


def gaussian_noise(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Add normal noise to every value."""
    noise = draw.normal(*images.shape[1:])
    return (images + strength("gaussian_noise", severity) * noise).clamp(0.0, 1.0)


def shot_noise(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Replace every value by a Poisson count of its light, exactly (inverse of the distribution function).

    The light of a value is that of its 8-bit level, as in the original images.
    """
    photons = int(strength("shot_noise", severity))
    table = _poisson(photons).to(images.device)
    level = (images * WHITE).round().long()
    # all 256 distribution functions stand in one sorted list: level + P(count <= k)
    wanted = level + draw.uniform(*images.shape[1:]).double()
    place = torch.searchsorted(table.flatten(), wanted)
    counts = (place - level * table.shape[1]).clamp(0, table.shape[1] - 1)
    return (counts / photons).float().clamp(0.0, 1.0)


@lru_cache(maxsize=8)
def _poisson(photons: int) -> Float[Tensor, "256 k"]:
    """Return level + P(count <= k) for the light of each 8-bit level, float64."""
    longest = photons + 10 * int(photons**0.5) + 20
    light = torch.arange(WHITE + 1, dtype=torch.float64)[:, None] * photons / WHITE
    counts = torch.arange(longest, dtype=torch.float64)
    # P(Poisson(l) <= k) is the upper incomplete gamma function Q(k + 1, l)
    below = torch.special.gammaincc((counts + 1).expand(WHITE + 1, -1), light.expand(-1, longest))
    return below + torch.arange(WHITE + 1, dtype=torch.float64)[:, None]


def impulse_noise(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Make some values black and as many white, each channel for itself."""
    share = strength("impulse_noise", severity)
    noise = draw.uniform(*images.shape[1:])
    images = images.masked_fill(noise < share / 2, 0.0)
    return images.masked_fill(noise > 1 - share / 2, 1.0)
