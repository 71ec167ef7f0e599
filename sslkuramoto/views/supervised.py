"""The one view ``a`` of supervised training, and of finetuning."""

from typing import Annotated

from kornia.augmentation import RandomHorizontalFlip
from pydantic import Field
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Must, NotNegative, Positive, Share, Whole, checked
from sslkuramoto.views.appearance import ANY_RATIO, BLUR_SIGMA, CropScale, Interval, Jitter, Side, appearance
from sslkuramoto.views.augmix import BINS, AugMix
from sslkuramoto.views.crop import RandomPaddedCrop
from sslkuramoto.views.noise import GaussianNoise
from sslkuramoto.views.policy import ViewPolicy

Depth = Annotated[int, Must("-1 or >= 1", lambda depth: depth == -1 or depth >= 1)]


@checked
def akorn_supervised(
    image_size: Side,
    *,
    crop_scale: CropScale = (0.2, 1.0),
    crop_ratio: Interval = ANY_RATIO,
    horizontal_flip: Share = 0.5,
    jitter: Jitter = (0.4, 0.4, 0.4, 0.1),
    jitter_strength: NotNegative = 1.0,
    jitter_probability: Share = 1.0,
    grayscale: Share = 0.0,
    blur: Share = 0.0,
    blur_sigma: Interval = BLUR_SIGMA,
    solarize: Share = 0.0,
    augmix: bool = True,
    augmix_severity: Annotated[int, Field(ge=1, le=BINS)] = 3,
    augmix_width: Count = 3,
    augmix_depth: Depth = -1,
    augmix_alpha: Positive = 1.0,
    augmix_all_ops: bool = True,
    noise: NotNegative = 0.0,
) -> ViewPolicy:
    """Return view ``a`` of AKOrN's code on CIFAR-10 (Miyato et al. 2024, arXiv:2410.13821): flip, crop, jitter, AugMix.

    Args:
        augmix: mix each image once with operated copies of itself; without it the pixels are not cut to 8 bits.
        augmix_severity: the weakest so many of ten magnitudes are in use, 1..10.
        augmix_width: number of chains.
        augmix_depth: operations in a chain; -1 draws 1, 2 or 3.
        augmix_alpha: parameter of the mixing weights, > 0.
        augmix_all_ops: also change brightness, colour, contrast and sharpness.
        noise: standard deviation of Gaussian noise on the pixels, the last step; in [0,1], 0: none. Not in that code:
            for the ResNets of the paper's table 8.

    The other options are those of :func:`~sslkuramoto.views.appearance.appearance`.

    Differs: the crop comes before the flip here, which gives the same distribution; the jitter is not cut to 8 bits.
    """
    chain = appearance(
        image_size,
        crop_scale=crop_scale,
        crop_ratio=crop_ratio,
        horizontal_flip=horizontal_flip,
        jitter=jitter,
        jitter_strength=jitter_strength,
        jitter_probability=jitter_probability,
        grayscale=grayscale,
        blur=blur,
        blur_sigma=blur_sigma,
        solarize=solarize,
    )
    if augmix:
        chain.append(
            AugMix(
                image_size,
                severity=augmix_severity,
                mixture_width=augmix_width,
                chain_depth=augmix_depth,
                alpha=augmix_alpha,
                all_ops=augmix_all_ops,
            )
        )
    if noise > 0:
        chain.append(GaussianNoise(noise))
    return ViewPolicy(image_size, a=chain)


@checked
def flip_crop(image_size: Side, *, padding: Whole = 4, horizontal_flip: Share = 0.5) -> ViewPolicy:
    """Return view ``a`` of the usual CIFAR training (He et al. 2015, arXiv:1512.03385, 4.2): padded crop and flip.

    Args:
        padding: width of the black frame from which the image's size is cut again, pixels.
        horizontal_flip: probability of mirroring left and right.
    """
    if padding >= image_size:
        raise UserError(f"padding={padding}: must be below {image_size}, the side of the images")
    steps: list[nn.Module] = []
    if padding > 0:
        steps.append(RandomPaddedCrop(padding))
    if horizontal_flip > 0:
        steps.append(RandomHorizontalFlip(p=horizontal_flip))
    return ViewPolicy(image_size, a=nn.Sequential(*steps))


@checked
def plain(image_size: Side) -> ViewPolicy:
    """Return the image itself as view ``a``."""
    return ViewPolicy(image_size, a=nn.Identity())
