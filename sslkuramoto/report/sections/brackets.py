"""Accuracy of smoothed networks between a proof and an attack: a band over the radius, one line for each radius."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Evidence, numbers
from sslkuramoto.report.markup import NOTHING, bullets, element, figure, fine, folded
from sslkuramoto.report.pictures.brackets import Band, band_picture
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.results import Result

HOW_TO_READ = (
    "Accuracy of the vote of a network under Gaussian noise of size sigma, in l2. The lower end is proven by "
    "randomised smoothing, each image with an error of at most alpha; the upper end is what attacks on the same "
    "vote left. It says nothing of the network without noise."
)


def bands_of(result: Result) -> list[Band]:
    """Return the brackets of a result, none when it certified nothing.

    Raises:
        UserError: they are not as the protocol leaves them.
    """
    where, found = f"{result.path}: details.brackets", result.details.get("brackets") or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise UserError(f"{where}: must be a list of objects")
    return [_band(where, each) for each in found]


def _band(where: str, content: Mapping[str, Any]) -> Band:
    (sigma,) = numbers(f"{where}.sigma", [content.get("sigma")])
    lists = {key: numbers(f"{where}.{key}", content.get(key)) for key in ("radii", "certified", "attacked")}
    if len({len(values) for values in lists.values()}) > 1:
        raise UserError(f"{where}: radii, certified and attacked need equally many numbers")
    lines = content.get("lines") or []
    if not isinstance(lines, list):
        raise UserError(f"{where}.lines: must be a list of sentences")
    return Band(sigma, lines=tuple(map(str, lines)), void=str(content.get("void") or ""), **lists)


def brackets(items: Sequence[Evidence]) -> Markup:
    """One picture for each size of noise, with a band for each network; below it the lines, folded."""
    found = [(item, band) for item in items for band in bands_of(item.result)]
    if not found:
        return NOTHING
    drawn = NOTHING
    for index, sigma in enumerate(sorted({band.sigma for _, band in found})):
        own: dict[int, tuple[str, Band]] = {}
        for item, band in found:
            if band.sigma == sigma and not band.void:
                own.setdefault(item.series, (item.label, band))
        drawn += figure(band_picture(own, sigma=sigma, name=f"brackets-{index}")) if own else NOTHING
    void = [f"{item.label}: {band.void}" for item, band in found if band.void]
    text = fine(HOW_TO_READ) + element("div", drawn, class_="panels")
    text += bullets(void) if void else NOTHING
    lines = [f"{item.label}: {line}" for item, band in found if not band.void for line in band.lines]
    return text + (folded("Every radius", bullets(lines)) if lines else NOTHING)


def section() -> Section:
    """Certified and attacked accuracy of smoothed networks."""
    return Section(
        runs=Half(45, "Certified and attacked", lambda shown: brackets(shown.evidence)),
        study=Half(45, "Certified and attacked", lambda shown: brackets(shown.evidence)),
    )
