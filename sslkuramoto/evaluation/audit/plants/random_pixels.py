"""Plants that change the pixels at random at every forward pass: noise, crops, a few steps of a diffusion.

The gradient of a single draw is then no guide (Athalye, Carlini and Wagner 2018, 1802.00420, section 5.3 on stochastic
gradients). The noise is part of the initial state, so that it can be fixed or held.

Shapes: b batch, i states (b or 1), y x pixels.
"""

from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.evaluation.audit.plants.altered import DrawingEncoder, Images, Planted, uniform
from sslkuramoto.values import Count, NotNegative, Positive, checked

SIGMA = 0.6  # of the noise, pixels in [0,1]
Side = Annotated[float, Field(gt=0, le=1)]
Noise = Float[Tensor, "i c y x"]


@checked
def noisy(encoder: Encoder, head: nn.Module, *, sigma: Positive = SIGMA) -> Planted:
    """Gaussian noise on the pixels, new at every forward pass (Liu et al. 2018, 1712.00673).

    Args:
        sigma: standard deviation, pixels in [0,1].
    """
    return noisy_encoder(encoder, sigma), head


@checked
def crop_resize(encoder: Encoder, head: nn.Module, *, smallest: Side = 0.8) -> Planted:
    """A random crop, resized to the size of the image, at every forward pass (Xie et al. 2018, 1711.01991).

    Args:
        smallest: side of the smallest crop, as a share of the image's.
    """
    return DrawingEncoder(encoder, "crop_resize", lambda images: 1, pixels=partial(_crop, smallest=smallest)), head


@checked
def langevin(
    encoder: Encoder,
    head: nn.Module,
    *,
    steps: Count = 5,
    step_size: Positive = 0.05,
    temperature: NotNegative = 0.02,
) -> Planted:
    """Purification by a few Langevin steps that smooth the image and add noise, before it is classified.

    x <- x - eta grad U(x) + sqrt(2 eta T) e with U half the sum of squared differences of neighbouring pixels. Hill,
    Mitchell and Zhu 2021 (2005.13525) take 1,500 steps of a learned energy, Nie et al. 2022 (2205.07460) a diffusion
    model; this one is cheap and learns nothing.

    Args:
        steps: number of Langevin steps.
        step_size: eta, the length of a step along the gradient.
        temperature: T, which decides the size of the noise; 0: none.
    """
    change = partial(_langevin, steps=steps, step_size=step_size, temperature=temperature)
    return DrawingEncoder(encoder, "langevin", lambda images: 3 * steps, pixels=change), head


def noisy_encoder(encoder: Encoder, sigma: float) -> DrawingEncoder:
    """Return an encoder that adds Gaussian noise to the pixels at every forward pass."""
    return DrawingEncoder(encoder, "noisy", lambda images: 3, pixels=partial(_added, sigma=sigma))


def _added(images: Images, noise: Noise, sigma: float) -> Images:
    return images + sigma * noise


def _crop(images: Images, noise: Noise, smallest: float) -> Images:
    """Crop and resize by one bilinear look-up; the first three numbers of the noise give side and place."""
    side, across, down = uniform(noise.flatten(1)[:, :3]).unbind(dim=1)
    side = smallest + (1 - smallest) * side
    theta = torch.zeros(len(side), 2, 3, device=images.device, dtype=images.dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, 0, 2], theta[:, 1, 2] = (1 - side) * (2 * across - 1), (1 - side) * (2 * down - 1)
    theta = theta.expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _langevin(images: Images, noise: Noise, steps: int, step_size: float, temperature: float) -> Images:
    for e in noise.split(3, dim=1):
        images = images - step_size * roughness(images) + (2 * step_size * temperature) ** 0.5 * e
    return images


def roughness(images: Images) -> Images:
    """Return the gradient of half the sum of squared differences of neighbouring pixels (minus the Laplacian)."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    around = padded[:, :, 1:-1, 2:] + padded[:, :, 1:-1, :-2] + padded[:, :, 2:, 1:-1] + padded[:, :, :-2, 1:-1]
    return 4 * images - around
