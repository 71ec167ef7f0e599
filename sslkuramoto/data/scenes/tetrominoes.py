"""Three coloured tetrominoes on black, apart from each other, like Tetrominoes of Kabra et al. 2019.

The images of https://github.com/google-deepmind/multi_object_datasets have 35 x 35 pixels, of which AKOrN (Miyato et
al. 2025, arXiv 2410.13821) keeps rows and columns 1 to 32. Shapes: n images, k pieces of an image.
"""

from functools import cache
from itertools import combinations

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.data.images.image_set import own_side
from sslkuramoto.data.scenes.chunks import CHUNK, made_in_chunks
from sslkuramoto.data.scenes.scene_set import SceneSet, generated
from sslkuramoto.data.scenes.stamps import coloured, painted
from sslkuramoto.values import Repeats, Seed, checked, small

CELL, CANVAS, FIRST, SIDE = 5, 35, 1, 32
PIECES = 3
_LETTERS = ("OO/OO", "TTT/.T.", ".SS/SS.", "ZZ./.ZZ", "LLL/L..", "JJJ/..J")  # I is left out in both orientations
_RED, _GREEN, _BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = (_RED, _GREEN, _BLUE, (255, 255, 0), (255, 0, 255), (0, 255, 255))


@cache
def pieces() -> tuple[Bool[Tensor, "17 15 15"], Int64[Tensor, "17 2"]]:
    """Return the 17 tetrominoes that fit 3 x 3 cells, in each orientation once, and their height and width in pixels.

    Of the 19 fixed tetrominoes the two I bars are left out, which do not fit.
    """
    found: dict[tuple[tuple[int, ...], ...], None] = {}
    for text in _LETTERS:
        cells = torch.tensor([[letter != "." for letter in row] for row in text.split("/")]).int()
        for turn in range(4):
            found[tuple(map(tuple, cells.rot90(turn).tolist()))] = None
    stamps = torch.zeros(len(found), 3, 3, dtype=torch.bool)
    for stamp, rows in zip(stamps, found, strict=True):
        stamp[: len(rows), : len(rows[0])] = torch.tensor(rows)
    extent = CELL * torch.tensor([[len(rows), len(rows[0])] for rows in found])
    return stamps.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2), extent


@own_side(SIDE)
@small(scenes=24, scenes_test=20)
@checked
def tetrominoes(split: str, *, scenes: Repeats = 60_000, scenes_test: Repeats = 320, scene_seed: Seed = 0) -> SceneSet:
    """Return three coloured tetrominoes on black in 32 x 32 pixels, with masks, generated without a download.

    Args:
        split: "train", "val" or "test".
        scenes: number of training images.
        scenes_test: number of images in the val split and in the test split.
        scene_seed: seed of the scenes; the splits differ for every seed.

    Source: the description of Tetrominoes in Kabra et al. 2019. Differs: which 17 orientations, and that a piece may
        lie at any pixel, are our reading of it; its own images are read by ``multi_object_npz``.
    """
    counts = {"train": scenes, "val": scenes_test, "test": scenes_test}
    return generated(
        "tetrominoes", split, counts, lambda n, part: made_in_chunks(drawn, n, scene_seed, "tetrominoes", part)
    )


def drawn(draw: torch.Generator) -> tuple[UInt8[Tensor, "n 3 32 32"], UInt8[Tensor, "n 32 32"]]:
    """Return the images and masks of one chunk."""
    stamps, extent = pieces()
    shape = (CHUNK, PIECES)
    colour = torch.randint(0, len(COLOURS), shape, generator=draw)
    kind, at = torch.zeros(shape, dtype=torch.int64), torch.zeros(*shape, 2, dtype=torch.int64)
    again = torch.ones(CHUNK, dtype=torch.bool)
    while again.any():  # scenes whose pieces overlap are drawn anew
        count = (int(again.sum()), PIECES)
        kind[again] = torch.randint(0, len(stamps), count, generator=draw)
        free = CANVAS - extent[kind[again]] + 1
        at[again] = (torch.rand(*count, 2, generator=draw) * free).long().minimum(free - 1)
        again = torch.stack([_meet(kind, at, one, other) for one, other in combinations(range(PIECES), 2)]).any(dim=0)
    roomy = CANVAS + stamps.shape[-1]  # a stamp may end in empty cells
    masks = painted(stamps, kind, at[..., 0], at[..., 1], torch.ones(shape, dtype=torch.bool), side=roomy)
    masks = masks[:, FIRST : FIRST + SIDE, FIRST : FIRST + SIDE].contiguous()
    palette = torch.tensor([(0, 0, 0), *COLOURS], dtype=torch.uint8)
    return coloured(masks, palette[F.pad(colour + 1, (1, 0))]), masks


@cache
def _overlaps() -> Bool[Tensor, "17 17 29 29"]:
    """Return whether two pieces share a pixel, for each offset of the second from -14 to 14 rows and columns."""
    stamps = pieces()[0].float()
    reach = stamps.shape[-1] - 1
    shared = F.conv2d(stamps[:, None], stamps[:, None], padding=reach)
    return shared > 0.5


def _meet(kind: Tensor, at: Tensor, one: int, other: int) -> Bool[Tensor, " n"]:
    """Return in which scenes two pieces share a pixel."""
    apart = at[:, other] - at[:, one]
    reach = _overlaps().shape[-1] // 2
    near = (apart.abs() <= reach).all(dim=1)
    y, x = (apart.clamp(-reach, reach) + reach).unbind(dim=1)
    return near & _overlaps()[kind[:, one], kind[:, other], y, x]
