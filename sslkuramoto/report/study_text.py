"""A study for a terminal, as Markdown and as CSV."""

import csv
import io

from rich.console import Console

from sslkuramoto.report.columns import IN_PERCENT
from sslkuramoto.report.printing import for_terminal, in_markdown, markdown
from sslkuramoto.report.study_table import (
    interval_of,
    labels_of,
    paired_fields,
    shown_value,
    study_summary,
    untested_lines,
)
from sslkuramoto.study.paired import comparisons
from sslkuramoto.study.table import StudyTable

# Measured and published figures have fields of their own: no line fills both.
FIELDS = (
    *("kind", "row", "label", "group", "column", "title", "seed", "unit"),
    *("measured", "measured_low", "measured_high", "measured_n", "measured_draws"),
    *("reported", "reported_std", "reported_runs", "reported_source", "reported_differs"),
    *("reason", "result"),
)
PAIRED = (
    "Paired tests (exact McNemar; b: most draws right in the first row only, c: in the second; Holm over all of them):"
)


def study_text(table: StudyTable, console: Console | None = None) -> str:
    """Return the study's table for a console (standard output when left out), ours beside the published figures.

    Raises:
        UserError: a result that cannot be read.
    """
    study = table.study
    head = "\n".join(text for text in (study.title, study.question) if text)
    return f"{head}\n\n{for_terminal(study_summary(table), console or Console(highlight=False))}"


def study_markdown(table: StudyTable, *, every_seed: bool = True, folded: bool = False) -> str:
    """Return the study as GitHub Markdown: title, question, table, footnotes, paired tests.

    Args:
        table: from :func:`sslkuramoto.study.collect`.
        every_seed: of the paired tests also those of single seeds beside the pooled ones.
        folded: how numbers were scored and the paired tests open at a click, for a document of many studies.

    Raises:
        UserError: a result that cannot be read.
    """
    study = table.study
    summary = study_summary(table)
    tests = comparisons(table)
    summary.below = [*study.notes, *table.notes]
    scoring = "\n".join(f"- {in_markdown(line)}" for line in summary.scoring)
    if folded:
        summary.scoring = []
    parts = [f"## {in_markdown(study.title)}", in_markdown(study.question), markdown(summary).rstrip("\n")]
    if folded:
        parts.append(_fold("How each column was scored", scoring))
    if tests:
        labels = labels_of(table)
        lines = [
            PAIRED,
            "",
            "| column | first | second | seeds | b | c | n | p | Holm |",
            "| :--- | :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for test in tests:
            names = (study.columns[test.column].title, *(labels[key] for key in test.rows))
            fields = paired_fields(test, every_seed=every_seed)
            lines += ["| " + " | ".join([*map(in_markdown, names), *line]) + " |" for line in fields]
        if any(test.pooled for test in tests):
            parts.append(_fold("Paired tests", "\n".join(lines)) if folded else "\n".join(lines))
        parts.append("  \n".join(map(in_markdown, untested_lines(tests, labels))))
    return "\n\n".join(part for part in parts if part) + "\n"


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" if text else ""


def study_csv(table: StudyTable) -> str:
    """Return one line a row, column and seed in full precision, and one a published figure; shares in percent."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in table.study.rows.values():
        for column in table.study.columns.values():
            cell = table.cells[row.key, column.key]
            place = {"row": row.key, "label": row.label, "group": row.group or ""}
            place |= {"column": column.key, "title": column.title}
            for value in cell.values:
                ends = interval_of(value)
                low, high = ("", "") if ends is None else (round(end, 10) for end in ends)
                writer.writerow(
                    {
                        **place,
                        **{"kind": "measured", "seed": value.seed, "measured": round(shown_value(value), 10)},
                        **{"unit": "%" if value.unit in IN_PERCENT else value.unit, "result": value.result},
                        **{"measured_low": low, "measured_high": high},
                        **{"measured_n": value.n, "measured_draws": value.draws},
                    }
                )
            for seed, reason in cell.failures.items():
                writer.writerow({**place, "kind": "failed", "seed": seed, "reason": " ".join(reason.split())})
            for seed in cell.missing:
                writer.writerow({**place, "kind": "missing", "seed": seed, "reason": "not computed yet"})
            if (figure := cell.published) is not None:
                writer.writerow(
                    {
                        **place,
                        **{"kind": "published", "reported": figure.value, "reported_std": figure.std},
                        **{"reported_runs": figure.n, "reported_source": figure.source},
                        **{"reported_differs": figure.differs},
                    }
                )
    return out.getvalue()
