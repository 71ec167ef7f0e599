"""Numbers against the radius of an attack: on the features of encoders, and on the initial oscillators."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Curve, Evidence, numbers
from sslkuramoto.report.markup import NOTHING, element, figure, fine, joined
from sslkuramoto.report.pictures.evidence import curve_picture
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.results import Result

DETAILS = "curves"
HOW_TO_READ = (
    "Each number is what the attack left, so a stronger attack can only make it worse. At radius 0 nothing is "
    "attacked: what an encoder that draws its oscillators shows there is its own difference between two draws."
)


def curves_of(result: Result) -> list[Curve]:
    """Return the curves of a result, each with its values under the name of the result; none without any.

    Raises:
        UserError: they are not as the protocols leave them.
    """
    where, found = f"{result.path}: details.{DETAILS}", result.details.get(DETAILS) or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise UserError(f"{where}: must be a list of objects")
    return [_curve(where, result.path.stem, each) for each in found]


def _curve(where: str, name: str, content: Mapping[str, Any]) -> Curve:
    x, y = (numbers(f"{where}.{axis}", content.get(axis)) for axis in "xy")
    if len(x) != len(y) or not x:
        raise UserError(f"{where}: x and y need equally many numbers")
    title, label, unit = (str(content.get(key) or "") for key in ("title", "x_label", "unit"))
    return Curve(title, label, unit, x, {name: y})


def attack_curves(items: Sequence[Evidence]) -> Markup:
    """One picture for each number, with a line for each network that was attacked at the same radii."""
    together: dict[tuple[str, str, str, tuple[float, ...]], dict[str, tuple[float, ...]]] = {}
    for item in items:
        for curve in curves_of(item.result):
            ((name, y),) = curve.series.items()
            lines = together.setdefault((curve.title, curve.x_label, curve.unit, curve.x), {})
            lines[item.label if item.label not in lines else f"{item.label}, {name}"] = y
    drawn = [
        figure(curve_picture(Curve(title, label, unit, x, lines), name=f"attack-curves-{place}"))
        for place, ((title, label, unit, x), lines) in enumerate(together.items())
    ]
    return fine(HOW_TO_READ) + element("div", joined(drawn), class_="panels") if drawn else NOTHING


def section() -> Section:
    """Features and accuracies against the radius of an attack on pixels or on initial oscillators."""
    return Section(
        runs=Half(46, "Attacks against their radius", lambda shown: attack_curves(shown.evidence)),
        study=Half(46, "Attacks against their radius", lambda shown: attack_curves(shown.evidence)),
    )
