"""Crops: random resized (Szegedy et al. 2014, arXiv:1409.4842), random after padding, and the centre after enlarging.

Boxes are whole pixels (top, left, height, width). A box is never larger than the result, so it is only ever enlarged,
and antialiasing has no effect.

Differs: kornia draws the boxes, but its resampling is not used. Its mode ``resample`` aligns the centres of the corner
pixels, whereas torchvision and Pillow align the edges; on noise the results differ by 3 % of the range on average. Its
mode ``slice`` aligns the edges, but copies image by image.

Shapes: b batch, y x pixels, s size of the output.
"""

import torch
from jaxtyping import Float, Int
from kornia.augmentation.random_generator import ResizedCropGenerator
from torch import Tensor, nn
from torch.nn import functional

Boxes = Int[Tensor, "b 4"]


def _source(start: Tensor, extent: Tensor, size: int) -> Float[Tensor, "b s"]:
    """Return the coordinate along one axis, in pixels, from which each output pixel is read; clamped to the box."""
    steps = torch.arange(size, device=start.device, dtype=torch.float32) + 0.5
    offset = steps * (extent[:, None] / size) - 0.5
    return start[:, None] + torch.minimum(offset.clamp(min=0.0), extent[:, None] - 1.0)


def resized_crop(images: Float[Tensor, "b 3 y x"], boxes: Boxes, size: int) -> Float[Tensor, "b 3 s s"]:
    """Cut one box out of each image and enlarge it bilinearly, as torchvision's ``resized_crop`` does.

    Args:
        images: pixels in [0, 1].
        boxes: top, left, height and width in pixels; height and width are at most ``size``.
        size: side of the result in pixels.
    """
    top, left, height, width = boxes.to(images.device, torch.float32, non_blocking=True).unbind(1)
    rows = (2.0 * _source(top, height, size) + 1.0) / images.shape[-2] - 1.0
    columns = (2.0 * _source(left, width, size) + 1.0) / images.shape[-1] - 1.0
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=-1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


class RandomResizedCrop(nn.Module):
    """Cut out a box of random area, aspect ratio and position, and enlarge it to the size of the image.

    Args:
        size: side of the images in pixels.
        scale: range (low, high) of the box's area as a share of the image, in (0, 1], uniform.
        ratio: range (low, high) of the box's width / height, uniform in the logarithm.

    Differs: if none of ten drawn boxes fits, torchvision takes the largest box in the centre. kornia and this class
        take one at a random position. With ratios on both sides of 1 either is the whole image.
    """

    def __init__(self, size: int, *, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.scale = scale
        self.ratio = ratio
        self._sampler = ResizedCropGenerator((size, size), scale, ratio)

    def boxes(self, count: int) -> Boxes:
        """Draw ``count`` boxes, on the CPU."""
        corners = self._sampler(torch.Size((count, 3, self.size, self.size)))["src"].long()
        top_left, bottom_right = corners[:, 0].flip(1), corners[:, 2].flip(1)
        return torch.cat([top_left, bottom_right - top_left + 1], dim=1)

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        return resized_crop(images, self.boxes(len(images)), self.size)

    def extra_repr(self) -> str:
        return f"{self.size}, scale={self.scale}, ratio={self.ratio}"


class RandomPaddedCrop(nn.Module):
    """Pad the image with a black frame and cut it back to its size at a random position.

    Args:
        padding: width of the frame in pixels, >= 1.
    """

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        count, _, height, width = images.shape
        device = images.device
        rows, columns = torch.randint(0, 2 * self.padding + 1, (2, count)).to(device, non_blocking=True)
        padded = functional.pad(images, (self.padding,) * 4)
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # every crop, "b 3 rows columns y x", not copied
        return windows[torch.arange(count, device=device), :, rows, columns]

    def extra_repr(self) -> str:
        return f"padding={self.padding}"


class EnlargedCentre(nn.Module):
    """Enlarge the image by 8/7 (bicubic; 32 -> 36 pixels, 224 -> 256) and cut it back to its size in the centre.

    Source: the clean view of PhiNet's published code, ``transform_ori`` (Ishikawa et al. 2024, arXiv:2405.14650).
    """

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        size = images.shape[-1]
        enlarged = size * 8 // 7
        # With antialias=True torch uses Pillow's bicubic kernel (a = -0.5), otherwise a kernel with a = -0.75.
        large = functional.interpolate(images, (enlarged, enlarged), mode="bicubic", antialias=True)
        start = round((enlarged - size) / 2)
        return large[..., start : start + size, start : start + size].clamp(0.0, 1.0)
