"""Two to five coloured sprites on grey, the later in front: like Multi-dSprites of Kabra et al. 2019 (on grayscale).

https://github.com/google-deepmind/multi_object_datasets. Sprites are those of dSprites (Matthey et al. 2017): oval,
heart and square in six scales and forty orientations. Shapes: n images, k sprites of an image, s side of the images.
"""

from functools import cache
from math import ceil
from typing import Annotated

import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.data.scenes.chunks import CHUNK, made_in_chunks
from sslkuramoto.data.scenes.scene_set import SceneSet, generated
from sslkuramoto.data.scenes.stamps import coloured, painted
from sslkuramoto.values import Repeats, Seed, checked, small

FEWEST, MOST = 2, 5
SCALES, ORIENTATIONS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 40
RADIUS = 14 / 64
"""Radius of the circle around a sprite of scale 1, in sides of the image."""
LEAST = 10
"""A sprite with fewer visible pixels is taken out of the scene, in images of 64 pixels."""


@cache
def stamps_of(size: int) -> Bool[Tensor, "720 a a"]:
    """Return every sprite, 1 inside: shapes x scales x orientations.

    Args:
        size: s, side of the images in pixels.
    """
    reach = ceil(RADIUS * size)
    along = torch.arange(-reach, reach + 1) / (RADIUS * size)
    scale = torch.tensor(SCALES)[:, None, None, None]
    turn = (torch.arange(ORIENTATIONS) * 2 * torch.pi / ORIENTATIONS)[:, None, None]
    y, x = along[:, None] / scale, along / scale
    u, v = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    square = (u.abs() <= 0.5**0.5) & (v.abs() <= 0.5**0.5)
    oval = u**2 + (v / 0.6) ** 2 <= 1
    p, q = 1.35 * u, 0.1 - 1.35 * v  # fits the heart into the circle; rows count downwards
    heart = (p**2 + q**2 - 1) ** 3 - p**2 * q**3 <= 0
    return torch.stack([oval, heart, square]).flatten(0, 2)


@small(scenes=24, scenes_test=20, size=32)
@checked
def sprites(
    split: str,
    *,
    size: Annotated[int, Field(ge=16, le=512)] = 64,
    scenes: Repeats = 60_000,
    scenes_test: Repeats = 320,
    scene_seed: Seed = 0,
) -> SceneSet:
    """Return two to five coloured sprites that hide each other, with masks, generated without a download.

    Args:
        split: "train", "val" or "test".
        size: side of the images in pixels; sprites grow with it.
        scenes: number of training images.
        scenes_test: number of images in the val split and in the test split.
        scene_seed: seed of the scenes; the splits differ for every seed.

    Source: the description of Multi-dSprites in Kabra et al. 2019. Differs: formulae for the sprites, colours even over
        hue, saturation and value; its own images are read by ``multi_object_npz``.
    """

    def chunk(draw: torch.Generator) -> tuple[Tensor, Tensor]:
        return drawn(draw, size)

    counts = {"train": scenes, "val": scenes_test, "test": scenes_test}
    return generated(
        "sprites", split, counts, lambda n, part: made_in_chunks(chunk, n, scene_seed, "sprites", part, size)
    )


def drawn(draw: torch.Generator, size: int) -> tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n s s"]]:
    """Return the images and masks of one chunk."""
    stamps, shape = stamps_of(size), (CHUNK, MOST)
    count = torch.randint(FEWEST, MOST + 1, (CHUNK, 1), generator=draw)
    kind = torch.randint(0, len(stamps), shape, generator=draw)
    top, left = torch.randint(0, size - stamps.shape[-1] + 1, (2, *shape), generator=draw)
    colour = rgb_of(torch.rand(*shape, 3, generator=draw))
    grey = torch.rand(CHUNK, 1, 1, generator=draw).expand(-1, -1, 3)
    present = torch.arange(MOST) < count
    found = painted(stamps, kind, top, left, present, side=size)
    pixels = torch.tensor([torch.bincount(each, minlength=MOST + 1).tolist() for each in found.flatten(1)])
    seen = present & (pixels[:, 1:] >= LEAST * (size / 64) ** 2)
    redrawn = (seen != present).any(dim=1)
    rest = (each[redrawn] for each in (kind, top, left, seen))
    found[redrawn] = painted(stamps, *rest, side=size)
    palette = (255 * torch.cat([grey, colour], dim=1)).round().to(torch.uint8)
    images = coloured(found, palette)
    number = F.pad(seen[redrawn].long().cumsum(dim=1), (1, 0)).to(torch.uint8)  # without gaps
    found[redrawn] = number.gather(1, found[redrawn].flatten(1).long()).view(-1, size, size)
    return images, found


def rgb_of(hsv: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Return colours in [0,1] from hue, saturation and value in [0,1]."""
    hue, saturation, value = hsv.unbind(dim=-1)
    along = (torch.tensor([5.0, 3.0, 1.0]) + 6 * hue[..., None]) % 6
    ramp = torch.minimum(along, 4 - along).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)
