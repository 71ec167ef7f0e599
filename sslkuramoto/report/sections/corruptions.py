"""The error of every corruption and severity, one line a network and corruption."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.markup import NOTHING, element, fine, folded, heads_of, joined, line_of, number_field, table_of
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.summary import MISSING
from sslkuramoto.results import Result


def errors_of(result: Result) -> dict[str, dict[str, float]]:
    """Return corruption -> severity -> error in percent, empty when the result measured no corruptions.

    Raises:
        UserError: they are not as the protocol leaves them.
    """
    found = result.details.get("corruptions") or {}
    try:
        return {
            str(name): {str(severity): 100 * float(cell["error"]) for severity, cell in row.items()}
            for name, row in found.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        where = f"{result.path}: details.corruptions"
        raise UserError(f"{where}: must be an object of corruptions, each severity with its error") from None


def corruptions(items: Sequence[Evidence]) -> Markup:
    """Mean error of each network a severity and, folded, that of each corruption; empty without any."""
    found = [(item, errors) for item in items if (errors := errors_of(item.result))]
    severities = sorted({severity for _, errors in found for row in errors.values() for severity in row})
    means, single = [], []
    for item, errors in found:
        made = element("td", _made(item.result.options), class_="name")
        each = {severity: [row[severity] for row in errors.values() if severity in row] for severity in severities}
        row = {severity: fmean(values) for severity, values in each.items() if values}
        means.append(line_of(item.label, made + element("td", str(len(errors))) + _numbers(row, severities)))
        for name, row in errors.items():
            fields = element("td", name.replace("_", " "), class_="name")
            single.append(line_of(item.label, fields + _numbers(row, severities)))
    if not found:
        return NOTHING
    numbers = [*(f"severity {severity}" for severity in severities), "mean"]
    text = fine("Error in percent, mean over images and, for a randomised network, draws; lower is better.")
    text += table_of(
        heads_of("model", "made by", numbers=["corruptions", *numbers]), means, "text sortable", label="mean errors"
    )
    table = table_of(
        heads_of("model", "corruption", numbers=numbers), single, "text sortable", label="errors by corruption"
    )
    return text + folded("Every corruption", table)


def _made(options: Mapping[str, Any]) -> str:
    return "the published archive" if options.get("source") == "archive" else "us"


def _numbers(row: Mapping[str, float], severities: Sequence[str]) -> Markup:
    values = [row.get(severity) for severity in severities]
    values.append(fmean(row.values()) if row.keys() >= set(severities) else None)
    return joined(number_field(MISSING if value is None else f"{value:.1f}", value) for value in values)


def section() -> Section:
    """The error of every corruption and severity, one line for each network and corruption."""
    return Section(
        runs=Half(60, "Corruptions", lambda shown: corruptions(shown.evidence)),
        study=Half(60, "Corruptions", lambda shown: corruptions(shown.evidence)),
    )
