"""How each number was scored: one fold per result."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.report.markup import NOTHING, bullets, element, folded, joined
from sslkuramoto.report.runs import Model
from sslkuramoto.report.sections.environment import compact, flat
from sslkuramoto.report.sections.section import Half, Section, results_of
from sslkuramoto.results import Result


def how_scored(models: Sequence[Model]) -> Markup:
    """Where each number comes from: data, weights, initial oscillators, time, options, notes."""
    text = NOTHING
    for model, name, result in results_of(models):
        facts = element("p", "; ".join(_facts(result)))
        options = [
            element("dt", key) + element("dd", value)
            for key, value in flat({key: _readable(value) for key, value in result.options.items()}).items()
        ]
        listed = element("dl", joined(options), class_="options") if options else NOTHING
        text += folded(f"{model.label}, {name}: {result.path.name}", facts + listed + bullets(result.notes))
    return text


def _facts(result: Result) -> Iterator[str]:
    yield f"data: {_joined(result.data, 'name', 'split', 'n', 'fingerprint')}"
    yield f"encoder weights: {_joined(result.encoder, 'weights', 'sha256')}"
    initial = "deterministic" if result.encoder.get("stochastic") is False else _joined(result.encoder, "initial")
    yield f"initial oscillators: {initial}"
    if result.seconds is not None:
        yield f"{result.seconds:.1f} seconds"


def _readable(value: Any) -> Any:
    """Return an option with each member of a list as people write it; mappings stay."""
    if isinstance(value, Mapping):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_member(item) if isinstance(item, Mapping) else item for item in value]
    return value


def _member(entry: Mapping[str, Any]) -> str:
    """Return a member with options as people write it: ``pgd(k=8, iterations=30)``."""
    rest = ", ".join(f"{key}={compact(value)}" for key, value in entry.items() if key != "name")
    return f"{entry.get('name', '')}({rest})"


def _joined(section: Mapping[str, Any], *keys: str) -> str:
    """The values under ``keys``; hashes by their first digits."""
    texts = {key: str(section[key]) for key in keys if section.get(key) is not None}
    texts |= {key: text[:12] for key, text in texts.items() if key in ("sha256", "fingerprint")}
    return ", ".join(f"n = {text}" if key == "n" else text for key, text in texts.items()) or "not stated"


def section() -> Section:
    """How each number was scored: one fold for each result."""
    return Section(
        runs=Half(90, "How each number was scored", lambda shown: how_scored(shown.models)),
    )
