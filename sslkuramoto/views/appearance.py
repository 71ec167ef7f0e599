"""The augmentations that SimCLR, BYOL, SimSiam and PhiNet share: crop, flip, colour jitter, grey, blur, solarize.

Sources: Chen et al. 2020 (SimCLR, arXiv:2002.05709, appendix A); Grill et al. 2020 (BYOL, arXiv:2006.07733, appendix
B); Chen and He 2020 (SimSiam, arXiv:2011.10566). They differ only in strengths and probabilities.
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
"""Side of images in pixels, large enough for every augmentation of a policy."""
Interval = Annotated[tuple[float, float], Must("(low, high) with 0 < low <= high", lambda v: 0 < v[0] <= v[1] < inf)]
CropScale = Annotated[
    tuple[float, float], Must("(low, high) with 0 < low <= high <= 1", lambda v: 0 < v[0] <= v[1] <= 1)
]
Jitter = tuple[NotNegative, NotNegative, NotNegative, NotNegative]

ANY_RATIO: Interval = (3 / 4, 4 / 3)
BLUR_SIGMA: Interval = (0.1, 2.0)
LARGEST_WITHOUT_BLUR = 32


def default_blur(image_size: Side, published: float) -> float:
    """Return the ``published`` probability of a blur above 32 pixels, otherwise 0: recipes for CIFAR do not blur."""
    return published if image_size > LARGEST_WITHOUT_BLUR else 0.0


def blur_kernel(image_size: Side) -> int:
    """Return the side of the blur's kernel in pixels: odd, about a tenth of the image's side, 23 at 224, at least 3."""
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
    """Return the augmentations of one view in their order; one of probability 0 is left out.

    Args:
        image_size: side of the images in pixels.
        crop_scale: range of the crop's area as a share of the image, drawn uniformly.
        crop_ratio: range of the crop's aspect ratio, width / height, uniform in the logarithm.
        horizontal_flip: probability that an image is mirrored left to right.
        jitter: largest change of brightness, contrast and saturation (relative) and of hue (turns of the colour
            circle).
        jitter_strength: factor on all four numbers of jitter (0: no jitter).
        jitter_probability: probability that an image's colours are jittered.
        grayscale: probability that an image becomes grey (ITU-R 601 weights).
        blur: probability that an image is blurred by a Gaussian.
        blur_sigma: range of the blur's standard deviation in pixels, drawn uniformly.
        solarize: probability that an image's pixels of at least 0.5 are inverted.

    Raises:
        UserError: a value is out of range.
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
        # A single number t would draw the threshold from 0.5 - t .. 0.5 + t; the published threshold is exactly 0.5.
        steps.append(augmentation.RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=solarize))
    return nn.Sequential(*steps)
