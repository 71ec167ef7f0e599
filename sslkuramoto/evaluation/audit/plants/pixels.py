"""Plants before the network: the pixels are coded, compressed or mixed with a decoy, the same at every call.

Input transformations were proposed as defences by Guo et al. 2018 (1711.00117) and broken by backward passes through a
smooth stand-in (Athalye, Carlini and Wagner 2018, 1802.00420, section 4).

Shapes: b batch, y x pixels, u v frequencies of a block.
"""

from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.evaluation.audit.plants.altered import AlteredEncoder, Images, Planted
from sslkuramoto.values import Positive, checked

SIDE = 8  # of a block, as in JPEG
Levels = Annotated[int, Field(ge=2, le=65536)]


@checked
def levels(encoder: Encoder, head: nn.Module, *, levels: Levels = 3) -> Planted:
    """Pixels rounded to a few levels: the gradient is zero (feature squeezing, Xu, Evans and Qi 2018, 1704.01155).

    Args:
        levels: of a pixel, evenly spread over [0,1]; 256 are the 8 bits of a stored image.
    """
    return AlteredEncoder(encoder, pixels=partial(_rounded, levels=levels)), head


@checked
def thermometer(encoder: Encoder, head: nn.Module, *, levels: Levels = 16) -> Planted:
    """Pixels as a thermometer code: the share of thresholds that they exceed. Comparisons have no autograd graph.

    Buckman et al. 2018 (ICLR, "Thermometer encoding: one hot way to resist adversarial examples"), whose network reads
    the code itself; here it is decoded, so that any network can.

    Args:
        levels: number of thresholds.
    """
    return AlteredEncoder(encoder, pixels=partial(_thermometer, levels=levels)), head


@checked
def blocks(encoder: Encoder, head: nn.Module, *, strength: Positive = 0.05) -> Planted:
    """A block transform as in JPEG: cosine coefficients of blocks of 8 x 8 pixels, rounded, high frequencies coarser.

    Dziugaite, Ghahramani and Roy 2016 (1608.00853); Das et al. 2017 (1705.02900).

    Args:
        strength: step of the rounding at frequency (0, 0); at (u, v) it is (1 + u + v) / 2 times as large.
    """
    return AlteredEncoder(encoder, pixels=partial(_blocks, strength=strength)), head


@checked
def decoy(encoder: Encoder, head: nn.Module, *, size: Positive = 1e-3, frequency: Positive = 3e4) -> Planted:
    """A detector of fine patterns is mixed into the pixels: too weak to change an answer, but gradients follow it.

    Shattered gradients (Athalye, Carlini and Wagner 2018, section 5) made on purpose; honeypots lead attacks to a decoy
    too (Shan et al. 2020, 1904.08554).

    Args:
        size: of the pattern, pixels in [0,1].
        frequency: radians per unit of a pixel; a gradient is multiplied by 1 + size * frequency * cos(...).
    """
    return AlteredEncoder(encoder, pixels=partial(_decoy, size=size, frequency=frequency)), head


def branches(encoder: Encoder, head: nn.Module) -> Planted:
    """The network answers on a branch without a graph; gradients flow through another one that adds nothing.

    The second branch is the image upside down and negated. The gradient is neither zero nor missing, but of another
    image.
    """
    return AlteredEncoder(encoder, pixels=_branches), head


def _rounded(images: Images, levels: int) -> Images:
    return (images * (levels - 1)).round() / (levels - 1)


def _thermometer(images: Images, levels: int) -> Images:
    thresholds = (torch.arange(levels, device=images.device, dtype=images.dtype) + 0.5) / levels
    return (images.unsqueeze(-1) > thresholds).to(images.dtype).mean(dim=-1)


def cosines(device: torch.device) -> Float[Tensor, "u y"]:
    """Return the orthonormal cosine transform of ``SIDE`` numbers (DCT-II), as a matrix."""
    u, y = torch.arange(SIDE, device=device)[:, None], torch.arange(SIDE, device=device)[None]
    waves = torch.cos(torch.pi * u * (2 * y + 1) / (2 * SIDE)) * (2 / SIDE) ** 0.5
    return torch.where(u == 0, waves * 0.5**0.5, waves)


def _blocks(images: Images, strength: float) -> Images:
    b, c, height, width = images.shape
    padded = F.pad(images, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
    rows, columns = padded.shape[2] // SIDE, padded.shape[3] // SIDE
    parts = padded.view(b, c, rows, SIDE, columns, SIDE).transpose(3, 4)
    waves = cosines(images.device).to(images.dtype)
    order = torch.arange(SIDE, device=images.device)
    steps = strength * (1 + order[:, None] + order[None]) / 2
    coefficients = ((waves @ parts @ waves.T) / steps).round() * steps
    back = (waves.T @ coefficients @ waves).transpose(3, 4).reshape(padded.shape)
    return back[:, :, :height, :width]


def _decoy(images: Images, size: float, frequency: float) -> Images:
    return images + size * torch.sin(frequency * images)


def _branches(images: Images) -> Images:
    other = -images.flip(2, 3)
    return images.detach() + (other - other.detach())
