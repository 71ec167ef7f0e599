"""The steps that SimCLR, BYOL, SimSiam and PhiNet share: crop, flip, jitter, grey, blur, solarize.

Sources: Chen et al. 2020 (SimCLR, arXiv:2002.05709, appendix A); Grill et al. 2020 (BYOL, arXiv:2006.07733, appendix
B); Chen and He 2020 (SimSiam, arXiv:2011.10566). They differ in strengths and probabilities only.
"""

from kornia import augmentation
from torch import nn

from sslkuramoto.views import limits
from sslkuramoto.views.colour import ColorJitter
from sslkuramoto.views.crop import RandomResizedCrop

Range = tuple[float, float]
Jitter = tuple[float, float, float, float]

ANY_RATIO: Range = (3 / 4, 4 / 3)
BLUR_SIGMA: Range = (0.1, 2.0)
LARGEST_WITHOUT_BLUR = 32


def default_blur(image_size: int, published: float) -> float:
    """Return the ``published`` probability of a blur, or 0 for images so small that CIFAR recipes leave it out."""
    return published if image_size > LARGEST_WITHOUT_BLUR else 0.0


def blur_kernel(image_size: int) -> int:
    """Return the side of the blur's kernel, an odd tenth of the image's: 23 at 224 pixels, at least 3."""
    return max(3, image_size // 20 * 2 + 1)


def appearance(
    image_size: int,
    *,
    crop_scale: Range,
    crop_ratio: Range,
    horizontal_flip: float,
    jitter: Jitter,
    jitter_strength: float,
    jitter_probability: float,
    grayscale: float,
    blur: float,
    blur_sigma: Range,
    solarize: float,
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
    limits.side(image_size)
    limits.strength("jitter_strength", jitter_strength)
    for name, value in zip(("brightness", "contrast", "saturation"), jitter, strict=False):
        limits.strength(f"jitter ({name})", value)
    strengths = tuple(value * jitter_strength for value in jitter)
    limits.strength("jitter (hue) x jitter_strength", strengths[3], upper=0.5)
    scale = limits.interval("crop_scale", crop_scale, upper=1.0)
    ratio = limits.interval("crop_ratio", crop_ratio)
    sigma = limits.interval("blur_sigma", blur_sigma)

    steps: list[nn.Module] = [RandomResizedCrop(image_size, scale=scale, ratio=ratio)]
    if limits.probability("horizontal_flip", horizontal_flip) > 0:
        steps.append(augmentation.RandomHorizontalFlip(p=horizontal_flip))
    if limits.probability("jitter_probability", jitter_probability) > 0 and any(strengths):
        steps.append(ColorJitter(*strengths, p=jitter_probability))
    if limits.probability("grayscale", grayscale) > 0:
        steps.append(augmentation.RandomGrayscale(p=grayscale))
    if limits.probability("blur", blur) > 0:
        kernel = blur_kernel(image_size)
        steps.append(augmentation.RandomGaussianBlur((kernel, kernel), sigma, p=blur))
    if limits.probability("solarize", solarize) > 0:
        # One number t would mean a threshold drawn from 0.5 - t .. 0.5 + t; a range of no width is the published 0.5.
        steps.append(augmentation.RandomSolarize(thresholds=(0.5, 0.5), additions=(0.0, 0.0), p=solarize))
    return nn.Sequential(*steps)
