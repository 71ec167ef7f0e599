"""Pieces of HTML. Text that comes from files goes through :func:`safe`; nothing else makes it into a page."""

import html
from collections.abc import Iterable


def safe(text: object) -> str:
    """Return ``text`` as HTML that shows it and does nothing."""
    return html.escape(str(text))


def element(tag: str, content: str, **attributes: str | None) -> str:
    """Return ``<tag ...>content</tag>``: ``content`` is HTML already, the attributes are escaped here.

    Args:
        tag: its name.
        content: HTML.
        **attributes: ``data_sort`` becomes ``data-sort``, ``class_`` becomes ``class``; those that are None are left
            out.
    """
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{safe(value)}"' for key, value in names.items())
    return f"<{tag}{inside}>{content}</{tag}>"


def fine(text: object) -> str:
    """A remark in small print; escaped here."""
    return element("p", safe(text), class_="fine")


def caption(content: str) -> str:
    """What a picture shows; HTML already."""
    return f"<figcaption>{content}</figcaption>"


def figure(picture: str, below: str = "") -> str:
    """A picture (HTML) and its caption (HTML)."""
    return f"<figure>{picture}{caption(below) if below else ''}</figure>"


def folded(title: str, content: str) -> str:
    """HTML that a reader opens; the title is escaped here."""
    return f"<details><summary>{safe(title)}</summary>{content}</details>"


def bullets(lines: Iterable[object]) -> str:
    """Plain lines as a list in small print; nothing when there are none."""
    items = "".join(element("li", safe(line)) for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def table_of(head: str, lines: Iterable[str], kind: str) -> str:
    """A table that scrolls by itself where the page is narrower; nothing when it has no line.

    Args:
        head: HTML of the lines of its head.
        lines: HTML of the lines of its body.
        kind: CSS classes; ``sortable`` lets a click on a heading sort it.
    """
    body = "".join(lines)
    table = f'<table class="{kind}"><thead>{head}</thead><tbody>{body}</tbody></table>' if body else ""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="table">{table}</div>' if table else ""


def heads_of(*names: str, numbers: Iterable[str] = ()) -> str:
    """A line of headings: ``names`` to the left, ``numbers`` to the right, sorted downwards first."""
    texts = "".join(element("th", safe(name), scope="col", class_="name") for name in names)
    return f"<tr>{texts}{''.join(element('th', safe(n), scope='col', data_down='') for n in numbers)}</tr>"


def line_of(label: str, fields: str) -> str:
    """A line of a table: its heading, escaped here, and its fields (HTML)."""
    return f"<tr>{element('th', safe(label), scope='row')}{fields}</tr>"
