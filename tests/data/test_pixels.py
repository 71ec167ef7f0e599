"""Channels side by side in memory change the time of resizing, and no pixel; deep pixels are refused, not cut."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from sslkuramoto.data.images.pixels import Frame, decode, from_pillow
from sslkuramoto.errors import UserError


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


def png(depth: int, colour: int, channels: int) -> bytes:
    """Return a PNG of 2x2 pixels as its specification lays it out; all levels are the largest."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + b"\xff" * (2 * channels * depth // 8)
    header = struct.pack(">IIBBBBB", 2, 2, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(2 * row)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(depth: int, samples: int, order: str, packed: bool = False) -> bytes:
    """Return a TIFF of one white pixel with ``samples`` channels, in either order of bytes."""
    pixel = b"\xff" * (samples * depth // 8)
    strip = zlib.compress(pixel) if packed else pixel
    tags = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, samples, 0), (259, 3, 1, 8 if packed else 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, 0), (277, 3, 1, samples), (278, 3, 1, 1), (279, 4, 1, len(strip))]
    end = 8 + 2 + 12 * len(tags) + 4
    place = {258: end, 273: end + 2 * samples}
    entries = b""
    for tag, kind, count, value in tags:
        value = place.get(tag, value)
        wide = kind == 4 or tag == 258
        entries += struct.pack(f"{order}HHI", tag, kind, count)
        entries += struct.pack(f"{order}I", value) if wide else struct.pack(f"{order}HH", value, 0)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    depths = struct.pack(f"{order}{samples}H", *[depth] * samples)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + depths + strip


def ppm(largest: int) -> bytes:
    return f"P6 2 2 {largest}\n".encode() + struct.pack(">H" if largest > 255 else "B", largest) * 12


DEEP = {
    "png of grey": png(16, 0, 1),
    "png of colours": png(16, 2, 3),
    "png of grey with alpha": png(16, 4, 2),
    "png of colours with alpha": png(16, 6, 4),
    "ppm": ppm(65535),
    "ppm of ten bits": ppm(1023),
    "ppm in words": b"P3 1 1 4095 4095 4095 4095",
    "tiff, low byte first": tiff(16, 3, "<"),
    "tiff, high byte first": tiff(16, 3, ">"),
    "packed tiff": tiff(16, 3, "<", packed=True),
}


def bmp_of_sixteen_bits() -> bytes:
    """Return a white BMP of 2x2 pixels with 5 bits for each channel."""
    row = struct.pack("<HH", 0x7FFF, 0x7FFF)
    header = struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 0, 2 * len(row), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 2 * len(row), 0, 0, 54) + header + 2 * row


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_eight_bits_a_channel_are_refused_and_not_cut(kind: str) -> None:
    with pytest.raises(UserError, match=r"broken image x: pixels of mode .* hold more than 8 bits a channel; convert"):
        decode(lambda: DEEP[kind], "x")


@pytest.mark.parametrize(
    "encoded",
    [
        png(8, 0, 1),
        png(8, 2, 3),
        png(8, 4, 2),
        png(8, 6, 4),
        ppm(255),
        ppm(100),
        tiff(8, 3, "<"),
        tiff(8, 3, ">", packed=True),
        bmp_of_sixteen_bits(),
    ],
)
def test_at_most_eight_bits_a_channel_are_read(encoded: bytes) -> None:
    assert decode(lambda: encoded, "x").unique().tolist() == [255]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM"])
def test_every_kind_of_file_is_read(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 255, 255)).save(file, format)
    assert decode(file.getvalue, "x").unique().tolist() == [255]
