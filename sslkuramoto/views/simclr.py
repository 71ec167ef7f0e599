"""Views of SimCLR (Chen et al. 2020, arXiv:2002.05709, appendices A and B.9)."""

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
from sslkuramoto.views.policy import ViewPolicy


@checked
def simclr(
    image_size: Side,
    *,
    crop_scale: CropScale = (0.08, 1.0),
    crop_ratio: Interval = ANY_RATIO,
    horizontal_flip: Share = 0.5,
    jitter: Jitter = (0.8, 0.8, 0.8, 0.2),
    jitter_strength: NotNegative = 0.5,
    jitter_probability: Share = 0.8,
    grayscale: Share = 0.2,
    blur: Share | None = None,
    blur_sigma: Interval = BLUR_SIGMA,
    solarize: Share = 0.0,
) -> ViewPolicy:
    """Return SimCLR's augmentation: views ``a`` and ``b`` of the same distribution.

    Args:
        jitter_strength: factor on all four numbers of jitter, s of the paper (0.5 for CIFAR-10 and in AKOrN's published
            code, 1 for ImageNet).
        blur: probability that a view is blurred by a Gaussian (null: 0.5 for images above 32 pixels, else 0 as in
            appendix B.9).

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
    return ViewPolicy(image_size, a=chain, b=chain)
