"""Views of PhiNet (Ishikawa et al. 2024, arXiv:2405.14650): SimSiam's two and a clean one."""

from typing import Literal

from torch import nn

from sslkuramoto.values import NotNegative, Share, checked
from sslkuramoto.views.appearance import (
    ANY_RATIO,
    BLUR_SIGMA,
    CropScale,
    Interval,
    Jitter,
    Side,
    appearance,
    default_blur,
)
from sslkuramoto.views.crop import EnlargedCentre
from sslkuramoto.views.policy import ViewPolicy

Clean = Literal["resize_crop", "identity", "augmented"]


@checked
def phinet(
    image_size: Side,
    *,
    clean: Clean = "resize_crop",
    crop_scale: CropScale = (0.2, 1.0),
    crop_ratio: Interval = ANY_RATIO,
    horizontal_flip: Share = 0.5,
    jitter: Jitter = (0.4, 0.4, 0.4, 0.1),
    jitter_strength: NotNegative = 1.0,
    jitter_probability: Share = 0.8,
    grayscale: Share = 0.2,
    blur: Share | None = None,
    blur_sigma: Interval = BLUR_SIGMA,
    solarize: Share = 0.0,
) -> ViewPolicy:
    """Return views ``a`` and ``b``, drawn alike, and ``clean``.

    Args:
        clean: ``resize_crop`` is the published one (32 -> 36 pixels, centre 32); ``identity`` the image itself;
            ``augmented`` a third view drawn like ``a`` (the published code's ``*_aug`` models).
        blur: None is 0.5 above 32 pixels and 0 up to them.

    The other options are those of :func:`~sslkuramoto.views.appearance.appearance`.
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
        blur=default_blur(image_size, 0.5) if blur is None else blur,
        blur_sigma=blur_sigma,
        solarize=solarize,
    )
    third = {"resize_crop": EnlargedCentre(), "identity": nn.Identity(), "augmented": chain}[clean]
    return ViewPolicy(image_size, a=chain, b=chain, clean=third)
