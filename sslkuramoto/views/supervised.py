"""View policies of supervised training and finetuning: a single view ``a``."""

from typing import Annotated

from kornia.augmentation import RandomErasing, RandomHorizontalFlip
from pydantic import Field
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.values import Count, Must, NotNegative, Positive, Share, Whole, checked
from sslkuramoto.views.appearance import ANY_RATIO, BLUR_SIGMA, CropScale, Interval, Jitter, Side, appearance
from sslkuramoto.views.augmix import BINS, AugMix
from sslkuramoto.views.crop import RandomPaddedCrop
from sslkuramoto.views.noise import GaussianNoise
from sslkuramoto.views.policy import ViewPolicy
from sslkuramoto.views.randaugment import MAGNITUDES, RandAugment

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
    """Return the view of AKOrN's published code on CIFAR-10 (Miyato et al. 2025, arXiv:2410.13821), ``a``.

    Its augmentations are crop, flip, colour jitter and AugMix (Hendrycks et al. 2019, arXiv:1912.02781).

    Args:
        augmix: whether each image is mixed with randomly distorted copies of itself by AugMix (which rounds pixels to 8
            bits).
        augmix_severity: how strong AugMix distorts: operations use the weakest this many of ten magnitudes.
        augmix_width: number of distorted copies that AugMix mixes.
        augmix_depth: number of operations per distorted copy (-1: 1, 2 or 3 at random).
        augmix_alpha: parameter of the Beta and Dirichlet distributions of AugMix's weights.
        augmix_all_ops: whether AugMix also changes brightness, colour, contrast and sharpness.
        noise: standard deviation of Gaussian noise added to the pixels in [0, 1] at the end (0: none). The published
            code has none; it is for the ResNets of AKOrN table 8.

    The other options are those of :func:`~sslkuramoto.views.appearance.appearance`.

    Differs: the crop precedes the flip, which gives the same distribution, and the jitter is not rounded to 8 bits.
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
def randaugment(
    image_size: Side,
    *,
    crop_scale: CropScale = (0.08, 1.0),
    crop_ratio: Interval = ANY_RATIO,
    horizontal_flip: Share = 0.5,
    jitter: Jitter = (0.4, 0.4, 0.4, 0.0),
    jitter_strength: NotNegative = 1.0,
    jitter_probability: Share = 1.0,
    grayscale: Share = 0.0,
    blur: Share = 0.0,
    blur_sigma: Interval = BLUR_SIGMA,
    solarize: Share = 0.0,
    operations: Whole = 2,
    magnitude: Annotated[int, Field(ge=0, le=MAGNITUDES - 1)] = 9,
    erase: Share = 0.25,
    erase_scale: CropScale = (0.02, 1 / 3),
    erase_ratio: Interval = (0.3, 3.3),
    erase_value: Share = 0.5,
) -> ViewPolicy:
    """Return the view of supervised training on ImageNet with RandAugment and random erasing, ``a``.

    Cubuk et al. 2020 (RandAugment, arXiv 1909.13719); Zhong et al. 2020 (random erasing, arXiv 1708.04896). The Winfree
    network (WONN, arXiv 2605.20922) was trained so on ImageNet-1k. In their order: crop, flip, colour jitter,
    RandAugment, erasing.

    Args:
        operations: operations of RandAugment in turn (0: none); they round pixels to 8 bits.
        magnitude: their level, 0 to 30.
        erase: probability that a box of an image is erased.
        erase_scale: range of the box's area as a share of the image, drawn uniformly.
        erase_ratio: range of the box's height / width.
        erase_value: what the pixels of the box become; 0.5 is 0 for an encoder that normalises by (x - 0.5) / 0.5.

    The other options are those of :func:`~sslkuramoto.views.appearance.appearance`.

    Differs: kornia draws the ratio uniformly below or above 1, each with probability 1/2, torchvision uniformly in the
        logarithm; a box that would not fit is cut to the image, where torchvision draws another.
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
    if operations > 0:
        chain.append(RandAugment(image_size, operations=operations, magnitude=magnitude))
    if erase > 0:
        chain.append(RandomErasing(erase_scale, erase_ratio, erase_value, p=erase))
    return ViewPolicy(image_size, a=chain)


@checked
def flip_crop(image_size: Side, *, padding: Whole = 4, horizontal_flip: Share = 0.5) -> ViewPolicy:
    """Return the view of common CIFAR training, ``a``: padded crop and flip (He et al. 2015, arXiv:1512.03385, 4.2).

    Args:
        image_size: side of the images in pixels.
        padding: width in pixels of the black frame added before a random crop to the image's size.
        horizontal_flip: probability that an image is mirrored left to right.

    Raises:
        UserError: the padding is not below the side of the images.
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
    """Return a policy without augmentation: view ``a`` is the image itself."""
    return ViewPolicy(image_size, a=nn.Identity())
