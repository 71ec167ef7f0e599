"""AutoAugment's operations (Cubuk et al. 2018, arXiv:1805.09501) on batches of 8-bit images, one magnitude per image.

Each function equals the operation of the same name in ``torchvision.transforms.autoaugment``, including its rounding:
blended levels are rounded down, resampled and smoothed levels to the nearest. torchvision takes one magnitude per call;
these functions take one per image.

Shapes: b batch, y x pixels.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

Levels = UInt8[Tensor, "b 3 y x"]
Magnitudes = Float[Tensor, "b"]
WHITE = 255
LUMA = (0.2989, 0.587, 0.114)


def _each(values: Tensor) -> Tensor:
    return values.float()[:, None, None, None]


def _blend(images: Tensor, other: Tensor | float, share: Magnitudes) -> Levels:
    """Return share * images + (1 - share) * other, clamped to 0..255; a share above 1 extrapolates."""
    mixed = _each(share) * images + _each(1.0 - share) * other
    return mixed.clamp(0, WHITE).to(torch.uint8)


def _grey(images: Levels) -> UInt8[Tensor, "b 1 y x"]:
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).to(torch.uint8)[:, None]


def brightness(images: Levels, change: Magnitudes) -> Levels:
    """Multiply the levels by 1 + ``change``."""
    return _blend(images, 0.0, 1.0 + change)


def colour(images: Levels, change: Magnitudes) -> Levels:
    """Multiply the distance from grey by 1 + ``change``."""
    return _blend(images, _grey(images), 1.0 + change)


def contrast(images: Levels, change: Magnitudes) -> Levels:
    """Multiply the distance from the mean grey by 1 + ``change``."""
    return _blend(images, _grey(images).float().mean((-3, -2, -1), keepdim=True), 1.0 + change)


def sharpness(images: Levels, change: Magnitudes) -> Levels:
    """Multiply the distance from a 3 x 3 smoothing by 1 + ``change``; pixels at the border do not change."""
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5.0
    kernel = (kernel / kernel.sum()).expand(3, 1, 3, 3)
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = functional.conv2d(images.float(), kernel, groups=3).round().to(torch.uint8)
    return _blend(images, smooth, 1.0 + change)


def posterize(images: Levels, bits: Magnitudes) -> Levels:
    """Keep the ``bits`` (0..8) most significant bits of each level."""
    mask = 256 - 2 ** (8 - bits.long())
    return images & mask.to(torch.uint8)[:, None, None, None]


def solarize(images: Levels, threshold: Magnitudes) -> Levels:
    """Invert the levels of at least ``threshold`` (0..255)."""
    return torch.where(images >= _each(threshold), WHITE - images, images)


def autocontrast(images: Levels, _: Magnitudes) -> Levels:
    """Stretch each channel of each image to 0..255; a constant channel does not change."""
    low = images.amin((-2, -1), keepdim=True).float()
    high = images.amax((-2, -1), keepdim=True).float()
    flat = high == low
    scale = torch.where(flat, 1.0, WHITE / (high - low))
    return ((images - low.masked_fill(flat, 0.0)) * scale).clamp(0, WHITE).to(torch.uint8)


def equalize(images: Levels, _: Magnitudes) -> Levels:
    """Equalise the histogram of each channel of each image."""
    from torchvision.transforms.v2.functional import equalize_image  # slow to load: it loads torch's compiler

    return equalize_image(images)


# Each geometric operation returns a 2 x 3 matrix. It maps the position (x, y, 1) of an output pixel to the position
# (x, y) from which it is read, both in pixels from the centre of the image.


def shear_x(magnitude: Magnitudes, size: int) -> Float[Tensor, "b 2 3"]:
    """Read x from x + m y, with the upper left corner fixed; m is the slope."""
    return _matrix([[1.0, magnitude, magnitude * (0.5 * size)], [0.0, 1.0, 0.0]])


def shear_y(magnitude: Magnitudes, size: int) -> Float[Tensor, "b 2 3"]:
    """Read y from y + m x, with the upper left corner fixed; m is the slope."""
    return _matrix([[1.0, 0.0, 0.0], [magnitude, 1.0, magnitude * (0.5 * size)]])


def translate_x(magnitude: Magnitudes, _: int) -> Float[Tensor, "b 2 3"]:
    """Move to the right by m pixels, truncated to a whole number."""
    return _matrix([[1.0, 0.0, -magnitude.trunc()], [0.0, 1.0, 0.0]])


def translate_y(magnitude: Magnitudes, _: int) -> Float[Tensor, "b 2 3"]:
    """Move down by m pixels, truncated to a whole number."""
    return _matrix([[1.0, 0.0, 0.0], [0.0, 1.0, -magnitude.trunc()]])


def rotate(magnitude: Magnitudes, _: int) -> Float[Tensor, "b 2 3"]:
    """Rotate by m degrees counter-clockwise about the centre."""
    angle = magnitude.deg2rad()
    return _matrix([[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])


def _matrix(entries: list[list[Tensor | float]]) -> Float[Tensor, "b 2 3"]:
    length = next(entry for row in entries for entry in row if isinstance(entry, Tensor))
    rows = [torch.stack([entry + torch.zeros_like(length) for entry in row], dim=-1) for row in entries]
    return torch.stack(rows, dim=-2)


def warp(images: Levels, matrices: Float[Tensor, "b 2 3"]) -> Levels:
    """Resample each image through its matrix, bilinearly; outside of the image is black."""
    size = images.shape[-1]
    place = torch.arange(size, device=images.device) - 0.5 * (size - 1)
    matrices = (matrices / (0.5 * size)).float()
    x, y, one = (matrices[:, None, None, :, column] for column in range(3))
    grid = x * place[None, None, :, None] + y * place[None, :, None, None] + one
    # Not a matrix product: on a GPU it may run in TF32, which is too coarse for positions.
    read = functional.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return read.round().to(torch.uint8)


GEOMETRIC: dict[str, Callable[[Magnitudes, int], Tensor]] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
}

PHOTOMETRIC: dict[str, Callable[[Tensor, Magnitudes], Tensor]] = {
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Brightness": brightness,
    "Color": colour,
    "Contrast": contrast,
    "Sharpness": sharpness,
}


def apply_operations(
    images: Levels,
    names: Sequence[str],
    operation: Int[Tensor, "b"],
    magnitude: Magnitudes,
    active: Bool[Tensor, "b"],
) -> None:
    """Apply to each image the one operation that it drew, in place; one call for each operation that was drawn.

    Args:
        images: 8-bit levels, on any device.
        names: the operations that could be drawn; one that is neither geometric nor photometric changes nothing.
        operation: index of each image's operation in ``names``, on the CPU.
        magnitude: its magnitude with sign, on the CPU.
        active: whether it is applied, on the CPU.
    """
    device, size = images.device, images.shape[-1]

    def chosen_by(name: str) -> Tensor:
        if name not in names:
            return operation.new_empty(0)
        return (active & (operation == names.index(name))).nonzero().flatten()

    chosen = [(chosen_by(name), matrix) for name, matrix in GEOMETRIC.items()]
    indices = torch.cat([index for index, _ in chosen]).to(device, non_blocking=True)
    if len(indices):
        matrices = torch.cat([matrix(magnitude[index], size) for index, matrix in chosen])
        images[indices] = warp(images[indices], matrices.to(device, non_blocking=True))
    for name, apply in PHOTOMETRIC.items():
        index = chosen_by(name)
        if len(index):
            there = index.to(device, non_blocking=True)
            images[there] = apply(images[there], magnitude[index].to(device, non_blocking=True))
