"""Masks in image files beside the images: levels and places in a palette number the objects, as do colours.

Shapes: m kinds of masks, y x pixels.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from sslkuramoto.data.images.files import ImageFiles
from sslkuramoto.data.images.pixels import broken, centre_of, decode
from sslkuramoto.data.scenes.scene_set import MOST_OBJECTS, Masks
from sslkuramoto.errors import UserError
from sslkuramoto.examples import INSTANCES

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = (None, 1)


@dataclass(frozen=True, eq=False)
class FileMasks(Masks):
    """Masks that are image files.

    Attributes:
        files: of images and masks.
        images: the images, in order.
        masks: the files of each image's masks, in the order of ``names``.
        names: see :class:`Masks`.
        centre: as of :class:`~sslkuramoto.data.images.readers.FileSamples`.
    """

    files: ImageFiles
    images: tuple[str, ...]
    masks: tuple[tuple[str, ...], ...]
    names: tuple[str, ...] = (INSTANCES,)
    centre: float = 1.0

    def read(self, index: int) -> UInt8[Tensor, "m y x"]:
        size = upright_size(self.files, self.images[index])
        return centre_of(torch.stack([self._mask(name, size) for name in self.masks[index]]), self.centre)

    def _mask(self, name: str, size: tuple[int, int]) -> UInt8[Tensor, "y x"]:
        where = self.files.where(name)
        mask = decode(lambda: self.files.read(name), where, numbers_of)
        check_match(where, (mask.shape[0], mask.shape[1]), size)
        return mask

    def digest(self, indices: Tensor) -> bytes:
        digest = hashlib.blake2b()
        for index in indices.tolist():
            for name in self.masks[index]:
                digest.update(f"{name}\x1f{self.files.size(name)}\x1e".encode(errors="surrogateescape"))
        return digest.digest()

    def stamp(self, index: int) -> str:
        return " ".join(self.files.stamp(name) for name in self.masks[index])


def numbers_of(image: Image.Image, where: str) -> UInt8[Tensor, "y x"]:
    """Return the number of each pixel: its level or place in the palette, or the rank of its colour, black being 0.

    Raises:
        UserError: more than 254 colours, or levels of more than 8 bits.
    """
    if image.mode in ("P", "L", "1"):
        return torch.from_numpy(np.array(image).astype(np.uint8))
    if image.mode[0] in "IF":
        raise broken(where, f"a mask of mode {image.mode}; must have at most 8 bits a pixel")
    colours = np.array(image.convert("RGB")).astype(np.int64) @ np.array([65536, 256, 1])
    found, place = np.unique(colours, return_inverse=True)
    if len(found) > MOST_OBJECTS:
        raise broken(where, f"a mask of {len(found)} colours; must have one for each object, at most {MOST_OBJECTS}")
    start = 0 if found[0] == 0 else 1
    return torch.from_numpy((place.reshape(colours.shape) + start).astype(np.uint8))


def upright_size(files: ImageFiles, name: str) -> tuple[int, int]:
    """Return height and width of an image.

    Raises:
        UserError: it cannot be read, or is stored turned, so that a mask would not fit.
    """

    def size(image: Image.Image, where: str) -> tuple[int, int]:
        if (turned := image.getexif().get(_ORIENTATION)) not in _UPRIGHT:
            raise broken(where, f"is stored turned (EXIF orientation {turned}), its mask is not; save it upright")
        return image.height, image.width

    return decode(lambda: files.read(name), files.where(name), size)


def check_match(where: str, mask: tuple[int, int], image: tuple[int, int]) -> None:
    """Check that a mask has the size of its image, both (height, width).

    Raises:
        UserError: it has another.
    """
    if mask != image:
        raise UserError(f"{where}: is {mask[1]}x{mask[0]} pixels, its image {image[1]}x{image[0]}: they do not match")


def check_inside(files: ImageFiles, names: Iterable[str]) -> None:
    """Check that no file is a link to a place outside the root.

    Raises:
        UserError: one is.
    """
    roots = tuple(os.path.join(root, "") for root in (str(files.root), os.path.realpath(files.root)))
    for name in names:
        if not files.real(name).startswith(roots):
            raise UserError(f"{files.where(name)}: is a link to a place outside root={files.root}; give that as root")
