"""The sections of the page on runs. Each is empty when there is nothing to show."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.report.markup import (
    NOTHING,
    cells,
    element,
    figure,
    fine,
    folded,
    heads_of,
    hues,
    joined,
    legend_of,
    line_of,
    row_of,
    table_of,
)
from sslkuramoto.report.pictures.curves import Panel, panels
from sslkuramoto.report.pictures.drawing import swatch
from sslkuramoto.report.pictures.oscillators import (
    PHASES_FILE,
    VIEWS_FILE,
    energies_picture,
    load_phases,
    load_views,
    phases_picture,
    views_picture,
)
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Model, Part
from sslkuramoto.report.tables.columns import option_text, percent
from sslkuramoto.report.tables.table import MISSING
from sslkuramoto.results import Metric, Result

TITLES_OF_PARTS = {PRETRAIN: "Pretraining", FINETUNE: "Finetuning"}
PICTURE_BUDGET = 900_000  # bytes of all pictures together: the page stays below 2 MB
CHOICE = (
    "Of each layer one oscillator a site is shown, the same for all images: the one whose last phases agree most "
    "between neighbours and least over the whole grid."
)


def parts_of(models: Sequence[Model]) -> list[tuple[Model, str, Part]]:
    """Each run directory with its model and the name of its part."""
    return [(model, name, part) for model in models for name, part in model.parts.items()]


def results_of(models: Sequence[Model]) -> list[tuple[Model, str, Result]]:
    """Each result with its model and the name of its part."""
    return [(model, name, result) for model, name, part in parts_of(models) for result in part.results]


def curves(models: Sequence[Model]) -> Markup:
    """Loss, gradient norm and accuracy over steps of each part; the other quantities folded away."""
    text = NOTHING
    for part in dict.fromkeys(name for _, name, _ in parts_of(models)):
        drawn = panels(models, part)
        others = [panel for panel in drawn if not panel.main]
        if drawn:
            text += element("h3", TITLES_OF_PARTS.get(part, part))
            text += element("div", joined(_figure(panel) for panel in drawn if panel.main), class_="panels")
        if others:
            drawings = element("div", joined(map(_figure, others)), class_="panels")
            text += folded(f"Other measurements ({len(others)})", drawings)
    empty = [f"{model.label} ({name})" for model, name, part in parts_of(models) if not part.series]
    note = fine(f"No metrics over steps: {', '.join(empty)}.") if empty else NOTHING
    key = fine(
        "Of a long curve the faint line is the record, the bold one its mean over stretches of steps. "
        "A cross marks the first value that is not finite."
    )
    labels = {k: model.label for k, model in enumerate(models) if model.parts}
    return legend(labels) + key + text + note if text else note


def legend(labels: Mapping[int, str]) -> Markup:
    """The colours and dashes of series by their number."""
    return legend_of((swatch(k), label) for k, label in labels.items())


def _figure(panel: Panel) -> Markup:
    return figure(panel.svg, f"{'; '.join(panel.remarks)}." if panel.remarks else "")


def pictures(models: Sequence[Model]) -> Markup:
    """Views, phases and energies of the runs that recorded them, as many as the page may weigh."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for index, (model, name, part) in enumerate(parts_of(models)):
        if not any((part.path / file).exists() for file in (VIEWS_FILE, PHASES_FILE)):
            continue
        drawn = NOTHING if left_out else _pictures_of(part, f"picture-{index}")
        if left_out or len(drawn) > budget:
            left_out.append(f"{model.label} ({name})")
        else:
            budget -= len(drawn)
            text += element("h3", f"{model.label}, {TITLES_OF_PARTS.get(name, name).lower()}") + drawn
    if left_out:
        note = f"Left out, to keep the page small: {', '.join(left_out)}. Report on these runs alone to see them."
        text += fine(note)
    return text


def _pictures_of(part: Part, name: str) -> Markup:
    text = NOTHING
    if views := load_views(part.path):
        below = "Views of the training images, as the objective gets them; one image a column."
        text += figure(views_picture(views, name=f"{name}-views"), below)
    if phases := load_phases(part.path):
        trace, dim, images = phases
        coding: Iterable[object] = ("Red, green and blue are an oscillator's first three coordinates.",)
        if dim == 2:
            coding = ("Hue is the phase: ", hues(), " from 0 to 2π.")
        below = joined([f"Oscillators (N = {dim}) after each Kuramoto step. ", *coding, f" {CHOICE}"])
        text += figure(phases_picture(trace, dim, images=images, name=f"{name}-phases"), below)
        below = f"Energy before each step and after the last: mean and range over {len(images)} images."
        text += figure(energies_picture(trace, name=f"{name}-energies"), below)
    return text


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


def how_scored(models: Sequence[Model]) -> Markup:
    """Where each number comes from: data, weights, initial oscillators, options, time, notes."""
    heads = ("model", "file", "data", "encoder weights", "initial oscillators", "options", "seconds", "notes")
    kinds = (None, "key", "wide", None, None, "wide", None, "wide")
    lines = []
    for model, name, result in results_of(models):
        fields = (
            f"{model.label}, {name}",
            result.path.name,
            _joined(result.data, "name", "split", "n", "fingerprint"),
            _joined(result.encoder, "weights", "sha256"),
            "deterministic" if result.encoder.get("stochastic") is False else _joined(result.encoder, "initial"),
            ", ".join(f"{key}={compact(value)}" for key, value in result.options.items()),
            MISSING if result.seconds is None else f"{result.seconds:.1f}",
            " ".join(result.notes),
        )
        shown = zip(fields, kinds, strict=True)
        lines.append(row_of(joined(element("td", text or MISSING, class_=kind) for text, kind in shown)))
    return table_of(row_of(joined(element("th", text, scope="col") for text in heads)), lines, "text")


def _joined(section: Mapping[str, Any], *keys: str) -> str:
    """The values under ``keys``; hashes by their first digits."""
    texts = {key: str(section[key]) for key in keys if section.get(key) is not None}
    texts |= {key: text[:12] for key, text in texts.items() if key in ("sha256", "fingerprint")}
    return ", ".join(f"n = {text}" if key == "n" else text for key, text in texts.items())


def compact(value: object) -> str:
    """An option in a line."""
    return json.dumps(value) if isinstance(value, dict | list) else option_text(value)


def recipes(models: Sequence[Model]) -> Markup:
    """The resolved recipe of each part, folded."""
    text = NOTHING
    for model, name, part in parts_of(models):
        title = f"{model.label}, {name}"
        if part.recipe:
            text += folded(title, element("pre", part.recipe))
        else:
            text += fine(f"{title}: the run directory holds no recipe.yaml.")
    return text


def environment(models: Sequence[Model]) -> Markup:
    """Versions, hardware and seeds of each part; what is alike everywhere once."""
    parts = [(f"{model.label}, {name}", part) for model, name, part in parts_of(models)]
    columns = {label: flat(sessions_of(part.environment)) for label, part in parts if part.environment}
    lines = []
    for key in dict.fromkeys(key for column in columns.values() for key in column):
        values = [column.get(key, MISSING) for column in columns.values()]
        alike = len(set(values)) == 1
        fields = element("td", values[0], colspan=str(len(values))) if alike else cells(values)
        lines.append(row_of(element("th", key, scope="row", class_="key") + fields))
    head = row_of(element("td", "") + joined(element("th", label, scope="col") for label in columns))
    note = fine("A value that is the same everywhere is written once.") if len(columns) > 1 else NOTHING
    return (note if lines else NOTHING) + table_of(head, lines, "text")


def sessions_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """One session as it is, several by number."""
    sessions = content.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        return dict(content)
    rest = {key: value for key, value in content.items() if key != "sessions"}
    if len(sessions) == 1:
        return sessions[0] | rest
    return {f"session {k + 1}": session for k, session in enumerate(sessions)} | rest


def flat(content: Any, before: str = "") -> dict[str, str]:
    """Nested mappings by ``outer.inner``, each value as text."""
    if isinstance(content, dict):
        below = (flat(value, f"{before}.{key}" if before else str(key)) for key, value in content.items())
        return {key: value for each in below for key, value in each.items()}
    return {before: ", ".join(map(compact, content)) if isinstance(content, list) else str(content)}
