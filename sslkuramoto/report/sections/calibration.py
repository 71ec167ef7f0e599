"""Accuracy against confidence."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import (
    Bins,
    Evidence,
    bins_of,
)
from sslkuramoto.report.markup import NOTHING, element, figure, fine, folded
from sslkuramoto.report.pictures.drawing import legend
from sslkuramoto.report.pictures.evidence import calibration_picture, reliability_picture
from sslkuramoto.report.sections.section import Half, Section

POOLED = (
    "Bins hold the answers of all draws, and a mean gap is taken over them together. An ECE in the tables is the mean "
    "over draws, each binned by itself; with few images it is larger, since chance leaves a gap in every bin."
)


def calibration(items: Sequence[Evidence]) -> Markup:
    """Accuracy against confidence of all networks in one picture, and a reliability diagram of each."""
    found = [(item, bins) for item in items if (bins := bins_of(item.result))]
    if not found:
        return NOTHING
    kinds = list(dict.fromkeys(each.name for _, bins in found for each in bins))
    text = fine(POOLED)
    for index, kind in enumerate(kinds):
        by_item = [(item, each) for item, bins in found for each in bins if each.name == kind]
        content = _calibration_of(kind, by_item, f"calibration-{index}")
        text += element("h3", kind) + content if index == 0 else folded(kind, content)
    return text


def _calibration_of(kind: str, found: Sequence[tuple[Evidence, Bins]], name: str) -> Markup:
    together: dict[int, tuple[str, Bins]] = {}
    for item, bins in found:
        together.setdefault(item.series, (item.label, bins))
    text = NOTHING
    if len(together) > 1:
        below = "Accuracy against confidence, one point a bin that holds answers. Below the diagonal: too sure."
        text = legend({series: label for series, (label, _) in together.items()})
        text += figure(calibration_picture(together, name=name), below)
    drawn = NOTHING
    for index, (item, bins) in enumerate(found):
        picture = reliability_picture(item.label, bins, series=item.series, name=f"{name}-{index}")
        gap = f"mean gap {100 * bins.calibration_error:.2f} %" if bins.filled else "no answers"
        drawn += figure(picture, f"{kind}, {sum(bins.count):.0f} answers: {gap}.")
    return text + element("div", drawn, class_="panels small")


def section() -> Section:
    """Accuracy of answers against their confidence: reliability diagrams."""
    return Section(
        runs=Half(50, "Calibration", lambda shown: calibration(shown.evidence)),
        study=Half(50, "Calibration", lambda shown: calibration(shown.evidence)),
    )
