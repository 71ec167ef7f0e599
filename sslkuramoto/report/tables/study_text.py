"""A study for a terminal, as Markdown and as CSV."""

import csv
import io
from collections.abc import Iterator
from statistics import fmean, stdev

from rich.console import Console

from sslkuramoto.report.evidence import audit_of
from sslkuramoto.report.tables.columns import IN_PERCENT
from sslkuramoto.report.tables.escape import csv_field, visible
from sslkuramoto.report.tables.pairs import HEADS, HOW_TO_READ, paired_table, untested_lines
from sslkuramoto.report.tables.study import finite, interval_of, labels_of, result_of, shown_value, study_summary
from sslkuramoto.report.tables.text import for_terminal, in_markdown, markdown
from sslkuramoto.study.paired import PairedTest, comparisons
from sslkuramoto.study.table import SeedValue, StudyTable

# Measured and published figures and tests have fields of their own: no line fills two of them.
FIELDS = (
    *("kind", "row", "label", "group", "column", "title", "seed", "unit"),
    *("measured", "measured_low", "measured_high", "measured_n", "measured_draws"),
    *("mean", "std_over_seeds", "seeds"),
    *("reported", "reported_std", "reported_runs", "reported_source", "reported_differs"),
    *("second_row", "second_label", "difference", "difference_low", "difference_high", "images", "p", "p_holm"),
    *("mcnemar_b", "mcnemar_c", "mcnemar_n", "mcnemar_p"),
    *("verdict", "verdict_sentence", "reason", "result"),
)


def study_text(table: StudyTable, console: Console | None = None, *, verbose: bool = True) -> str:
    """Return the study's table for a console (standard output when left out), ours beside the published figures.

    Args:
        table: from :func:`sslkuramoto.study.collect`.
        console: standard output when left out.
        verbose: also how each number was scored.

    Raises:
        UserError: a result that cannot be read.
    """
    study = table.study
    head = "\n".join(text for text in (study.title, study.question) if text)
    console = console or Console(highlight=False)
    return f"{visible(head)}\n\n{for_terminal(study_summary(table), console, verbose=verbose)}"


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
    summary.below = [*study.notes, *table.notes]
    scoring = "\n".join(f"- {in_markdown(line)}" for line in summary.scoring)
    if folded:
        summary.scoring = []
    parts = [f"## {in_markdown(study.title)}", in_markdown(study.question), markdown(summary).rstrip("\n")]
    if folded:
        parts.append(_fold("How each column was scored", scoring))
    labels = labels_of(table)
    if found := paired_table(table, labels, every_seed=every_seed):
        heads = ("column", "first", "second", "seeds", *HEADS)
        lines = [HOW_TO_READ, "", f"| {' | '.join(heads)} |", "|" + " :--- |" * 4 + " ---: |" * len(HEADS)]
        for line in found:
            fields = map(in_markdown, (line.column, line.first, line.second, line.seeds, *line.texts))
            lines.append(f"| {' | '.join(fields)} |")
        parts.append(_fold("Paired tests", "\n".join(lines)) if folded else "\n".join(lines))
    parts.append("  \n".join(map(in_markdown, untested_lines(comparisons(table), labels))))
    return "\n\n".join(part for part in parts if part) + "\n"


def _fold(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>" if text else ""


def study_csv(table: StudyTable) -> str:
    """Return the numbers in full precision, shares in percent, one kind of line each.

    ``measured``, ``failed``, ``missing``: a row, column and seed. ``mean``: a row and column over its seeds.
    ``published``: a figure of a paper. ``paired``: a test of two rows, of all common seeds (``seed`` empty) or of one.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    rows: list[dict[str, object]] = []
    for row in table.study.rows.values():
        for column in table.study.columns.values():
            cell = table.cells[row.key, column.key]
            place = {"row": row.key, "label": row.label, "group": row.group or ""}
            place |= {"column": column.key, "title": column.title}
            rows.extend({**place, **_measured(value)} for value in cell.values)
            if values := finite(cell):
                shown = [shown_value(value) for value in values]
                spread = {"std_over_seeds": round(stdev(shown), 10)} if len(shown) > 1 else {}
                count = {"mean": round(fmean(shown), 10), "seeds": len(shown), "unit": _unit(values[0])}
                rows.append({**place, "kind": "mean", **count, **spread})
            for seed, reason in cell.failures.items():
                rows.append({**place, "kind": "failed", "seed": seed, "reason": " ".join(reason.split())})
            for seed in cell.missing:
                rows.append({**place, "kind": "missing", "seed": seed, "reason": "not computed yet"})
            if (figure := cell.published) is not None:
                rows.append(
                    {
                        **place,
                        **{"kind": "published", "reported": figure.value, "reported_std": figure.std},
                        **{"reported_runs": figure.n, "reported_source": figure.source},
                        **{"reported_differs": figure.differs},
                    }
                )
    rows.extend(_paired(table))
    writer.writerows({key: csv_field(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _measured(value: SeedValue) -> dict[str, object]:
    ends, audit = interval_of(value), audit_of(result_of(value.result))
    low, high = ("", "") if ends is None else (round(end, 10) for end in ends)
    return {
        **{"kind": "measured", "seed": value.seed, "measured": round(shown_value(value), 10)},
        **{"unit": _unit(value), "measured_low": low, "measured_high": high},
        **{"measured_n": value.n, "measured_draws": value.draws, "result": value.result},
        **({"verdict": audit.word or audit.verdict, "verdict_sentence": audit.verdict} if audit else {}),
    }


def _unit(value: SeedValue) -> str:
    return "%" if value.unit in IN_PERCENT else value.unit


def _paired(table: StudyTable) -> Iterator[dict[str, object]]:
    labels = labels_of(table)
    for test in comparisons(table):
        first, second = test.rows
        place = {"kind": "paired", "row": first, "label": labels[first]}
        place |= {"second_row": second, "second_label": labels[second]}
        place |= {"column": test.column, "title": table.study.columns[test.column].title}
        if test.pooled is None:
            yield {**place, "reason": test.reason}
            continue
        yield {**place, **_test(test.pooled), "p_holm": test.holm, "seeds": len(test.per_seed)}
        for seed, one in test.per_seed.items() if len(test.per_seed) > 1 else ():
            yield {**place, **_test(one), "seed": seed}


def _test(test: PairedTest) -> dict[str, object]:
    ends = (test.difference, test.low, test.high)
    found = dict(
        zip(("difference", "difference_low", "difference_high"), (round(100 * x, 10) for x in ends), strict=True)
    )
    votes = test.mcnemar
    told = {} if votes is None else {f"mcnemar_{key}": getattr(votes, key) for key in ("b", "c", "n", "p")}
    return {"unit": "points", **found, "images": test.n, "p": test.p, **told}
