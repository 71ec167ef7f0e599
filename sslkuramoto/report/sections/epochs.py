"""Numbers of a run against its epochs: results of kept checkpoints and of the end.

As figure 27 of Miyato et al. 2025, and for the energies of mazes figure 8 of WONN (arXiv 2605.20922).
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from markupsafe import Markup

from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.described import kind_of
from sslkuramoto.evaluation.protocol import Protocol
from sslkuramoto.recipe import load_recipe
from sslkuramoto.report.evidence import Curve
from sslkuramoto.report.markup import NOTHING, element, figure, joined
from sslkuramoto.report.pictures.evidence import curve_picture
from sslkuramoto.report.runs import Model, Part
from sslkuramoto.report.sections.section import Half, Section, parts_of
from sslkuramoto.results import ENERGY, Result

EPOCHS = "epochs of training"


def over_epochs(models: Sequence[Model]) -> Markup:
    """One panel for each measurement of which kept checkpoints have results; empty without any."""
    curves = [curve for model, name, part in parts_of(models) for curve in curves_of(f"{model.label}, {name}", part)]
    drawn = [figure(curve_picture(curve, name=f"epochs-{number}")) for number, curve in enumerate(curves)]
    return element("div", joined(drawn), class_="panels") if drawn else NOTHING


def curves_of(label: str, part: Part) -> list[Curve]:
    """Return the numbers of a run's columns against the epoch, one curve for each protocol, options and data.

    The measurement of the finished run is the last point, where it was made in the same way.
    """
    found: dict[str, dict[int | None, Result]] = {}
    for result in part.results:
        encoder, epoch = result.encoder, result.encoder.get("checkpoint")
        same: list[Any] = [result.kind, result.described_by, result.options, result.data, result.seed]
        same += [encoder.get("weights"), encoder.get("changed_options")]
        if epoch is None or (isinstance(epoch, int) and not isinstance(epoch, bool)):
            found.setdefault(json.dumps(same, sort_keys=True, default=str), {})[epoch] = result
    return [curve for each in found.values() if {*each} != {None} for curve in _curve(label, part, each)]


def _curve(label: str, part: Part, found: Mapping[int | None, Result]) -> list[Curve]:
    last = load_recipe(part.path / "recipe.yaml").epochs if None in found else 0
    by_epoch = dict(sorted((last if epoch is None else epoch, result) for epoch, result in found.items()))
    first = next(iter(by_epoch.values()))
    kind = kind_of(first)
    columns = cast(type[Protocol], PROTOCOLS[kind]).columns if kind in set(PROTOCOLS) else ()
    shares = _in_all(by_epoch.values(), "fraction")
    series = {name: shares[name] for column in columns for name in column.metrics if name in shares}
    title = f"{label}: {first.described_by or first.protocol} against epochs"
    x = tuple(map(float, by_epoch))
    curves = [Curve(title, EPOCHS, "fraction", x, series)] if series else []
    energies = _in_all(by_epoch.values(), ENERGY)
    return [*curves, *(Curve(f"{title}, {name}", EPOCHS, ENERGY, x, {name: y}) for name, y in energies.items())]


def _in_all(results: Collection[Result], unit: str) -> dict[str, tuple[float, ...]]:
    """Return the numbers of a unit that all results have."""
    first = next(iter(results)).metrics
    common = [name for name in first if all(name in r.metrics and r.metrics[name].unit == unit for r in results)]
    return {name: tuple(result.metrics[name].value for result in results) for name in common}


def section() -> Section:
    """Numbers of a run against its epochs."""
    return Section(
        runs=Half(33, "Over training", lambda shown: over_epochs(shown.models)),
    )
