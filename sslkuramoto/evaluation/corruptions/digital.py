"""Corruptions by processing: contrast, elastic transform, pixelation, JPEG.

Hendrycks and Dietterich 2019 (1903.12261), section 4.1. x is the image, pixels in [0,1].

    contrast    c (x - mean) + mean, the mean of each channel
    elastic     an affine map that moves three corners at random, then a smooth random displacement
    pixelate    reduced to a share of its side by means over boxes, enlarged again by the nearest pixel
    jpeg        encoded and decoded at quality q, colour at half the resolution

Shapes: b batch, s side of the square images.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.evaluation.corruptions.image_draws import ImageDraws
from sslkuramoto.evaluation.corruptions.strengths import strength

Images = Float[Tensor, "b 3 s s"]
WHITE = 255


def contrast(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Move every value towards the mean of its channel; not random."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (mean + strength("contrast", severity) * (images - mean)).clamp(0.0, 1.0)


def elastic_transform(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Move the image by an affine map, then by a displacement field; all lengths are shares of the side.

    The first severity has the strongest affine map and no displacement; towards the fifth the map weakens and the
    displacement grows rougher, as published.
    """
    size = images.shape[-1]
    amplitude, sigma, corners = (size * share for share in strength("elastic_transform", severity))
    place = torch.arange(size, device=images.device, dtype=images.dtype)
    y, x = torch.meshgrid(place, place, indexing="ij")
    matrix = _inverse_of_moved_corners(size, draw.uniform(3, 2, low=-corners, high=corners))
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)
    # no matrix product: on a GPU it may run in TF32, which moves pixels
    source = (points[None, ..., :, None] * matrix[:, None, None]).sum(dim=-2)
    images = read_at(images, source[..., 0], source[..., 1])
    if amplitude > 0:
        from kornia.filters import gaussian_blur2d  # slow to load, and a report only reads the columns

        field = draw.uniform(2, size, size, low=-1.0)
        reach = min(int(3 * sigma + 0.5), size - 1)
        field = amplitude * gaussian_blur2d(field, 2 * reach + 1, (sigma, sigma), border_type="reflect")
        images = read_at(images, x + field[:, 0], y + field[:, 1])
    return images.clamp(0.0, 1.0)


def _inverse_of_moved_corners(size: int, moved: Float[Tensor, "b 3 2"]) -> Float[Tensor, "b 3 2"]:
    """Return the affine map, (x, y, 1) times it, that takes three moved corners back to where they were, pixels."""
    centre, arm = size // 2, size // 3
    corners = torch.tensor([[arm, arm], [arm, -arm], [-arm, -arm]], dtype=torch.float64) + centre
    corners = corners.to(moved.device).expand(len(moved), -1, -1)
    ones = torch.ones(len(moved), 3, 1, dtype=torch.float64, device=moved.device)
    return torch.linalg.solve(torch.cat([corners + moved.double(), ones], dim=-1), corners).to(moved.dtype)


def read_at(images: Images, x: Float[Tensor, "#b s s"], y: Float[Tensor, "#b s s"]) -> Images:
    """Read images at places in pixels (0 is the centre of the first), bilinear, mirrored at the border."""
    last = images.shape[-1] - 1
    grid = torch.stack([x, y], dim=-1) * (2 / last) - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def pixelate(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Reduce the image and enlarge it again, with the box filter of Pillow; not random."""
    size = images.shape[-1]
    small = max(1, int(size * strength("pixelate", severity)))
    down, up = (box_weights(a, b).to(images) for a, b in ((size, small), (small, size)))
    reduced = torch.einsum("py,bcyx,qx->bcpq", down, images, down)
    return torch.einsum("yp,bcpq,xq->bcyx", up, _whole(reduced), up).clamp(0.0, 1.0)


def box_weights(before: int, after: int) -> Float[Tensor, "after before"]:
    """Return the weights that resize a line of pixels as Pillow's BOX does: the mean of the pixels whose centres lie in
    the box of an output pixel, half open on the left."""
    scale = before / after
    support = max(scale, 1.0)
    centre = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    pixel = torch.arange(before, dtype=torch.float64)
    # in Pillow's order of operations and with its two tests: where a centre lies on an edge, rounding decides
    first, last = ((centre + side * 0.5 * support + 0.5).trunc()[:, None] for side in (-1, 1))
    offset = (pixel - centre[:, None] + 0.5) * (1.0 / support)
    inside = ((pixel >= first) & (pixel < last) & (offset > -0.5) & (offset <= 0.5)).double()
    return inside / inside.sum(dim=1, keepdim=True)


def _whole(images: Images) -> Images:
    return (images * WHITE).round() / WHITE


def jpeg_compression(images: Images, severity: int, draw: ImageDraws) -> Images:
    """Encode and decode each image by libjpeg, on the CPU whatever the device, so that all devices agree."""
    from torchvision.io import decode_jpeg, encode_jpeg

    quality = strength("jpeg_compression", severity)
    levels = (images * WHITE).round().to("cpu", torch.uint8)
    decoded: list[Tensor] = []
    for image in levels:
        encoded = encode_jpeg(image, quality)
        assert isinstance(encoded, Tensor)  # a list of images would give a list
        result = decode_jpeg(encoded)
        assert isinstance(result, Tensor)
        decoded.append(result)
    return torch.stack(decoded).to(images.device, images.dtype) / WHITE
