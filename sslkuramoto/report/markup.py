"""Pieces of HTML from templates/, with autoescape: text is shown as it is, and only a template makes Markup."""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

ENVIRONMENT = Environment(
    loader=PackageLoader("sslkuramoto.report"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
)
NOTHING = Markup()


def rendered(template: str, **values: Any) -> Markup:
    """Return what a file of templates/ makes of ``values``."""
    return Markup(ENVIRONMENT.get_template(template).render(values))


@cache
def _parts() -> Any:
    return ENVIRONMENT.get_template("parts.html").module


def joined(pieces: Iterable[object]) -> Markup:
    """Return pieces one after the other; those that are no Markup are escaped."""
    return NOTHING.join(pieces)  # pyright: ignore[reportArgumentType]  # Markup escapes whatever it joins


def element(tag: str, content: object, **attributes: str | None) -> Markup:
    """Return ``<tag ...>content</tag>``.

    Args:
        tag: its name.
        content: Markup, or text.
        **attributes: ``data_sort`` becomes ``data-sort``, ``class_`` becomes ``class``; those that are None are left
            out.
    """
    named = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    return _parts().element(tag, content, named)


def cells(texts: Iterable[object], **attributes: str | None) -> Markup:
    """Return one field of a table for each text, all with the same attributes."""
    return joined(element("td", text, **attributes) for text in texts)


def number_field(text: object, number: float | None) -> Markup:
    """Return a field of a table that is sorted by a number; without one, or with nan or an infinite one, it is last."""
    return element("td", text, data_sort="" if number is None or not math.isfinite(number) else repr(number))


def fine(text: object) -> Markup:
    """Return a remark in small print."""
    return element("p", text, class_="fine")


def figure(picture: Markup, below: object = "") -> Markup:
    """Return a picture and its caption."""
    return _parts().figure(picture, below)


def folded(title: str, content: object) -> Markup:
    """Return what a reader opens; nothing where there is no content."""
    return _parts().folded(title, content) if content else NOTHING


def left_out_note(labels: Iterable[str], what: str) -> Markup:
    """Return whose pictures the page has no room for; nothing when it has room for all."""
    names = ", ".join(labels)
    return fine(f"{what}, to keep the page small: {names}.") if names else NOTHING


def bullets(lines: Iterable[object]) -> Markup:
    """Return lines as a list in small print; nothing when there are none."""
    return _parts().bullets(list(lines))


def table_of(head: Markup, lines: Iterable[Markup], kind: str, *, label: str) -> Markup:
    """Return a table that scrolls by itself where the page is narrower; nothing when it has no line.

    Args:
        head: lines of its head.
        lines: of its body.
        kind: CSS classes; ``sortable`` lets a click on a heading sort it.
        label: what it shows, for readers who cannot see it; unique on the page.
    """
    return _parts().table(head, list(lines), kind, label)


def heads_of(*names: str, numbers: Iterable[str] = (), after: Iterable[str] = ()) -> Markup:
    """Return a line of headings: of text, then of ``numbers``, sorted downwards first, then of text again."""
    return _parts().heads(names, list(numbers), list(after))


def line_of(label: str, fields: Markup) -> Markup:
    """Return a line of a table: its heading and its fields."""
    return _parts().line(label, fields)


def row_of(fields: Markup) -> Markup:
    """Return a line of a table without a heading of its own."""
    return _parts().row(fields)


def legend_of(labels: Iterable[tuple[Markup, str]]) -> Markup:
    """Return a list of swatches and what they mean."""
    return _parts().legend(list(labels))


def swatch_of(series: int, dashes: str) -> Markup:
    """Return a short line in a colour of the page, with the dashes of SVG."""
    return _parts().swatch(series, dashes)


def colours_bar(colours: Iterable[str]) -> Markup:
    """Return a bar of CSS colours that blend into each other from left to right."""
    return _parts().bar(list(colours))


def picture_of(body: str, *, alt: str, width: str, height: str, style: str) -> Markup:
    """Return an inline SVG that matplotlib drew, without its opening tag.

    Args:
        body: trusted: matplotlib escapes the texts in it.
        alt: what a reader who cannot see it should know.
        width, height: of its box, points.
        style: CSS.
    """
    return _parts().picture(alt, f"0 0 {width} {height}", style, Markup(body)).strip()
