"""The sections of the page. Each returns HTML, empty when there is nothing to show; all text from files is escaped."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sslkuramoto.report.columns import percent
from sslkuramoto.report.curves import Panel, panels
from sslkuramoto.report.drawing import swatch
from sslkuramoto.report.pictures import (
    PHASES_FILE,
    VIEWS_FILE,
    energies_picture,
    load_phases,
    load_views,
    phase_key,
    phases_picture,
    views_picture,
)
from sslkuramoto.report.runs import FINETUNE, PRETRAIN, Metric, Model, Part, Result
from sslkuramoto.report.table import MISSING, Cell, Head, option_text, summarise

TITLES_OF_PARTS = {PRETRAIN: "Pretraining", FINETUNE: "Finetuning"}
PICTURE_BUDGET = 900_000  # bytes of all pictures together: the page stays below 2 MB
CHOICE = (
    "Of each layer one oscillator a site is shown, the same for all images: the one whose last phases agree most "
    "between neighbours and least over the whole grid."
)


def safe(text: object) -> str:
    """Return ``text`` as HTML that shows it and does nothing."""
    return html.escape(str(text))


def _element(tag: str, content: str, **attributes: str | None) -> str:
    names = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{safe(value)}"' for key, value in names.items())
    return f"<{tag}{inside}>{content}</{tag}>"


def _table(head: str, lines: Iterable[str], kind: str) -> str:
    body = "".join(lines)
    table = f'<table class="{kind}"><thead>{head}</thead><tbody>{body}</tbody></table>' if body else ""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="table">{table}</div>' if table else ""


def _parts(models: Sequence[Model]) -> list[tuple[Model, str, Part]]:
    return [(model, name, part) for model in models for name, part in model.parts.items()]


def _results(models: Sequence[Model]) -> list[tuple[Model, str, Result]]:
    return [(model, name, result) for model, name, part in _parts(models) for result in part.results]


def summary_table(models: Sequence[Model]) -> str:
    """The table of :func:`summarise`, with its footnotes."""
    summary = summarise(models)
    groups: dict[str, int] = {}
    for head in summary.heads:
        groups[head.column.group] = groups.get(head.column.group, 0) + 1
    top = "".join(_element("th", safe(name), scope="colgroup", colspan=str(span)) for name, span in groups.items())
    heads = "".join(
        _element("th", safe(_title(head)) + _marks(head.marks), scope="col", data_down="", class_=_kind(head))
        for head in summary.heads
    )
    lines = [
        f"<tr>{_element('th', safe(label), scope='row')}{''.join(map(_cell, summary.heads, row))}</tr>"
        for label, row in zip(summary.labels, summary.cells, strict=True)
    ]
    footnotes = "".join(_element("li", safe(text), id=f"note-{k + 1}") for k, text in enumerate(summary.footnotes))
    scoring = "".join(_element("li", safe(line)) for line in summary.scoring)
    first = '<p class="fine">Percent; below a number its interval, or &plusmn; its standard deviation. {}</p>'
    return (
        first.format("A heading sorts the table." if len(models) > 1 else "")
        + _table(
            f'<tr class="groups"><td></td>{top}</tr><tr><th scope="col">model</th>{heads}</tr>',
            lines,
            "summary sortable",
        )
        + (f'<ol class="notes">{footnotes}</ol>' if footnotes else "")
        + (f'<ul class="notes">{scoring}</ul>' if scoring else "")
    )


def _title(head: Head) -> str:
    return f"{head.column.title}, reported" if head.published else head.column.title


def _kind(head: Head) -> str | None:
    return "published" if head.published else None


def _marks(marks: tuple[int, ...]) -> str:
    links = ",".join(f'<a href="#note-{k}">{k}</a>' for k in marks)
    return f"<sup>{links}</sup>" if links else ""


def _cell(head: Head, cell: Cell) -> str:
    if cell.value is None:
        return _element("td", MISSING + _marks(cell.marks), data_sort="", class_="missing")
    interval = _element("span", safe(cell.interval), class_="interval") if cell.interval else ""
    return _element(
        "td", safe(cell.text) + _marks(cell.marks) + interval, data_sort=repr(cell.value), class_=_kind(head)
    )


def curves(models: Sequence[Model]) -> str:
    """Loss, gradient norm and accuracy over steps of each part; the other quantities folded away."""
    text = ""
    for part in dict.fromkeys(name for _, name, _ in _parts(models)):
        drawn = panels(models, part)
        others = [panel for panel in drawn if not panel.main]
        if drawn:
            text += _element("h3", safe(TITLES_OF_PARTS.get(part, part)))
            text += _element("div", "".join(_figure(panel) for panel in drawn if panel.main), class_="panels")
        if others:
            folded = _element("div", "".join(map(_figure, others)), class_="panels")
            text += f"<details><summary>Other measurements ({len(others)})</summary>{folded}</details>"
    empty = [f"{model.label} ({name})" for model, name, part in _parts(models) if not part.series]
    note = f'<p class="fine">No metrics over steps: {safe(", ".join(empty))}.</p>' if empty else ""
    items = "".join(_element("li", swatch(k) + safe(model.label)) for k, model in enumerate(models) if model.parts)
    key = (
        '<p class="fine">Of a long curve the faint line is the record, the bold one its mean over stretches of steps. '
        "A cross marks the first value that is not finite.</p>"
    )
    return f'<ul class="legend">{items}</ul>{key}{text}{note}' if text else note


def _figure(panel: Panel) -> str:
    return f"<figure>{panel.svg}{_caption(safe('; '.join(panel.remarks)) + '.') if panel.remarks else ''}</figure>"


def _caption(text: str) -> str:
    return f"<figcaption>{text}</figcaption>"


def pictures(models: Sequence[Model]) -> str:
    """Views, phases and energies of the runs that recorded them, as many as the page may weigh."""
    text, left_out, budget = "", [], PICTURE_BUDGET
    for index, (model, name, part) in enumerate(_parts(models)):
        if not any((part.path / file).exists() for file in (VIEWS_FILE, PHASES_FILE)):
            continue
        drawn = "" if left_out else _pictures_of(part, f"picture-{index}")
        if left_out or len(drawn) > budget:
            left_out.append(f"{model.label} ({name})")
        else:
            budget -= len(drawn)
            text += _element("h3", safe(f"{model.label}, {TITLES_OF_PARTS.get(name, name).lower()}")) + drawn
    if left_out:
        note = f"Left out, to keep the page small: {', '.join(left_out)}. Report on these runs alone to see them."
        text += _element("p", safe(note), class_="fine")
    return text


def _pictures_of(part: Part, name: str) -> str:
    text = ""
    if views := load_views(part.path):
        caption = _caption("Views of the training images, as the objective gets them; one image a column.")
        text += f"<figure>{views_picture(views, name=f'{name}-views')}{caption}</figure>"
    if phases := load_phases(part.path):
        trace, dim, images = phases
        coding = "Red, green and blue are an oscillator's first three coordinates."
        if dim == 2:
            coding = f"Hue is the phase: {phase_key()} from 0 to 2&pi;."
        caption = _caption(f"Oscillators (N = {dim}) after each Kuramoto step. {coding} {CHOICE}")
        text += f"<figure>{phases_picture(trace, dim, images=images, name=f'{name}-phases')}{caption}</figure>"
        caption = _caption(f"Energy before each step and after the last: mean and range over {len(images)} images.")
        text += f"<figure>{energies_picture(trace, name=f'{name}-energies')}{caption}</figure>"
    return text


def all_results(models: Sequence[Model]) -> str:
    """Every metric of every result file, known to a column or not."""
    lines = []
    for model, name, result in _results(models):
        for key, metric in result.metrics.items():
            fields = "".join(_element("td", safe(text), class_="name") for text in (name, result.protocol, key))
            lines.append(f"<tr>{_element('th', safe(model.label), scope='row')}{fields}{_metric_fields(metric)}</tr>")
    head = "".join(_element("th", text, scope="col", class_="name") for text in ("model", "part", "protocol", "metric"))
    for text in ("value", "unit", "interval", "n", "draws", "std over draws", "std over seeds"):
        head += _element("th", text, scope="col", data_down="")
    return _table(f"<tr>{head}</tr>", lines, "sortable")


def _metric_fields(metric: Metric) -> str:
    is_percent = metric.unit in ("fraction", "percent")

    def shown(value: float | None) -> str:
        if value is None:
            return MISSING
        return f"{percent(metric, value):.2f}" if is_percent else f"{value:.5g}"

    interval = MISSING if metric.low is None or metric.high is None else f"{shown(metric.low)} to {shown(metric.high)}"
    rest = ["%" if is_percent else metric.unit, interval]
    rest += [MISSING if count is None else str(count) for count in (metric.n, metric.draws)]
    sort = repr(metric.value) if math.isfinite(metric.value) else ""
    return _element("td", safe(shown(metric.value)), data_sort=sort) + "".join(
        _element("td", safe(text)) for text in [*rest, shown(metric.std_over_draws), shown(metric.std_over_seeds)]
    )


def how_scored(models: Sequence[Model]) -> str:
    """Where each number comes from: data, weights, initial oscillators, options, time, notes."""
    heads = ("model", "file", "data", "encoder weights", "initial oscillators", "options", "seconds", "notes")
    kinds = (None, "key", "wide", None, None, "wide", None, "wide")
    lines = []
    for model, name, result in _results(models):
        fields = (
            f"{model.label}, {name}",
            result.path.name,
            _joined(result.data, "name", "split", "n", "fingerprint"),
            _joined(result.encoder, "weights", "sha256"),
            "deterministic" if result.encoder.get("stochastic") is False else _joined(result.encoder, "initial"),
            ", ".join(f"{key}={_compact(value)}" for key, value in result.options.items()),
            MISSING if result.seconds is None else f"{result.seconds:.1f}",
            " ".join(result.notes),
        )
        shown = zip(fields, kinds, strict=True)
        lines.append(f"<tr>{''.join(_element('td', safe(text or MISSING), class_=kind) for text, kind in shown)}</tr>")
    head = "".join(_element("th", text, scope="col") for text in heads)
    return _table(f"<tr>{head}</tr>", lines, "text")


def _joined(section: Mapping[str, Any], *keys: str) -> str:
    """The values under ``keys``; hashes by their first digits."""
    texts = {key: str(section[key]) for key in keys if section.get(key) is not None}
    texts |= {key: text[:12] for key, text in texts.items() if key in ("sha256", "fingerprint")}
    return ", ".join(f"n = {text}" if key == "n" else text for key, text in texts.items())


def _compact(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else option_text(value)


def recipes(models: Sequence[Model]) -> str:
    """The resolved recipe of each part, folded."""
    text = ""
    for model, name, part in _parts(models):
        title = safe(f"{model.label}, {name}")
        if part.recipe:
            text += f"<details><summary>{title}</summary><pre>{safe(part.recipe)}</pre></details>"
        else:
            text += f'<p class="fine">{title}: the run directory holds no recipe.yaml.</p>'
    return text


def environment(models: Sequence[Model]) -> str:
    """Versions, hardware and seeds of each part; what is alike everywhere once."""
    columns = {
        f"{m.label}, {name}": _flat(_sessions(part.environment)) for m, name, part in _parts(models) if part.environment
    }
    lines = []
    for key in dict.fromkeys(key for column in columns.values() for key in column):
        values = [column.get(key, MISSING) for column in columns.values()]
        if len(set(values)) == 1:
            fields = _element("td", safe(values[0]), colspan=str(len(values)))
        else:
            fields = "".join(_element("td", safe(value)) for value in values)
        lines.append(f"<tr>{_element('th', safe(key), scope='row', class_='key')}{fields}</tr>")
    head = "".join(_element("th", safe(label), scope="col") for label in columns)
    note = '<p class="fine">A value that is the same everywhere is written once.</p>' if len(columns) > 1 else ""
    return (note if lines else "") + _table(f"<tr><td></td>{head}</tr>", lines, "text")


def _sessions(content: Mapping[str, Any]) -> dict[str, Any]:
    """One session as it is, several by number."""
    sessions = content.get("sessions")
    if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
        return dict(content)
    rest = {key: value for key, value in content.items() if key != "sessions"}
    if len(sessions) == 1:
        return sessions[0] | rest
    return {f"session {k + 1}": session for k, session in enumerate(sessions)} | rest


def _flat(content: Any, before: str = "") -> dict[str, str]:
    if isinstance(content, dict):
        below = (_flat(value, f"{before}.{key}" if before else str(key)) for key, value in content.items())
        return {key: value for each in below for key, value in each.items()}
    return {before: ", ".join(map(_compact, content)) if isinstance(content, list) else str(content)}
