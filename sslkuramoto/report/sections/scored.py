"""How each number was scored."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.report.markup import element, joined, row_of, table_of
from sslkuramoto.report.runs import Model
from sslkuramoto.report.sections.environment import compact
from sslkuramoto.report.sections.section import Half, Section, results_of
from sslkuramoto.report.tables.table import MISSING


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


def section() -> Section:
    """Return this section."""
    return Section(
        runs=Half(90, "How each number was scored", lambda shown: how_scored(shown.models)),
    )
