"""Views of PhiNet and X-PhiNet (Ishikawa et al. 2024, arXiv:2405.14650): the two of SimSiam and a clean one."""

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
    """Return PhiNet's augmentation: views ``a`` and ``b`` of the same distribution, and view ``clean``.

    Args:
        clean: what the clean view is: ``resize_crop`` (the published one: enlarged by 8/7, then its centre),
            ``identity`` (the image itself) or ``augmented`` (a third view like a and b, the models ``*_aug`` of the
            published code).
        blur: probability that a view is blurred by a Gaussian (null: 0.5 for images above 32 pixels, else 0).

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
