"""Every metric of every result file."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.markup import cells, element, heads_of, line_of, table_of
from sslkuramoto.report.runs import Model
from sslkuramoto.report.sections.section import (
    Half,
    Section,
    results_of,
)
from sslkuramoto.report.tables.columns import percent
from sslkuramoto.report.tables.table import MISSING
from sslkuramoto.results import Metric


def all_results(models: Sequence[Model]) -> Markup:
    """Every metric of every result file, known to a column or not."""
    lines = []
    for model, name, result in results_of(models):
        for key, metric in result.metrics.items():
            fields = cells((name, result.protocol, key), class_="name")
            lines.append(line_of(model.label, fields + metric_fields(metric)))
    numbers = ("value", "unit", "interval", "n", "draws", "std over draws", "std over seeds")
    return table_of(heads_of("model", "part", "protocol", "metric", numbers=numbers), lines, "sortable")


def metric_fields(metric: Metric) -> Markup:
    """The fields of a metric, from its value to its standard deviation over seeds."""
    is_percent = metric.unit in ("fraction", "percent")

    def shown(value: float | None) -> str:
        if value is None:
            return MISSING
        return f"{percent(metric, value):.2f}" if is_percent else f"{value:.5g}"

    interval = MISSING if metric.low is None or metric.high is None else f"{shown(metric.low)} to {shown(metric.high)}"
    rest = ["%" if is_percent else metric.unit, interval]
    rest += [MISSING if count is None else str(count) for count in (metric.n, metric.draws)]
    sort = repr(metric.value) if math.isfinite(metric.value) else ""
    return element("td", shown(metric.value), data_sort=sort) + cells(
        [*rest, shown(metric.std_over_draws), shown(metric.std_over_seeds)]
    )


def section() -> Section:
    """Return this section."""
    return Section(
        runs=Half(80, "All results", lambda shown: all_results(shown.models)),
    )
