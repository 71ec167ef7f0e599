"""One self-contained HTML page on a study: its table, and everything needed to judge or repeat the numbers."""

from pathlib import Path

from sslkuramoto.files import write_atomically
from sslkuramoto.report.page import document
from sslkuramoto.report.sections import corruptions as corruption_section
from sslkuramoto.report.sections import evidence as evidence_sections
from sslkuramoto.report.sections import provenance as study_provenance
from sslkuramoto.report.sections import studies as study_sections
from sslkuramoto.report.tables.html import summary_table
from sslkuramoto.report.tables.study import study_summary
from sslkuramoto.study.table import StudyTable


def write_study_page(path: Path, table: StudyTable) -> Path:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        table: from :func:`sslkuramoto.study.collect`.

    Raises:
        UserError: a file of the study that is broken, or a place that cannot be written.
    """
    write_atomically(Path(path), study_page(table))
    return Path(path)


def study_page(table: StudyTable) -> str:
    """Return the page's text. It names no address outside itself and forbids the browser to load any."""
    study, summary = table.study, study_summary(table)
    summary.below = []
    first = study_sections.evidence_of(table, every_seed=False)
    parts = {
        "table": ("Measured and reported", summary_table(summary)),
        "scatter": ("Clean against robust", study_sections.clean_against_robust(table)),
        "audits": ("The audit's verdict on each row", study_sections.audits(table)),
        "pairs": ("Paired tests", study_sections.paired_tests(table)),
        "calibration": ("Calibration", evidence_sections.calibration(first)),
        "corruptions": ("Corruptions", corruption_section.corruptions(first)),
        "curves": ("Curves", study_sections.curves(table)),
        "attacked": ("Adversarial images", evidence_sections.adversarial_images(first)),
        "provenance": ("Where each number comes from", study_provenance.provenance(table)),
        "recipes": ("Recipes", study_provenance.recipes(table)),
    }
    seeds = ", ".join(map(str, study.seeds))
    sizes = f"{study.name}: {len(study.rows)} rows, {len(study.columns)} columns, seeds {seeds}."
    lead = f"{study.question} {sizes}" if study.question else sizes
    return document(parts, title=study.title, lead=lead, notes=[*study.notes, *table.notes])
