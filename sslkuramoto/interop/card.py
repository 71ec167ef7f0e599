"""The model card: how the weights were trained, how to load them, and every figure that was measured of them.

A figure has its interval, images, draws, protocol and seed beside it. The front matter is that of Mitchell et al. 2019
as hubs read it ("Model Cards for Model Reporting", arXiv 1810.03993).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images
from sslkuramoto.files import at_home, is_free
from sslkuramoto.interop.trained import Figures, Trained
from sslkuramoto.recipe import dump_recipe, recipe_from
from sslkuramoto.report.runs import read_text
from sslkuramoto.report.tables.text import in_markdown
from sslkuramoto.results import Metric, Result
from sslkuramoto.run_directory import RunDirectory, impersonal
from sslkuramoto.values import option_text

HEADS = ("protocol", "metric", "value", "95 % interval", "images", "draws", "seed", "data")
CARD = "README.md"
FORMATS = {"torch": "torch", "timm": "torch", "hub-folder": "torch", "onnx": "onnx", "images": "images"}
"""What is exported -> the files that it consists of; what has the same files may be written over another."""
NUMBERS = ("value", "95 % interval", "images", "draws", "seed")  # of HEADS, set to the right


def written(kind: str) -> str:
    """Return the sentence of every card that shows whose folder it is; ``kind`` is one of ``FORMATS``."""
    return f"Written by sslkuramoto export, files for {FORMATS[kind]}."


def check_folder(out: Path, kind: str) -> None:
    """Check, before anything is written, that an export overwrites nothing of others and mixes with no other files.

    Args:
        out: the folder.
        kind: what will be written, one of ``FORMATS``.

    Raises:
        UserError: it is neither new, nor empty, nor that of an earlier export of such files.
    """
    if not is_free(out) and written(kind) not in (read_text(out / CARD) or ""):
        what = f"no README.md of an export of files for {FORMATS[kind]}"
        raise UserError(f"--out={out}: holds files and {what}; choose a new folder")


def card(model: Trained, usage: str, kind: str, *, notes: Sequence[str] = (), front_matter: bool = False) -> str:
    """Return the text of README.md.

    Args:
        model: the run.
        usage: Markdown that shows how the files are read.
        kind: what is exported, one of ``FORMATS``.
        notes: further paragraphs, such as on the check of an ONNX file.
        front_matter: whether a YAML header repeats the main facts for a hub.
    """
    figures = model.results()
    parts = [
        f"# {in_markdown(model.name)}",
        f"{_trained(model)}{written(kind)}",
        "## Use",
        usage.strip(),
        _oscillators(model),
        *notes,
        "## Measured",
        measured(figures),
        "## Recipe",
        f"```yaml\n{dump_recipe(recipe_from(model.public_recipe())).strip()}\n```",
    ]
    header = f"---\n{yaml.safe_dump(_front_matter(model, figures.own), sort_keys=False, allow_unicode=True)}---\n\n"
    return impersonal((header if front_matter else "") + "\n\n".join(part for part in parts if part) + "\n")


_INPUTS = {
    "images": "Images have {size} pixels per side, values in [0,1]; normalisation happens inside. ",
    "boards": "Boards have {size} cells per side; {cells}. ",
}
"""What a reader must know of the inputs, by kind of spec."""


def _trained(model: Trained) -> str:
    recipe = model.recipe
    what = "encoder" if model.head is None else "encoder with a classifier"
    boards = model.encoder.inputs
    cells = "0 is a blank cell" if boards is None or boards.input_symbols is None else f"symbols 1 to {boards.entries}"
    start = "" if recipe.init is None else f" It started from {_start(at_home(recipe.init))}."
    average = " (averaged over training)" if recipe.weight_ema is not None and model.subject.weights == "ema" else ""
    return (
        f"An {what}: `{recipe.encoder.name}`, trained by `{recipe.objective.name}` on `{recipe.data.name}`, "
        f"{recipe.epochs} epochs, seed {recipe.seed}, {model.subject.weights} weights{average}.{start} "
        f"{_INPUTS.get(model.kind, '').format(size=model.size, cells=cells)}"
    )


def _start(init: Path) -> str:
    """Return words for the run that training started from; it may be gone by now."""
    run = RunDirectory(init).owner
    by = f", trained by `{run.recipe().objective.name}`" if run.recipe_file.is_file() else ""
    after = "" if run.path == init else f" after {init.name.replace('-', ' ')}"
    return f"the encoder of the run `{run.path.name}`{after}{by}"


def _oscillators(model: Trained) -> str:
    if not model.encoder.stochastic:
        return f"The network is deterministic: equal {model.kind} give equal outputs."
    return (
        f"The network draws its initial oscillators: two calls on equal {model.kind} differ unless `initial` "
        "(oscillators) or `draw` (a generator) is given. Figures below are means over draws where their column says so."
    )


def measured(figures: Figures) -> str:
    """Return the table of all figures of these weights, then figures of weights that were trained from them."""
    rows = [_row(result, name, metric) for result in figures.own for name, metric in result.metrics.items()]
    lines = [] if rows else ["Nothing was measured yet."]
    if rows:
        rule = "|".join(" ---: " if head in NUMBERS else " :--- " for head in HEADS)
        lines += [f"| {' | '.join(HEADS)} |", f"|{rule}|"]
        lines += [f"| {' | '.join(map(in_markdown, row))} |" for row in rows]
    for result in figures.further:
        shown = ", ".join(f"{name} {_value(metric)}" for name, metric in result.metrics.items())
        protocol = in_markdown(result.protocol)
        lines += ["", f"Not of these weights, but of those that {protocol} trained from them: {in_markdown(shown)}."]
    if figures.left_out:
        count = f"{figures.left_out} result{'' if figures.left_out == 1 else 's'} of the run"
        lines += ["", f"Left out: {count}, of other weights or with changed options of encoder or data."]
    stated = [(result.protocol, line) for result in figures.own for line in (_options(result), *result.notes) if line]
    how = [f"- {in_markdown(protocol)}: {in_markdown(line)}" for protocol, line in stated]
    return "\n".join([*lines, *(["", "How they were measured:", "", *how] if how else [])])


def _options(result: Result) -> str:
    return ", ".join(f"{key}={option_text(value)}" for key, value in result.options.items() if value is not None)


def _row(result: Result, name: str, metric: Metric) -> list[str]:
    scale, _ = _scale(metric)
    interval = "-"
    if metric.low is not None and metric.high is not None:
        interval = f"{metric.low * scale:.2f} to {metric.high * scale:.2f}"
    counts = ["-" if count is None else str(count) for count in (metric.n, metric.draws, result.seed)]
    data = " ".join(str(result.data[key]) for key in ("name", "split") if result.data.get(key))
    return [result.protocol, name, _value(metric), interval, *counts, data]


def _scale(metric: Metric) -> tuple[int, str]:
    return (100, " %") if metric.unit == "fraction" else (1, f" {metric.unit}" if metric.unit else "")


def _value(metric: Metric) -> str:
    scale, sign = _scale(metric)
    return "missing" if math.isnan(metric.value) else f"{metric.value * scale:.2f}{sign}"


def _front_matter(model: Trained, results: Sequence[Result]) -> dict[str, Any]:
    classifies = model.head is not None
    task = "image-classification" if classifies else "image-feature-extraction"
    task = task if model.kind == Images.kind else "other"
    measurements = [
        {
            "task": {"type": task},
            "dataset": {"name": str(result.data.get("name")), "type": str(result.data.get("name"))}
            | ({"split": str(result.data["split"])} if result.data.get("split") else {}),
            "metrics": [
                {"type": name, "value": metric.value, "name": f"{result.protocol}: {name}"}
                for name, metric in result.metrics.items()
                if not math.isnan(metric.value)
            ],
        }
        for result in results
    ]
    return {
        "library_name": "sslkuramoto",
        "pipeline_tag": task,
        "tags": ["sslkuramoto", model.recipe.encoder.name, model.recipe.objective.name, "self-supervised-learning"],
        "datasets": [model.recipe.data.name],
        **({"model-index": [{"name": model.name, "results": measurements}]} if measurements else {}),
    }
