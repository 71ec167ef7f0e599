"""Every metric of every result file: those that the tables show, and the others folded."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import cells, element, folded, heads_of, joined, line_of, table_of
from sslkuramoto.report.runs import Model
from sslkuramoto.report.sections.section import Half, Section, results_of
from sslkuramoto.report.tables.columns import declares, direction_of, percent
from sslkuramoto.report.tables.summary import MISSING
from sslkuramoto.results import Metric, Result

NUMBERS = ("value", "unit", "interval", "n", "draws", "std over draws", "std over seeds")


def all_results(models: Sequence[Model]) -> Markup:
    """Every metric of every result file: those of declared columns, or of protocols without any; the rest folded."""
    first, rest = [], []
    for model, name, result in results_of(models):
        for key, metric in result.metrics.items():
            line = (model.label, (name, result.protocol, key), metric_fields(metric))
            (first if _informs(result, key, metric) else rest).append(line)
    main = _table(first, "all results") if first else Markup()
    return main + folded(f"Other numbers of these results ({len(rest)})", _table(rest, "other numbers") if rest else "")


def _informs(result: Result, name: str, metric: Metric) -> bool:
    return not declares(result.kind) or direction_of(result.kind, name, metric.reading) is not None


def _table(lines: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]], label: str) -> Markup:
    """A table without the columns that say nothing in any line."""
    kept = [k for k in range(len(NUMBERS)) if any(fields[k] != MISSING for _, _, fields in lines)]
    rows = []
    for model, names, fields in lines:
        shown = joined(element("td", fields[k], data_sort=_sort(fields[k])) for k in kept)
        rows.append(line_of(model, cells(names, class_="name") + shown))
    head = heads_of("model", "part", "protocol", "metric", numbers=[NUMBERS[k] for k in kept])
    return table_of(head, rows, "sortable", label=label)


def _sort(text: str) -> str | None:
    """Return the number of a field, of an interval its lower end; None for words."""
    number = text.partition(" to ")[0]
    try:
        return number if math.isfinite(float(number)) else ""
    except ValueError:
        return "" if text == MISSING else None


def metric_fields(metric: Metric) -> tuple[str, ...]:
    """The fields of a metric, from its value to its standard deviation over seeds."""
    is_percent = metric.unit in ("fraction", "percent")

    def shown(value: float | None) -> str:
        if value is None:
            return MISSING
        return f"{percent(metric, value):.2f}" if is_percent else f"{value:.5g}"

    interval = MISSING if metric.low is None or metric.high is None else f"{shown(metric.low)} to {shown(metric.high)}"
    counts = (MISSING if count is None else str(count) for count in (metric.n, metric.draws))
    unit = "%" if is_percent else metric.unit
    return (shown(metric.value), unit, interval, *counts, shown(metric.std_over_draws), shown(metric.std_over_seeds))


def section() -> Section:
    """Every metric of every result file; those that no table shows are folded."""
    return Section(
        runs=Half(80, "All results", lambda shown: all_results(shown.models)),
    )
