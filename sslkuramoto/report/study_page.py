"""One self-contained HTML page on a study: its table, and everything needed to judge or repeat the numbers."""

from pathlib import Path

from sslkuramoto.files import write_atomically
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.members import importable
from sslkuramoto.report.page import document
from sslkuramoto.report.sections import SECTIONS, Studied, parts_for
from sslkuramoto.report.tables.study import labels_of, result_of
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
    study = table.study
    shown = Studied(table, evidence_of(table, every_seed=False), evidence_of(table, every_seed=True))
    parts = parts_for(shown, {name: SECTIONS.build(name, {}).study for name in importable(SECTIONS)})
    seeds = ", ".join(map(str, study.seeds))
    sizes = f"{study.name}: {len(study.rows)} rows, {len(study.columns)} columns, seeds {seeds}."
    lead = f"{study.question} {sizes}" if study.question else sizes
    return document(parts, title=study.title, lead=lead, notes=[*study.notes, *table.notes])


def evidence_of(table: StudyTable, *, every_seed: bool) -> list[Evidence]:
    """Each result of the study once, under the name of its row; of the first seed only, or of every one."""
    labels, found = labels_of(table), dict[object, Evidence]()
    for series, (key, row) in enumerate(table.study.rows.items()):
        for column in table.study.columns.values():
            values = table.cells[key, column.key].values
            for value in values if every_seed else values[:1]:
                if value.result in found:
                    continue
                changed = f", {column.title}" if column.encoder or column.settings else ""
                seed = f", seed {value.seed}" if len(row.seeds) > 1 else ""
                found[value.result] = Evidence(labels[key] + changed + seed, series, result_of(value.result))
    return list(found.values())
