"""The one view ``a`` of supervised training, and of finetuning."""

from kornia.augmentation import RandomHorizontalFlip
from torch import nn

from sslkuramoto.errors import UserError
from sslkuramoto.views import limits
from sslkuramoto.views.appearance import ANY_RATIO, BLUR_SIGMA, Jitter, Range, appearance
from sslkuramoto.views.augmix import BINS, AugMix
from sslkuramoto.views.crop import RandomPaddedCrop
from sslkuramoto.views.noise import GaussianNoise
from sslkuramoto.views.policy import ViewPolicy


def akorn_supervised(
    image_size: int,
    *,
    crop_scale: Range = (0.2, 1.0),
    crop_ratio: Range = ANY_RATIO,
    horizontal_flip: float = 0.5,
    jitter: Jitter = (0.4, 0.4, 0.4, 0.1),
    jitter_strength: float = 1.0,
    jitter_probability: float = 1.0,
    grayscale: float = 0.0,
    blur: float = 0.0,
    blur_sigma: Range = BLUR_SIGMA,
    solarize: float = 0.0,
    augmix: bool = True,
    augmix_severity: int = 3,
    augmix_width: int = 3,
    augmix_depth: int = -1,
    augmix_alpha: float = 1.0,
    augmix_all_ops: bool = True,
    noise: float = 0.0,
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
    limits.whole("augmix_severity", augmix_severity, 1, BINS)
    limits.whole("augmix_width", augmix_width, 1)
    if augmix_depth < 1 and augmix_depth != -1:
        raise UserError(f"augmix_depth={augmix_depth}: must be -1, or at least 1")
    limits.positive("augmix_alpha", augmix_alpha)
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
    if limits.strength("noise", noise) > 0:
        chain.append(GaussianNoise(noise))
    return ViewPolicy(image_size, a=chain)


def flip_crop(image_size: int, *, padding: int = 4, horizontal_flip: float = 0.5) -> ViewPolicy:
    """Return view ``a`` of the usual CIFAR training (He et al. 2015, arXiv:1512.03385, 4.2): padded crop and flip.

    Args:
        padding: width of the black frame from which the image's size is cut again, pixels.
        horizontal_flip: probability of mirroring left and right.
    """
    limits.side(image_size)
    steps: list[nn.Module] = []
    if limits.whole("padding", padding, 0, image_size - 1) > 0:
        steps.append(RandomPaddedCrop(padding))
    if limits.probability("horizontal_flip", horizontal_flip) > 0:
        steps.append(RandomHorizontalFlip(p=horizontal_flip))
    return ViewPolicy(image_size, a=nn.Sequential(*steps))


def plain(image_size: int) -> ViewPolicy:
    """Return the image itself as view ``a``."""
    return ViewPolicy(limits.side(image_size), a=nn.Identity())
