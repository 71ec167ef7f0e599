"""Corruptions that spread each pixel over others: defocus, glass, motion and zoom blur.

Hendrycks and Dietterich 2019 (1903.12261), section 4.1; kernels as in the authors' set for 32 pixels.

    defocus    convolution with a disk of radius r whose edge a 3 x 3 Gaussian of width sigma softens
    glass      Gaussian, then every pixel takes the value of a random neighbour, then Gaussian again
    motion     one-sided Gaussian exp(-i^2 / (2 sigma^2)), i = 0, 1, ..., along a line within 45 degrees of the x axis
    zoom       mean of the image and of the image enlarged by 1.00, 1.01, ..., 1 + z

Differs: the published loop of glass blur is meant to swap neighbours, but swaps two views of one numpy array, which
overwrites one with the other. Each pixel thus takes the value of a neighbour; this behaviour is kept here.

Shapes: b batch, c channels, s side of the square images, i taps.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.strengths import growth, strength

Images = Float[Tensor, "b 3 s s"]
NEGLIGIBLE = 1e-6  # of the first tap of a motion blur
WIDEST = 45.0  # degrees


def defocus_blur(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Convolve with a softened disk; not random."""
    radius, softness = strength("defocus_blur", severity)
    kernel = disk(radius, softness, growth(images.shape[-1])).to(images)
    from kornia.filters import filter2d  # slow to load, and a report only reads the columns

    return filter2d(images, kernel[None], border_type="reflect").clamp(0.0, 1.0)


def disk(radius: float, softness: float, factor: float) -> Float[Tensor, "k k"]:
    """Return the kernel of the defocus blur: the one of 32 pixels, enlarged bilinearly by the growth of lengths.

    Enlarging the kernel, rather than its radius, keeps the order of the severities: disks this small change their form
    with every pixel.

    Args:
        radius: of the disk at 32 pixels; grid points within it count fully.
        softness: sigma of the 3 x 3 Gaussian that the disk is smoothed with.
        factor: growth of all lengths.
    """
    reach = int(radius)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (place[:, None] ** 2 + place**2 <= radius**2).double()
    side = torch.exp(torch.tensor(-1 / (2 * softness**2), dtype=torch.float64))
    smooth = torch.stack([side, torch.ones_like(side), side]) / (1 + 2 * side)
    kernel = F.conv2d(inside[None, None], (smooth[:, None] * smooth)[None, None], padding=2)[0, 0]
    # entry u of the enlarged kernel lies u / factor taps from the centre
    edge = reach + 1
    wide = math.ceil((edge + 1) * factor) - 1
    taps = torch.arange(-edge, edge + 1, dtype=torch.float64)
    fine = torch.arange(-wide, wide + 1, dtype=torch.float64) / factor
    hat = (1 - (fine[:, None] - taps).abs()).clamp_min(0.0)
    spread = hat @ kernel @ hat.T
    return spread / spread.sum()


def glass_blur(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Smooth, read every pixel from a random neighbour, once or twice, and smooth again."""
    sigma, distance, repetitions = strength("glass_blur", severity)
    size = images.shape[-1]
    sigma, distance = sigma * growth(size), max(1, round(distance * growth(size)))
    images = _smoothed(images, sigma)
    place = torch.arange(size, device=images.device)
    moves = (place > distance) & (place <= size - distance)  # the border stays
    for _ in range(repetitions):
        # from -distance to distance - 1, as numpy's randint gives them
        step = draw.uniform(2, size, size, low=float(-distance), high=float(distance)).floor().long()
        step = step * (moves[:, None] & moves)
        row, column = place[:, None] + step[:, 0], place + step[:, 1]
        images = _taken(images, row, column)
    return _smoothed(images, sigma).clamp(0.0, 1.0)


def _smoothed(images: Images, sigma: float) -> Images:
    """Convolve with a Gaussian cut off at four sigma, the border repeated."""
    reach = int(4 * sigma + 0.5)
    if reach == 0:
        return images
    from kornia.filters import gaussian_blur2d

    return gaussian_blur2d(images, 2 * reach + 1, (sigma, sigma), border_type="replicate")


def _taken(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Return for each place the pixel at (row, column) of its image, ``b s s`` whole numbers, for all channels."""
    place = (row * images.shape[-1] + column).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, place).view_as(images)


def motion_blur(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Blur each image along a random direction."""
    reach, sigma = strength("motion_blur", severity)
    return along(images, draw.uniform(low=-WIDEST, high=WIDEST), reach, sigma)


def along(
    images: Float[Tensor, "b c s s"], degrees: Float[Tensor, " b"], reach: int, sigma: float
) -> Float[Tensor, "b c s s"]:
    """Return the one-sided motion blur of images, nearest pixels, the border repeated.

    Args:
        images: any channels.
        degrees: direction of each image, from the x axis.
        reach: the kernel has 2 ceil(reach) + 1 taps, at 32 pixels.
        sigma: of the Gaussian weights, at 32 pixels.
    """
    size = images.shape[-1]
    factor = growth(size)
    taps = torch.arange(2 * math.ceil(reach * factor) + 1, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * (sigma * factor) ** 2))
    weights = weights[weights > NEGLIGIBLE]
    weights /= weights.sum()
    angle = degrees.double().deg2rad()
    place = torch.arange(size, device=images.device)
    blurred = torch.zeros_like(images)
    for i, weight in enumerate(weights.tolist()):
        right, down = ((i * turn).round().long()[:, None, None] for turn in (angle.cos(), angle.sin()))
        row = (place[:, None] + down).clamp(0, size - 1).expand(-1, -1, size)
        column = (place + right).clamp(0, size - 1).expand(-1, size, -1)
        blurred += weight * _taken(images, row, column)
    return blurred


def zoom_blur(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Return the mean of the image and its zooms about the centre; not random."""
    # to the last bit as numpy.arange(1, ..., 0.01) makes them: at 1.25 it decides between 32 and 33 rows of 32 pixels
    zooms = [1 + percent * (1.01 - 1) for percent in range(strength("zoom_blur", severity) + 1)]
    total = images.clone()
    for zoom in zooms:
        total += clipped_zoom(images, zoom)
    return (total / (len(zooms) + 1)).clamp(0.0, 1.0)


def clipped_zoom(images: Float[Tensor, "b c s s"], zoom: float) -> Float[Tensor, "b c s s"]:
    """Enlarge the middle of images and cut what is then too much, all in whole pixels.

    Args:
        images: any channels.
        zoom: factor, at least 1.

    Source: the authors' ``clipped_zoom``. Of ceil(s / zoom) rows about the middle, scipy.ndimage.zoom with order 1
    makes round(zoom * rows), the first and last rows meeting the first and last; their middle s are kept.
    """
    size = images.shape[-1]
    side = math.ceil(size / zoom)
    first = (size - side) // 2
    middle = images[..., first : first + side, first : first + side]
    large = F.interpolate(middle, size=round(side * zoom), mode="bilinear", align_corners=True)
    first = (large.shape[-1] - size) // 2
    return large[..., first : first + size, first : first + size]
