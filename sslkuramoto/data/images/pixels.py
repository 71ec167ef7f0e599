"""Decodes an image file to a square uint8 tensor.

All images are decoded by these functions, so that a set in memory and a streamed one have the same pixels. Pillow
decodes, torchvision's antialiased bilinear filter resizes the short side, and the centre is cut out.

Shapes: y x native height and width, s side of the square.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from sslkuramoto.errors import UserError

T = TypeVar("T")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

# Exceptions that Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, LookupError, EOFError, AttributeError, RuntimeError)
_DAMAGE += (struct.error, zlib.error, Image.DecompressionBombError, NotImplementedError, OverflowError)


def broken(where: str, reason: object) -> UserError:
    """Return the one-line error for an image that cannot be decoded."""
    line = " ".join(str(reason).split()) or type(reason).__name__
    return UserError(f"broken image {where}: {line}")


def from_pillow(image: Image.Image, where: str) -> UInt8[Tensor, "3 y x"]:
    """Return a Pillow image as a tensor of three channels, turned by its EXIF orientation.

    The channels of a pixel lie side by side in memory, as Pillow has them: :meth:`Frame.fit` resizes them so in half
    of the time and separates them afterwards.

    Raises:
        UserError: more than 8 bits a channel, as far as Pillow tells: not of a colour image that is already loaded.
    """
    if image.mode[0] in "IF" or _is_deep(image):
        raise broken(where, f"pixels of mode {image.mode} hold more than 8 bits a channel; convert the file")
    with suppress(*_DAMAGE):  # the pixels may be sound although a tag is damaged
        image = ImageOps.exif_transpose(image)  # cameras store a rotated picture with a tag; show it as a viewer does
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about a transparent palette otherwise
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _is_deep(image: Image.Image) -> bool:
    """Return whether a file that is opened and not yet read holds more than 8 bits a channel, which Pillow would cut.

    Its decoders are told how the pixels lie: PNG and TIFF by words such as "RGB;16B" ("BGR;16" of BMP is 16 bits for
    all three channels), PPM by the largest level.
    """
    for tile in getattr(image, "tile", ()):
        told: tuple[Any, ...] = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if tile[0] in ("ppm", "ppm_plain") and told[1] > 255:
            return True
        if isinstance(told[0], str) and re.fullmatch(r"(LA|RGB[AaX]?|CMYK);16[BLN]", told[0]):
            return True
    return False


def decode(read: Callable[[], bytes], where: str, convert: Callable[[Image.Image, str], T] = from_pillow) -> T:
    """Read and decode one image to three channels; a grey image is repeated, transparency is dropped.

    Args:
        read: function that returns the content of the file.
        where: name of the image for error messages.
        convert: (image, where) -> what is wanted of it.

    Raises:
        UserError: the image is unreadable, damaged or truncated, or has more than 8 bits per channel (JPEG 2000, which
            only other packages hand over, is not told apart).
    """
    try:
        encoded = read()
    except Exception as error:  # disk, zip checksum, encryption: any error here concerns this file
        raise broken(where, error) from None
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return convert(image, where)
    except UserError:
        raise
    except _DAMAGE as error:
        reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else error
        raise broken(where, reason) from None


def centre_of(image: UInt8[Tensor, "c y x"], share: float) -> UInt8[Tensor, "c a b"]:
    """Return the central square whose side is ``share`` of the short side, rounded down; all of the image for 1."""
    if share == 1:
        return image
    height, width = image.shape[1:]
    side = int(share * min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return image[:, top : top + side, left : left + side].contiguous()


@dataclass(frozen=True)
class Frame:
    """The square size of all images of a set.

    Attributes:
        side: side of the square in pixels.
        resize: whether images of another size are resized and cropped (False: they are an error).
    """

    side: int
    resize: bool

    @staticmethod
    def native(first: UInt8[Tensor, "3 y x"], where: str) -> "Frame":
        """Return the frame of a set that keeps its own size, that of its first image."""
        height, width = first.shape[1:]
        if height != width:
            raise UserError(f"size=null: {where} is {width}x{height} pixels, not square; give a size, such as size=32")
        return Frame(height, resize=False)

    def fit(self, image: UInt8[Tensor, "3 y x"], where: str) -> UInt8[Tensor, "3 s s"]:
        """Return ``image`` with its short side resized to the frame, cropped to its centre, in contiguous memory."""
        height, width = image.shape[1:]
        if (height, width) == (self.side, self.side):
            return image.contiguous()
        if not self.resize:
            raise UserError(
                f"size=null: {where} is {width}x{height} pixels, others are {self.side}x{self.side};"
                f" give a size, such as size={self.side}"
            )
        from torchvision.transforms.v2 import functional  # slow to load, and equal sizes need none

        if min(height, width) != self.side:
            image = functional.resize(image, [self.side], antialias=True)
        return functional.center_crop(image, [self.side, self.side]).contiguous()
