"""Channels side by side in memory change the time of resizing, and no pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from sslkuramoto.data.images.pixels import Frame, from_pillow


@pytest.mark.parametrize("side", [5, 16, 31, 64])
@pytest.mark.parametrize("height", [16, 37])
@pytest.mark.parametrize("width", [16, 40])
def test_resizing_gives_the_pixels_of_an_image_whose_channels_lie_apart(side, height, width):
    levels = np.random.default_rng(side).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = from_pillow(Image.fromarray(levels), "image")
    assert torch.equal(image, torch.from_numpy(levels).permute(2, 0, 1))
    fitted = Frame(side, resize=True).fit(image, "image")
    assert torch.equal(fitted, Frame(side, resize=True).fit(image.contiguous(), "image"))
    assert fitted.is_contiguous()
    assert fitted.shape == (3, side, side)
