"""Sections of the HTML pages: one file each. Another package adds one by an entry point in ``sslkuramoto.sections``."""

from sslkuramoto.report.sections.section import SECTIONS, Half, Runs, Section, Studied, parts_for

for _name in (
    *("answer", "summary", "table", "curves", "epochs", "pictures", "bars", "scatter", "audits", "pairs"),
    *(
        "brackets",
        "attack_curves",
        "distances",
        "calibration",
        "boards",
        "mazes",
        "corruptions",
        "objects",
        "relations",
        "attacked",
        "results",
        "scored",
        "provenance",
        "recipes",
    ),
    "environment",
):
    SECTIONS.add(_name, f"{__name__}.{_name}:section")

__all__ = ["SECTIONS", "Half", "Runs", "Section", "Studied", "parts_for"]
