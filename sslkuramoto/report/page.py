"""One self-contained HTML page: summary, curves, pictures, and everything needed to judge or repeat the numbers."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from sslkuramoto.files import write_atomically
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.markup import safe
from sslkuramoto.report.runs import Model, Row, load
from sslkuramoto.report.sections import corruptions as corruption_section
from sslkuramoto.report.sections import evidence as evidence_sections
from sslkuramoto.report.sections import runs as sections
from sslkuramoto.report.tables.html import summary_table
from sslkuramoto.report.tables.table import summarise

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{notes}
<nav aria-label="Sections">{links}</nav>
</header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


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
    parts = {
        "summary": ("Summary", summary_table(summarise(models, grouped=grouped))),
        "curves": ("Curves", sections.curves(models)),
        "pictures": ("What the network sees and does", sections.pictures(models)),
        "audits": ("Audits", evidence_sections.audits(evidence)),
        "calibration": ("Calibration", evidence_sections.calibration(evidence)),
        "corruptions": ("Corruptions", corruption_section.corruptions(evidence)),
        "attacked": ("Adversarial images", evidence_sections.adversarial_images(evidence)),
        "results": ("All results", sections.all_results(models)),
        "scored": ("How each number was scored", sections.how_scored(models)),
        "recipes": ("Recipes", sections.recipes(models)),
        "environment": ("Environment", sections.environment(models)),
    }
    lead = f"{len(models)} model{'' if len(models) == 1 else 's'}: {', '.join(m.label for m in models)}."
    return document(parts, title=title, lead=lead, notes=notes)


def document(parts: Mapping[str, tuple[str, str]], *, title: str, lead: str, notes: Sequence[str] = ()) -> str:
    """Return a whole page.

    Args:
        parts: address -> heading (plain) and content (HTML) of each section; those without content are left out.
        title: heading of the page, plain.
        lead: what stands below it, plain.
        notes: paragraphs before the sections, plain.
    """
    shown = {key: part for key, part in parts.items() if part[1]}
    script = _own("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return PAGE.format(
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        title=safe(title),
        style=_own("page.css"),
        lead=safe(lead),
        notes="\n".join(f"<p>{safe(note)}</p>" for note in notes),
        links="".join(f'<a href="#{key}">{safe(heading)}</a>' for key, (heading, _) in shown.items()),
        body="\n".join(
            f'<section id="{key}" aria-label="{safe(heading)}"><h2>{safe(heading)}</h2>{text}</section>'
            for key, (heading, text) in shown.items()
        ),
        script=script,
    )


def _own(name: str) -> str:
    return files("sslkuramoto.report").joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")
