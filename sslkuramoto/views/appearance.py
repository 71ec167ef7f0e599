"""The steps that SimCLR, BYOL, SimSiam and PhiNet share: crop, flip, jitter, grey, blur, solarize.

Sources: Chen et al. 2020 (SimCLR, arXiv:2002.05709, appendix A); Grill et al. 2020 (BYOL, arXiv:2006.07733, appendix
B); Chen and He 2020 (SimSiam, arXiv:2011.10566). They differ in strengths and probabilities only.
"""

from math import inf
from typing import Annotated

from kornia import augmentation
from pydantic import Field
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.values import Must, NotNegative, Share, checked
from sslkuramoto.views.colour import ColorJitter
from sslkuramoto.views.crop import RandomResizedCrop

Side = Annotated[int, Field(ge=4)]
"""Side of images in pixels, large enough for every step of a policy."""
Interval = Annotated[tuple[float, float], Must("(low, high) with 0 < low <= high", lambda v: 0 < v[0] <= v[1] < inf)]
CropScale = Annotated[
    tuple[float, float], Must("(low, high) with 0 < low <= high <= 1", lambda v: 0 < v[0] <= v[1] <= 1)
]
Jitter = tuple[NotNegative, NotNegative, NotNegative, NotNegative]

ANY_RATIO: Interval = (3 / 4, 4 / 3)
BLUR_SIGMA: Interval = (0.1, 2.0)
LARGEST_WITHOUT_BLUR = 32


def default_blur(image_size: Side, published: float) -> float:
    """Return the ``published`` probability of a blur, or 0 for images so small that CIFAR recipes leave it out."""
    return published if image_size > LARGEST_WITHOUT_BLUR else 0.0


def blur_kernel(image_size: Side) -> int:
    """Return the side of the blur's kernel, an odd tenth of the image's: 23 at 224 pixels, at least 3."""
    return max(3, image_size // 20 * 2 + 1)


@checked
def appearance(
    image_size: Side,
    *,
    crop_scale: CropScale,
    crop_ratio: Interval,
    horizontal_flip: Share,
    jitter: Jitter,
    jitter_strength: NotNegative,
    jitter_probability: Share,
    grayscale: Share,
    blur: Share,
    blur_sigma: Interval,
    solarize: Share,
) -> nn.Sequential:
    """Return the chain of one view; a step of probability 0 is left out.

    Args:
        image_size: side of the images, pixels.
        crop_scale: area of the crop as a share of the image, in (0, 1].
        crop_ratio: width / height of the crop.
        horizontal_flip: probability of mirroring left and right.
        jitter: brightness, contrast, saturation (relative change) and hue (turns).
        jitter_strength: factor on all four; four times zero is no jitter.
        jitter_probability: probability of the jitter as a whole.
        grayscale: probability of dropping the colour (ITU-R 601 weights).
        blur: probability of a Gaussian blur.
        blur_sigma: its standard deviation, pixels.
        solarize: probability of inverting the pixels from 0.5 upwards.

    Raises:
        UserError: a value out of range.
    """
    strengths = tuple(value * jitter_strength for value in jitter)
    if strengths[3] > 0.5:
        raise UserError(f"jitter (hue) x jitter_strength={strengths[3]}: must be in [0, 0.5]")

    steps: list[nn.Module] = [RandomResizedCrop(image_size, scale=crop_scale, ratio=crop_ratio)]
    if horizontal_flip > 0:
        steps.append(augmentation.RandomHorizontalFlip(p=horizontal_flip))
    if jitter_probability > 0 and any(strengths):
        steps.append(ColorJitter(*strengths, p=jitter_probability))
    if grayscale > 0:
        steps.append(augmentation.RandomGrayscale(p=grayscale))
    if blur > 0:
        kernel = blur_kernel(image_size)
        steps.append(augmentation.RandomGaussianBlur((kernel, kernel), blur_sigma, p=blur))
    if solarize > 0:
        # One number t would mean a threshold drawn from 0.5 - t .. 0.5 + t; a range of no width is the published 0.5.
        steps.append(augmentation.RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=solarize))
    return nn.Sequential(*steps)
