"""Hollow shapes that overlap, on a grey background: the data set Shapes of Miyato et al. 2025 (arXiv 2410.13821).

Each image holds two to four of triangle, square, circle and diamond, white on an even grey between 0.1 and 0.6. A pixel
of several shapes belongs to none and is ignored. Shapes: n images, k shapes of an image, s side of the images.
"""

from typing import Annotated

import torch
from jaxtyping import Bool, UInt8
from pydantic import Field
from torch import Tensor

from sslkuramoto.data.scenes.chunks import CHUNK, made_in_chunks
from sslkuramoto.data.scenes.scene_set import IGNORED, SceneSet, generated
from sslkuramoto.data.scenes.stamps import coloured, disk, painted, polygon, rectangle
from sslkuramoto.values import Repeats, Seed, checked, small

STAMP = 18
"""Side of a stamp, pixels."""
FEWEST, MOST = 2, 4
DARKEST, LIGHTEST = 0.1, 0.6


def outlines() -> Bool[Tensor, "4 18 18"]:
    """Return the stamps of triangle, square, circle and diamond."""
    found = [
        polygon([(4, 8), (11, 1), (11, 15)], STAMP) & ~polygon([(6, 8), (9, 5), (9, 11)], STAMP),
        rectangle(3, 3, 12, 12, STAMP) & ~rectangle(5, 5, 10, 10, STAMP),
        disk((8, 8), 7, STAMP) & ~disk((8, 8), 5, STAMP),
        polygon([(8, 2), (2, 8), (8, 14), (14, 8)], STAMP) & ~polygon([(8, 4), (4, 8), (8, 12), (12, 8)], STAMP),
    ]
    return torch.stack(found)


@small(scenes=24, scenes_test=20)
@checked
def shapes(
    split: str,
    *,
    size: Annotated[int, Field(ge=STAMP, le=1024)] = 40,
    scenes: Repeats = 40_000,
    scenes_test: Repeats = 1000,
    scene_seed: Seed = 0,
) -> SceneSet:
    """Return hollow white shapes on grey that overlap, with masks, generated without a download.

    Args:
        split: "train", "val" or "test".
        size: side of the images in pixels; the shapes keep theirs, within 18 pixels.
        scenes: number of training images.
        scenes_test: number of images in the val split and in the test split.
        scene_seed: seed of the scenes; the splits differ for every seed.

    Source: Miyato et al. 2025, appendix on data sets, and its published generator. Differs: pixels are rounded to 8
        bits.
    """

    def chunk(draw: torch.Generator) -> tuple[Tensor, Tensor]:
        return drawn(draw, size)

    counts = {"train": scenes, "val": scenes_test, "test": scenes_test}
    return generated(
        "shapes", split, counts, lambda n, part: made_in_chunks(chunk, n, scene_seed, "shapes", part, size)
    )


def drawn(draw: torch.Generator, size: int) -> tuple[UInt8[Tensor, "n 3 s s"], UInt8[Tensor, "n s s"]]:
    """Return the images and masks of one chunk."""
    shape = (CHUNK, MOST)
    count = torch.randint(FEWEST, MOST + 1, (CHUNK, 1), generator=draw)
    kind = torch.randint(0, 4, shape, generator=draw)
    top, left = torch.randint(0, size - STAMP + 1, (2, *shape), generator=draw)
    grey = DARKEST + (LIGHTEST - DARKEST) * torch.rand(CHUNK, generator=draw)
    masks = painted(outlines(), kind, top, left, torch.arange(MOST) < count, side=size, overlap=IGNORED)
    palette = torch.stack([(255 * grey).round(), torch.full_like(grey, 255)], dim=1).to(torch.uint8)
    return coloured((masks > 0).to(torch.uint8), palette[..., None].expand(-1, -1, 3)), masks
