"""Views of BYOL (Grill et al. 2020, arXiv:2006.07733, appendix B): the two views differ in blur and solarize."""

from functools import partial

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
def byol(
    image_size: Side,
    *,
    crop_scale: CropScale = (0.08, 1.0),
    crop_ratio: Interval = ANY_RATIO,
    horizontal_flip: Share = 0.5,
    jitter: Jitter = (0.4, 0.4, 0.2, 0.1),
    jitter_strength: NotNegative = 1.0,
    jitter_probability: Share = 0.8,
    grayscale: Share = 0.2,
    blur_a: Share | None = None,
    blur_b: Share | None = None,
    blur_sigma: Interval = BLUR_SIGMA,
    solarize_a: Share = 0.0,
    solarize_b: Share = 0.2,
) -> ViewPolicy:
    """Return BYOL's augmentation: view ``a``, always blurred, and ``b``, rarely blurred and sometimes solarized.

    Args:
        blur_a: probability that view a is blurred by a Gaussian (null: 1 for images above 32 pixels, else 0).
        blur_b: probability that view b is blurred by a Gaussian (null: 0.1 for images above 32 pixels, else 0).
        solarize_a: probability that pixels of at least 0.5 are inverted in view a.
        solarize_b: probability that pixels of at least 0.5 are inverted in view b.

    The other options are those of :func:`~sslkuramoto.views.appearance.appearance`.
    """
    blur_a = default_blur(image_size, 1.0) if blur_a is None else blur_a
    blur_b = default_blur(image_size, 0.1) if blur_b is None else blur_b
    chain = partial(
        appearance,
        image_size,
        crop_scale=crop_scale,
        crop_ratio=crop_ratio,
        horizontal_flip=horizontal_flip,
        jitter=jitter,
        jitter_strength=jitter_strength,
        jitter_probability=jitter_probability,
        grayscale=grayscale,
        blur_sigma=blur_sigma,
    )
    return ViewPolicy(
        image_size,
        a=chain(blur=blur_a, solarize=solarize_a),
        b=chain(blur=blur_b, solarize=solarize_b),
    )
