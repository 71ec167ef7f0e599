"""From an encoded image to a square uint8 tensor.

Every image takes this one path, so that a set in memory and a streamed one hold the same pixels: Pillow decodes,
torchvision's antialiased bilinear filter brings the short side to the wanted size, the centre is cut out.

Shapes: y x native height and width, s side of the square.
"""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional

from sslkuramoto.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, AttributeError, RuntimeError)
_DAMAGE += (struct.error, zlib.error, Image.DecompressionBombError, NotImplementedError, OverflowError)


def broken(where: str, reason: object) -> UserError:
    """Return the error for an image that cannot be decoded, in one line."""
    line = " ".join(str(reason).split()) or type(reason).__name__
    return UserError(f"broken image {where}: {line}")


def decode(read: Callable[[], bytes], where: str) -> UInt8[Tensor, "3 y x"]:
    """Read and decode one image; grey is repeated to three channels, transparency is dropped.

    Args:
        read: returns the encoded bytes.
        where: the image's name in errors.

    Raises:
        UserError: unreadable, damaged or truncated; or with more than 8 bits a channel.
    """
    try:
        encoded = read()
    except Exception as error:  # disk, zip checksum, encryption: whatever it is, it concerns this file
        raise broken(where, error) from None
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return from_pillow(image, where)
    except UserError:
        raise
    except _DAMAGE as error:
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else error
        raise broken(where, reason) from None


def from_pillow(image: Image.Image, where: str) -> UInt8[Tensor, "3 y x"]:
    """Return a Pillow image as a tensor of three channels."""
    if image.mode[0] in "IF":
        raise broken(where, f"pixels of mode {image.mode} hold more than 8 bits a channel; convert the file")
    with suppress(*_DAMAGE):  # a damaged tag says nothing of the pixels
        image = ImageOps.exif_transpose(image)  # as a viewer shows it: cameras store a turned picture and a tag
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about a transparent palette otherwise
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class Frame:
    """The square that every image of a set is brought to.

    Attributes:
        side: its side in pixels.
        resize: whether images of another size are resized and cropped; without it they are an error.
    """

    side: int
    resize: bool

    @staticmethod
    def native(first: UInt8[Tensor, "3 y x"], where: str) -> "Frame":
        """Return the frame of a set that keeps its own size, as its first image shows it."""
        height, width = first.shape[1:]
        if height != width:
            raise UserError(f"size=null: {where} is {width}x{height} pixels, not square; give a size, say size=32")
        return Frame(height, resize=False)

    def fit(self, image: UInt8[Tensor, "3 y x"], where: str) -> UInt8[Tensor, "3 s s"]:
        """Return ``image`` with its short side resized to the frame and its centre cut out."""
        height, width = image.shape[1:]
        if (height, width) == (self.side, self.side):
            return image
        if not self.resize:
            raise UserError(
                f"size=null: {where} is {width}x{height} pixels, others are {self.side}x{self.side};"
                f" give a size, say size={self.side}"
            )
        if min(height, width) != self.side:
            image = functional.resize(image, [self.side], antialias=True)
        return functional.center_crop(image, [self.side, self.side]).contiguous()
