"""Views of SimSiam (Chen and He 2020, arXiv:2011.10566)."""

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
def simsiam(
    image_size: Side,
    *,
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
    """Return SimSiam's augmentation: views ``a`` and ``b`` of the same distribution.

    Args:
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
    return ViewPolicy(image_size, a=chain, b=chain)
