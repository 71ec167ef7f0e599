"""Figures as files of their own: SVG, PDF, PNG in the colours of a light page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.collections import Collection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically

# The placeholders of drawing.py and what a light page shows for them; page.css has the same for the browser.
INK, FAINT = "#010203", "#040506"
SERIES = tuple(f"#0a0b{index:02x}" for index in range(8))
LIGHT = dict(
    zip(
        (INK, FAINT, *SERIES),
        ("#1b1f24", "#626b75", "#0068b3", "#c84d00", "#00805e", "#a8377e", "#8a6a00", "#5b4bc4", "#3c7f9c", "#5c5c5c"),
        strict=True,
    )
)
ENDINGS = ("svg", "pdf", "png")
LONGEST = 60  # characters of a file's name
_FOLDER: ContextVar[Path | None] = ContextVar("folder of exported figures", default=None)


@contextmanager
def exported_to(folder: Path | None) -> Iterator[None]:
    """While it lasts, every figure of a page is also written to ``folder`` as SVG and PDF; None: no figure is."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def export(figure: Figure, *, alt: str, name: str) -> None:
    """Write a figure as SVG and PDF where :func:`exported_to` asks for it; its name says what it shows."""
    folder = _FOLDER.get()
    if folder is None:
        return
    words = re.sub(r"[^a-z0-9]+", "-", f"{name} {alt.partition('.')[0]}".lower()).strip("-")
    for ending in ("svg", "pdf"):
        write_figure(figure, folder / f"{words[:LONGEST].rstrip('-')}.{ending}")


def write_figure(figure: Figure, path: Path) -> Path:
    """Write a figure in the colours of a light page, whole or not at all.

    Args:
        figure: drawn with the placeholder colours.
        path: ends in ``.svg``, ``.pdf`` or ``.png``.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ENDINGS:
        raise UserError(f"{path}: must end in one of {', '.join('.' + each for each in ENDINGS)}")
    figure.draw_without_rendering()  # makes the ticks, which are coloured too
    with _in_light_colours(figure):
        out = BytesIO()
        dated: dict[str, Any] = (
            {} if ending == "png" else {"metadata": {"Date" if ending == "svg" else "CreationDate": None}}
        )
        figure.savefig(out, format=ending, dpi=200, **dated)
    write_atomically(path, out.getvalue())
    return path


@contextmanager
def _in_light_colours(figure: Figure) -> Iterator[None]:
    """Give every artist of a figure the colours of a light page, and take them back."""
    changed: list[tuple[Artist, str, object]] = []
    for artist in figure.findobj():
        for what in _coloured(artist):
            before = getattr(artist, f"get_{what}")()
            after = _light(before)
            if after is not None:
                changed.append((artist, what, before))
                getattr(artist, f"set_{what}")(after)
    try:
        yield
    finally:
        for artist, what, before in reversed(changed):
            getattr(artist, f"set_{what}")(before)


def _coloured(artist: Artist) -> tuple[str, ...]:
    if isinstance(artist, Line2D):
        return ("color", "markerfacecolor", "markeredgecolor")
    if isinstance(artist, Text):
        return ("color",)
    return ("facecolor", "edgecolor") if isinstance(artist, Patch | Collection) else ()


def _light(colour: object) -> object | None:
    """Return the light page's colour for a placeholder or for a list of them; None where there is none among them."""
    if colour is None or (isinstance(colour, str) and colour in ("none", "auto")):
        return None
    several = not isinstance(colour, str | tuple)
    colours = [to_rgba(one) for one in colour] if several else [to_rgba(colour)]  # pyright: ignore
    made = [(*to_rgba(LIGHT.get(to_hex(one), to_hex(one)))[:3], one[3]) for one in colours]
    if made == colours or not made:
        return None
    return made if several else made[0]
