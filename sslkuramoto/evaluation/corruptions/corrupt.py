"""The 15 corruptions by name, and the one function that applies them.

Hendrycks and Dietterich 2019 (1903.12261): noise, blur, weather, digital. Reproduced, not copied: docs/corruptions.md
says what differs from the published archives.

Shapes: b batch, s side of the square images.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from sslkuramoto.evaluation.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from sslkuramoto.evaluation.corruptions.weather import brightness, fog, frost, snow

Images = Float[Tensor, "b 3 s s"]
WHITE = 255

# (images in [0,1], severity 1..5, draws of each image) -> images in [0,1]
CORRUPTIONS: dict[str, Callable[[Images, int, ImageDraws], Images]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}


@torch.no_grad()
def corrupted(name: str, images: Images, severity: int, draw: ImageDraws, *, eight_bit: bool = True) -> Images:
    """Return corrupted images.

    Args:
        name: one of :data:`CORRUPTIONS`.
        images: pixels in [0,1], square, of any size from 4 pixels.
        severity: 1 to 5.
        draw: the random numbers of these images.
        eight_bit: whether to round to the 256 levels of a stored image.

    Differs: the authors truncate to whole levels, which darkens images by half a level on average; here it is rounded.
    """
    result = CORRUPTIONS[name](images, severity, draw)
    return (result * WHITE).round() / WHITE if eight_bit else result
