"""One row a model: measured numbers with their interval, published ones apart, footnotes for what is missing."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from sslkuramoto.columns import Column
from sslkuramoto.encoders.features import UNTRAINED
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.described import counted, incidental_options
from sslkuramoto.evaluation.held_weights import other_weights
from sslkuramoto.report.runs import Model
from sslkuramoto.report.tables.columns import IN_PERCENT, Absent, Found, LeftOut, columns, find, number, percent
from sslkuramoto.report.tables.groups import HOW_TO_READ, groups_of, label_of
from sslkuramoto.report.tables.main_numbers import MainNumbers, main_numbers_of
from sslkuramoto.report.tables.summary import MISSING, Cell, Head, Summary, with_best
from sslkuramoto.results import Metric, Reading, Result
from sslkuramoto.study.published import Published
from sslkuramoto.values import option_text


def summarise(models: Sequence[Model], *, grouped: bool = False) -> Summary:
    """Put the models' numbers in the columns that protocols declare.

    Args:
        models: in order.
        grouped: runs that differ in the seed only share a row.

    Raises:
        UserError: a published figure under a key that is no column, a result that does not state its unit, or
            two models of one label.
    """
    labels = [model.label for model in models]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"{labels.count(label)} models are called {label!r}: rows need labels of their own")
    groups = groups_of(models) if grouped else [[model] for model in models]
    rows: list[str] = []
    for group in groups:
        rows.append(label_of(group, rows))
    footnotes: list[str] = []
    mark = marker(footnotes)
    declared = {column.key: column for column in columns()}
    for model in models:
        for key in model.row.published:
            if key not in declared:
                raise unknown(f"column of a published figure of {model.label!r}", key, [*declared])
    heads: list[Head] = []
    by_head: list[list[Cell]] = []
    scoring: Scoring = {}
    for column in columns():
        found = {model.label: find(column, model) for model in models}
        by_row = [{model.label: found[model.label] for model in group} for group in groups]
        firsts = ((row, next(filter(_is_found, each.values()), None)) for row, each in zip(rows, by_row, strict=True))
        measured = {row: item for row, item in firsts if isinstance(item, Found)}
        reported = any(column.key in model.row.published for model in models)
        shown = (number(item) is not None or isinstance(item, LeftOut) for item in found.values())
        if column.optional and not reported and not any(shown):
            continue
        cells = [_cell(each, mark) for each in by_row]
        several = _of_several_files(column, measured)
        unlike = marks_unlike(measured, mark)
        cells = cells if several or unlike else with_best(cells, column.better)
        by_head.append([_with_file(cell) for cell in cells] if several else cells)
        heads.append(Head(column, marks=unlike))
        group = "" if column.title.startswith(column.group) else column.group
        for item in measured.values():
            scoring.setdefault(scored(item), {}).setdefault((group, column.title), []).append(item)
        if reported:
            heads.append(Head(column, published=True))
            figures = [group[0].row.published.get(column.key) for group in groups]
            by_head.append([published_cell(figure, mark, published_digits(figures)) for figure in figures])
    of_models = {model.label: [each for part in model.parts.values() for each in part.results] for model in models}
    for text in (*untrained_lines(of_models), *_of_other_weights(models), *_mixed_weights(models)):
        mark(text)
    main_numbers = [
        _main_numbers(label, list(zip(heads, (cells[i] for cells in by_head), strict=True)), group)
        for i, (label, group) in enumerate(zip(rows, groups, strict=True))
    ]
    return Summary(
        heads=heads,
        labels=rows,
        cells=[[cells[i] for cells in by_head] for i in range(len(groups))],
        footnotes=footnotes,
        scoring=scoring_lines(scoring),
        reading=[*([HOW_TO_READ] if any(len(group) > 1 for group in groups) else []), *_over_images(by_head)],
        unit="%" if all(declared[head.column.key].unit == "%" for head in heads) else "",
        main_numbers=main_numbers,
    )


OVER_EXAMPLES = (
    "Intervals of means over draws are over test examples: they cover neither other draws nor other trainings."
)


def _over_images(by_head: Iterable[Iterable[Cell]]) -> list[str]:
    """Say what an interval covers, where one belongs to a mean over draws."""
    shown = (item.metric for cells in by_head for cell in cells for item in cell.every)
    over_draws = any(metric.low is not None and metric.draws is not None and metric.draws > 1 for metric in shown)
    return [OVER_EXAMPLES] if over_draws else []


def _main_numbers(label: str, cells: Sequence[tuple[Head, Cell]], group: Sequence[Model]) -> MainNumbers:
    """Return the main numbers of a row, from its cells."""
    declared = {column.key: column for column in columns()}
    robust: dict[Reading, tuple[Found, ...]] = {}
    others: list[tuple[str, str]] = []
    for head, cell in cells:
        column = declared[head.column.key]
        if head.published or cell.value is None:
            continue
        if column.reading is not None:
            robust[column.reading] = cell.every
        elif len(others) < FIRST:
            others.append(
                (column.name, " ".join([f"{cell.text} %" if column.unit == "%" else cell.text, *cell.beside]))
            )
    results = [result for model in group for part in model.parts.values() for result in part.results]
    return main_numbers_of(label, robust, results=results, others=others)


FIRST = 3  # numbers that are printed for a model without a robust accuracy
Mark = Callable[[str], int]  # gives a text its number among the footnotes, one number to equal texts
Scoring = dict[str, dict[tuple[str, str], list[Found]]]
"""Description (of :func:`scored`) -> group and title of a column -> numbers."""


def marker(footnotes: list[str]) -> Mark:
    """Return what numbers the footnotes, collecting them in ``footnotes``."""

    def mark(text: str) -> int:
        if text not in footnotes:
            footnotes.append(text)
        return footnotes.index(text) + 1

    return mark


def marks_unlike(measured: Mapping[str, Found], mark: Mark) -> tuple[int, ...]:
    """A footnote on what differs between the rows of one column and would make comparing them unfair."""
    unlike = _unlike(measured)
    return (mark(f"not alike in every row: {'; '.join(unlike)}"),) if unlike else ()


def scoring_lines(scoring: Scoring) -> list[str]:
    """Say how the numbers of each column were scored."""
    return [
        f"{_names(by_name)}: {line}{_draws(item for items in by_name.values() for item in items)}"
        for line, by_name in scoring.items()
    ]


def _is_found(item: Found | str) -> bool:
    return isinstance(item, Found)


def _cell(items: Mapping[str, Found | str], mark: Mark) -> Cell:
    """Return the field of a row: of its one run, or the mean over runs that were measured alike."""
    single = [_measured(item, mark) for item in items.values()]
    if len(single) == 1:
        return single[0]
    numbers = {label: (item, value) for label, item in items.items() if (value := number(item)) is not None}
    found = {label: item for label, (item, _) in numbers.items() if isinstance(item, Found)}
    marks = tuple(dict.fromkeys(mark for cell in single for mark in cell.marks))
    if unlike := _unlike(found):
        return Cell(marks=(*marks, mark(f"no mean over seeds, not measured alike: {'; '.join(unlike)}")))
    if not found:
        return Cell(marks=marks, absent=all(cell.absent for cell in single))
    values = [value for _, value in numbers.values()]
    if len(values) < len(items):
        marks = (*marks, mark(f"mean over {len(values)} of {len(items)} seeds: {', '.join(found)}"))
    first = next(iter(found.values()))
    std = stdev(values) if len(values) > 1 else None
    unit, n = first.metric.unit, first.metric.n
    interval = "" if std is None else f"± {number_text(std, unit, n)}"
    mean = fmean(values)
    seeds = len(values)
    shown = {"seeds": seeds, "std": std, "departs": first.departs, "every": tuple(found.values())}
    return Cell(mean, number_text(mean, unit, n), interval, marks, first, **shown)


def _of_several_files(column: Column, measured: Mapping[str, Found]) -> bool:
    """Whether numbers of one reading are from protocol files with balls and images of their own: a cell then names its
    file."""
    return column.reading is not None and len({item.result.described_by for item in measured.values()}) > 1


def _with_file(cell: Cell) -> Cell:
    if cell.found is None or cell.departs == cell.found.result.described_by:
        return cell
    return replace(cell, departs=", ".join(filter(None, [cell.found.result.described_by, cell.departs])))


def _measured(item: Found | str, mark: Mark) -> Cell:
    if isinstance(item, str):
        return Cell(marks=(mark(item),), absent=isinstance(item, Absent))
    metric, value = item.metric, number(item)
    if value is None:
        return Cell(marks=(mark(f"{item.result.path.name} records {item.name} = {metric.value}"),))
    marks = (mark(item.remark),) if item.remark else ()
    shown = {"departs": item.departs, "every": (item,)}
    return Cell(value, number_text(value, metric.unit, metric.n), interval_of(metric), marks, item, **shown)


def number_text(value: float, unit: str, n: int | None) -> str:
    """A share in percent with one decimal, two where n images can bear them; four digits of any other number."""
    return f"{value:.{2 if (n or 0) >= 5000 else 1}f}" if unit in IN_PERCENT else f"{value:.4g}"


def interval_of(metric: Metric) -> str:
    """``[low, high]`` as shown, else ``±`` the std over draws, over seeds where there was one draw; else nothing."""
    low, high = percent(metric, metric.low), percent(metric, metric.high)
    if low is not None and high is not None and math.isfinite(low + high):
        return f"[{number_text(low, metric.unit, metric.n)}, {number_text(high, metric.unit, metric.n)}]"
    over_draws = metric.std_over_draws if metric.draws != 1 else None
    std = percent(metric, metric.std_over_seeds if over_draws is None else over_draws)
    return f"± {number_text(std, metric.unit, metric.n)}" if std is not None and math.isfinite(std) else ""


def published_digits(figures: Iterable[Published | None]) -> int:
    """Decimals of the published figures of a column, one or two: 83.00 comes out of a file as 83.0."""
    return min(2, max((_digits(figure.value) for figure in figures if figure), default=1))


def _digits(value: float) -> int:
    return max(1, len(f"{value:g}".partition(".")[2]))


def published_cell(figure: Published | None, mark: Mark, digits: int = 1) -> Cell:
    """A published figure with its source as a footnote, or a dash; at least ``digits`` decimals."""
    if figure is None:
        return Cell(absent=True)
    runs = f", {figure.n} run{'s' if figure.n > 1 else ''}" if figure.n else ""
    differs = f"; differs: {figure.differs}" if figure.differs else ""
    interval = "" if figure.std is None else f"± {figure.std:.{_digits(figure.std)}f}"
    marks = (mark(f"reported: {figure.source}{runs}{differs}"),)
    text = f"{figure.value:.{max(digits, _digits(figure.value))}f}"
    return Cell(figure.value, text, interval, marks, published=figure)


def scored(found: Found) -> str:
    """Protocol, options and examples of a number, in a line."""
    result, metric = found.result, found.metric
    options = ", ".join(f"{key}={option_text(v)}" for key, v in found.options.items() if _says_something(v))
    data = " ".join(str(result.data[key]) for key in ("name", "split") if result.data.get(key))
    n = metric.n or result.data.get("n") or "an unknown number of"
    return (
        f"{result.protocol}{f' ({options})' if options else ''}, {n} {counted(result)}{f' of {data}' if data else ''}"
    )


def _says_something(option: object) -> bool:
    return isinstance(option, int | float | str) or (isinstance(option, list) and bool(option))


def _names(names: Iterable[tuple[str, str]]) -> str:
    """``Group (a, b); c`` from the groups and titles of columns."""
    groups: dict[str, list[str]] = {}
    for group, title in names:
        groups.setdefault(group, []).append(title)
    return "; ".join(
        f"{group} ({', '.join(titles)})" if group else ", ".join(titles) for group, titles in groups.items()
    )


def _draws(found: Iterable[Found]) -> str:
    over: dict[str, set[int]] = {"draws of the oscillators": set(), "samples of the noise": set()}
    for item in found:
        if item.metric.draws and item.metric.draws > 1:  # noise on the images is drawn for a deterministic network too
            deterministic = item.result.encoder.get("stochastic") is False
            over["samples of the noise" if deterministic else "draws of the oscillators"].add(item.metric.draws)
    said = [f"{' or '.join(map(str, sorted(counts)))} {of}" for of, counts in over.items() if counts]
    return f", mean over {' or '.join(said)}" if said else ""


def _conditions(found: Found) -> dict[str, str]:
    result, idle = found.result, incidental_options(found.result)
    conditions = {"protocol": result.protocol, f"number of {counted(result)}": found.metric.n or result.data.get("n")}
    conditions |= {f"data {key}": result.data.get(key) for key in ("name", "split", "fingerprint")}
    conditions |= {
        f"option {key}": value for key, value in found.options.items() if key not in idle and value is not None
    }
    conditions |= {key: result.encoder.get(key) for key in ("weights", "checkpoint")}
    changed = result.encoder.get("changed_options") or {}
    conditions |= {f"encoder {key}": value for key, value in changed.items()}
    return {key: option_text(value) for key, value in conditions.items()}


def _unlike(measured: Mapping[str, Found]) -> list[str]:
    conditions = {label: _conditions(item) for label, item in measured.items()}
    keys = dict.fromkeys(key for each in conditions.values() for key in each)
    unlike = []
    for key in keys:
        values = {label: each.get(key, MISSING) for label, each in conditions.items()}
        if len(set(values.values())) > 1:
            unlike.append(f"{key} ({_by_value(values)})")
    return unlike


def _by_value(values: Mapping[str, str]) -> str:
    """Name the rows, or seeds, of each value; of the most frequent one, where several share it, only their number."""
    rows: dict[str, list[str]] = {}
    for label, value in values.items():
        rows.setdefault(value, []).append(label)
    most = max(rows, key=lambda value: len(rows[value]))
    if len(rows[most]) == 1:
        return ", ".join(f"{label}: {_short(value)}" for label, value in values.items())
    named = [f"{_short(value)}: {', '.join(labels)}" for value, labels in rows.items() if value != most]
    return "; ".join([*named, f"{_short(most)}: the other {len(rows[most])}"])


def _short(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def untrained_lines(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Name the models, by their labels, whose results say that the encoder was not trained."""
    return [f"{label}: {UNTRAINED}" for label, each in results.items() if any(r.encoder.get("untrained") for r in each)]


def _of_other_weights(models: Sequence[Model]) -> list[str]:
    notes = []
    for model in models:
        for part in model.parts.values():
            if names := ", ".join(result.path.stem for result in part.of_others):
                notes.append(f"{model.label}: {names}: not shown, {other_weights(part.path, part.of_others)}")
    return notes


def _mixed_weights(models: Sequence[Model]) -> list[str]:
    notes = []
    for model in models:
        for part in model.parts.values():
            hashes: dict[tuple[str, str], set[str]] = {}
            for result in part.results:
                of = f"{result.encoder.get('weights')} {result.encoder.get('checkpoint')}"
                for network, stated in (("encoder", result.encoder), ("head", result.head)):
                    if stated.get("sha256"):
                        hashes.setdefault((network, of), set()).add(str(stated["sha256"]))
            for network in dict.fromkeys(network for (network, _), found in hashes.items() if len(found) > 1):
                of = f"results of {part.name} stem from different {network} weights"
                notes.append(f"{model.label}: {of}; measure again")
    return notes
