"""Numbers of a run against its epochs: results of kept checkpoints and of the end, as figure 27 of Miyato et al."""

import json
from collections.abc import Mapping, Sequence
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
from sslkuramoto.results import Result


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
    wanted = dict.fromkeys(name for column in columns for name in column.metrics)
    series = {
        name: tuple(result.metrics[name].value for result in by_epoch.values())
        for name in wanted
        if all(name in result.metrics and result.metrics[name].unit == "fraction" for result in by_epoch.values())
    }
    title = f"{label}: {first.described_by or first.protocol} against epochs"
    x = tuple(map(float, by_epoch))
    return [Curve(title, "epochs of training", "fraction", x, series)] if series else []


def section() -> Section:
    """Numbers of a run against its epochs."""
    return Section(
        runs=Half(33, "Over training", lambda shown: over_epochs(shown.models)),
    )
