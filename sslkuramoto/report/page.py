"""One self-contained HTML page: summary, curves, pictures, and everything needed to judge or repeat the numbers."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from sslkuramoto.files import write_atomically
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.markup import rendered
from sslkuramoto.report.members import importable
from sslkuramoto.report.runs import Model, Row, load
from sslkuramoto.report.sections import SECTIONS, Runs, parts_for

TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Control characters that HTML forbids, and those that turn the direction of writing around.
NO_TEXT = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)), 65533) | {ord(c): "" for c in TURNING}


def write_page(
    path: Path,
    rows: Sequence[Row],
    *,
    title: str = "sslkuramoto report",
    notes: Sequence[str] = (),
    grouped: bool = False,
) -> Path:
    """Read the rows' run directories and write the page, whole or not at all.

    Args:
        path: the HTML file.
        rows: one model each.
        title: heading of the page.
        notes: what the reader should know first, plain text.
        grouped: runs that differ in the seed only share a row of the summary.

    Raises:
        UserError: what :func:`sslkuramoto.report.runs.load` raises, or a place that cannot be written.
    """
    write_atomically(Path(path), page([load(row) for row in rows], title=title, notes=notes, grouped=grouped))
    return Path(path)


def page(
    models: Sequence[Model], *, title: str = "sslkuramoto report", notes: Sequence[str] = (), grouped: bool = False
) -> str:
    """Return the page's text. It names no address outside itself and forbids the browser to load any."""
    evidence = [
        Evidence(f"{model.label}, {name}" if len(model.parts) > 1 else model.label, series, result)
        for series, model in enumerate(models)
        for name, part in model.parts.items()
        for result in part.results
    ]
    shown = Runs(models, evidence, grouped)
    parts = parts_for(shown, {name: SECTIONS.build(name, {}).runs for name in importable(SECTIONS)})
    lead = f"{len(models)} model{'' if len(models) == 1 else 's'}: {', '.join(m.label for m in models)}."
    return document(parts, title=title, lead=lead, notes=notes)


def document(parts: Mapping[str, tuple[str, Markup]], *, title: str, lead: str, notes: Sequence[str] = ()) -> str:
    """Return a whole page.

    Args:
        parts: address -> heading (plain) and content of each section; those without content are left out.
        title: heading of the page, plain.
        lead: text below the title, plain.
        notes: paragraphs before the sections, plain.
    """
    script = _own("page.js") + _own("panel.js")
    return rendered(
        "page.html",
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=title,
        style=_own("page.css"),
        lead=lead,
        notes=notes,
        parts=[(key, heading, content) for key, (heading, content) in parts.items() if content],
        script=script,
    ).translate(NO_TEXT)


def _own(name: str) -> Markup:
    return Markup(files("sslkuramoto.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n"))
