"""Pictures of one hundred characters, from which the data of the relational tasks are made.

They are characters of DejaVu Sans, rendered once and shipped, because another version of FreeType renders other greys;
or those of another font file; or strokes on a lattice, which need no font. A bitmap is cropped to its ink and scaled
until its longer side fills it. Shapes: n glyphs, a side of a bitmap.
"""

import hashlib
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sslkuramoto.errors import UserError, one_line
from sslkuramoto.files import at_home
from sslkuramoto.randomness import generator

SIDE = 64
"""Side of a bitmap in pixels."""
CHARACTERS = ">KMv¤±ƙƶʏʤͷϢЋЯшѣѤѭѹѾҩҾӎԏԠԺՃאבמפשᐤᐼᑗᑚᒃᒆᓁᓗᔶᖦ↙↴⇆⇈⇗⇘⇱⇲∓∡∰∷≙≢≧≲≳≶⊂⊒⊕⊟⊴⊵⊿⋈⋐⋑⋖⋜⋶⌅⌌⌎⌘⏨▬▮◐◑◒◢◣◤◥★☊♬♴⚑⚗⚢⚤⛃✖✜✼ⵥ"
"""The characters of the shipped bitmaps, in order: chosen from the alphabets and symbols of DejaVu Sans so that any two
of them differ clearly, wherever they stand and however large they are."""
FILE = Path(__file__).with_name("dejavu_sans.png")
"""The shipped bitmaps, ten in a row; ``scripts/make_glyphs.py`` makes the file."""
HASH = "3916d453999c35fe5755bcecf782bcc742ef6b12bbd17b28c6b58e3437bb863b"
"""SHA-256 of the bytes of the shipped bitmaps."""
ALIKE = 0.04
"""Two glyphs must differ by more than this: the mean difference of their pixels, of 1."""
STROKES = 100
"""Number of glyphs of the family of strokes."""
_LATTICE, _LINES, _WIDTH = 5, (4, 5, 6), 6  # points a side; strokes of a glyph; pixels, in a bitmap of 64
_DRAWN = 256  # pixels of the longer side of a letter, or of the lattice, before it is scaled down

Family = Literal["font", "strokes"]


class Glyphs(NamedTuple):
    """Bitmaps with their names.

    Attributes:
        bitmaps: 255 is ink, 0 is paper.
        names: the characters, or "stroke 0", "stroke 1", ...
    """

    bitmaps: UInt8[Tensor, "n a a"]
    names: tuple[str, ...]


def glyphs_of(family: Family, font: str | None, characters: str | None) -> Glyphs:
    """Return the glyphs that the options of a data source name.

    Args:
        family: ``"font"`` or ``"strokes"``.
        font: file of a font to be used in place of the shipped bitmaps.
        characters: that are taken from ``font``; None: :data:`CHARACTERS`.

    Raises:
        UserError: a file that is no font, or a font that lacks a character.
    """
    if family == "strokes":
        bitmaps = stroke_bitmaps()
        return Glyphs(bitmaps, tuple(f"stroke {number}" for number in range(len(bitmaps))))
    if font is None:
        return Glyphs(shipped_bitmaps(), tuple(CHARACTERS))
    wanted = CHARACTERS if characters is None else characters
    return Glyphs(font_bitmaps(font, wanted), tuple(wanted))


def number_of(family: Family, font: str | None, characters: str | None) -> int:
    """Return how many glyphs :func:`glyphs_of` gives, before any is drawn.

    Raises:
        UserError: characters without a font or twice the same one, or a font for strokes.
    """
    if family == "strokes" and font is not None:
        raise UserError(f"font={font}: needs glyphs=font; glyphs=strokes are drawn without a font")
    if characters is not None and font is None:
        raise UserError("characters: needs font, a font file; the shipped bitmaps have characters of their own")
    if family == "strokes":
        return STROKES
    wanted = CHARACTERS if characters is None else characters
    if len(set(wanted)) < len(wanted):
        raise UserError(f"characters: {_named(next(sign for sign in wanted if wanted.count(sign) > 1))} is there twice")
    return len(wanted)


@cache
def shipped_bitmaps() -> UInt8[Tensor, "n a a"]:
    """Return the shipped bitmaps of :data:`CHARACTERS`."""
    with Image.open(FILE) as sheet:
        found = from_sheet(torch.from_numpy(np.array(sheet.convert("L"))))
    assert hash_of(found) == HASH, f"{FILE} is damaged; install the package again"
    return found


def hash_of(bitmaps: UInt8[Tensor, "n a a"]) -> str:
    """Return the SHA-256 of the bytes of bitmaps."""
    return hashlib.sha256(bitmaps.contiguous().numpy().tobytes()).hexdigest()


def as_sheet(bitmaps: UInt8[Tensor, "n a a"]) -> UInt8[Tensor, "y x"]:
    """Return bitmaps as one picture, ten in a row; their number is a multiple of ten."""
    a = bitmaps.shape[-1]
    return bitmaps.view(-1, 10, a, a).transpose(1, 2).reshape(-1, 10 * a)


def from_sheet(sheet: UInt8[Tensor, "y x"]) -> UInt8[Tensor, "n a a"]:
    """Return the bitmaps of a sheet of :func:`as_sheet`."""
    a = sheet.shape[1] // 10
    return sheet.view(-1, a, 10, a).transpose(1, 2).reshape(-1, a, a)


def font_bitmaps(font: str, characters: str) -> UInt8[Tensor, "n a a"]:
    """Render characters of a font file.

    Args:
        font: a file that FreeType reads, such as TrueType.
        characters: no two equal.

    Raises:
        UserError: the file is no font, or it lacks a character, draws nothing for it, or
            draws two that look alike.
    """
    from matplotlib.ft2font import FT2Font

    try:
        file = str(at_home(font))
        known = FT2Font(file).get_charmap()
        face = ImageFont.truetype(file, _DRAWN, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"font={font}: cannot be read as a font: {one_line(error)}") from None
    if lacking := [sign for sign in characters if ord(sign) not in known]:
        more = f" and {len(lacking) - 1} others" if len(lacking) > 1 else ""
        raise UserError(f"font={font}: lacks a glyph for {_named(lacking[0])}{more}; characters= takes others")
    bitmaps = []
    for sign in characters:
        left, top, right, bottom = face.getbbox(sign)
        canvas = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
        ImageDraw.Draw(canvas).text((-left, -top), sign, font=face, fill=255)
        if canvas.getbbox() is None:
            raise UserError(f"font={font}: draws nothing for {_named(sign)}")
        bitmaps.append(_fitted(canvas))
    found = torch.stack(bitmaps)
    apart = differences(found)
    for one, other in combinations(range(len(characters)), 2):
        if apart[one, other] <= ALIKE:
            raise UserError(f"font={font}: {_named(characters[one])} and {_named(characters[other])} look alike")
    return found


def _named(sign: str) -> str:
    return f"{sign!r} (U+{ord(sign):04X})"


def _fitted(canvas: Image.Image) -> UInt8[Tensor, "a a"]:
    """Return a drawing cropped to its ink, in the middle of a bitmap that its longer side fills."""
    ink = canvas.crop(canvas.getbbox())
    scale = SIDE / max(ink.size)
    width, height = (max(1, round(scale * length)) for length in ink.size)
    bitmap = Image.new("L", (SIDE, SIDE))
    bitmap.paste(ink.resize((width, height), Image.Resampling.BOX), ((SIDE - width) // 2, (SIDE - height) // 2))
    return torch.from_numpy(np.array(bitmap))


def differences(bitmaps: UInt8[Tensor, "n a a"]) -> Tensor:
    """Return the mean difference of the pixels of any two bitmaps, in [0, 1], shape "n n"."""
    flat = bitmaps.flatten(1).double() / 255
    return torch.cdist(flat, flat, p=1) / flat.shape[1]


@cache
def stroke_bitmaps() -> UInt8[Tensor, "n a a"]:
    """Draw glyphs of four to six joined strokes between the points of a 5 x 5 lattice, any two clearly different."""
    draw, found = generator("cpu", "glyphs of strokes"), torch.empty(0, SIDE, SIDE, dtype=torch.uint8)
    while len(found) < STROKES:
        glyph = _strokes(draw)
        if len(found) == 0 or differences(torch.cat([glyph[None], found]))[0, 1:].min() > 2 * ALIKE:
            found = torch.cat([found, glyph[None]])
    return found


def _strokes(draw: torch.Generator) -> UInt8[Tensor, "a a"]:
    """Draw one glyph: a walk from point to point, each at most two lattice lines away in both directions.

    A walk must span at least four of the five lines in both directions, or it is drawn anew.
    """
    lines = _LINES[int(torch.randint(len(_LINES), (), generator=draw))]
    points = [torch.randint(_LATTICE, (2,), generator=draw)]
    while len(points) <= lines:
        point = (points[-1] + torch.randint(-2, 3, (2,), generator=draw)).clamp(0, _LATTICE - 1)
        if not torch.equal(point, points[-1]):
            points.append(point)
    reached = torch.stack(points)
    if (reached.amax(dim=0) - reached.amin(dim=0)).min() < _LATTICE - 2:
        return _strokes(draw)
    margin, step = _DRAWN // 8, _DRAWN // (_LATTICE - 1)
    places = [tuple((margin + step * point).tolist()) for point in points]
    canvas = Image.new("L", (_DRAWN + 2 * margin, _DRAWN + 2 * margin))
    pen, width = ImageDraw.Draw(canvas), _WIDTH * _DRAWN // SIDE
    pen.line(places, fill=255, width=width, joint="curve")
    for x, y in (places[0], places[-1]):  # round ends
        pen.ellipse((x - width // 2, y - width // 2, x + width // 2, y + width // 2), fill=255)
    return _fitted(canvas)
