"""How far the nearest mistake of an image is: a line for each result, and the accuracy against eps."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Evidence, numbers
from sslkuramoto.report.markup import NOTHING, cells, element, figure, fine, heads_of, line_of, number_field, table_of
from sslkuramoto.report.pictures.distances import NORMS, Fall, falls_picture
from sslkuramoto.report.sections.results import metric_fields
from sslkuramoto.report.sections.section import Half, Section
from sslkuramoto.report.tables.summary import MISSING
from sslkuramoto.results import Result

NAME = "distance"
HOW_TO_READ = (
    "Distance of each image to the nearest mistake that the attacks found: an upper bound of the true distance, so the "
    "accuracy against eps is one of the robust accuracy. An image counts as correct at eps if no mistake was found "
    "within eps; one that was never fooled counts in the median as the largest distance searched. The bands are 95 % "
    "intervals over images at each eps by itself."
)


def fall_of(result: Result) -> Fall | None:
    """Return the accuracy against eps of a result, or None when it measured no distances.

    Raises:
        UserError: it is not as the protocol leaves it.
    """
    found, where = result.details.get(NAME), f"{result.path}: details.{NAME}"
    if found is None:
        return None
    if not isinstance(found, Mapping) or found.get("norm") not in NORMS:
        raise UserError(f"{where}: must be an object with a norm, {' or '.join(NORMS)}")
    eps, accuracy = (numbers(f"{where}.{key}", found.get(key)) for key in ("eps", "accuracy"))
    images = found.get("images")
    if not isinstance(images, int) or isinstance(images, bool) or images < 1:
        raise UserError(f"{where}.images={images!r}: must be a whole number above 0")
    increasing = eps[:1] == (0.0,) and all(before < after for before, after in pairwise(eps))
    if not increasing or len(eps) != len(accuracy) or not all(0 <= share <= 1 for share in accuracy):
        raise UserError(f"{where}: needs increasing eps from 0, and for each an accuracy in [0,1]")
    return Fall(found["norm"], images, eps, accuracy)


def distances(items: Sequence[Evidence]) -> Markup:
    """One picture for each protocol and norm, with a line for each network; below it the numbers."""
    found = [(item, fall) for item in items if (fall := fall_of(item.result)) is not None]
    drawn = NOTHING
    kinds = dict.fromkeys((item.result.path.stem, fall.norm) for item, fall in found)
    for place, (stem, norm) in enumerate(kinds):
        own: dict[int, tuple[str, Fall]] = {}
        for item, fall in found:
            if (item.result.path.stem, fall.norm) == (stem, norm):
                own.setdefault(item.series, (item.label, fall))
        drawn += figure(falls_picture(own, title=f"{stem}, {NORMS[norm]}", name=f"distances-{place}"))
    lines = [line_of(item.label, _fields(item.result, fall)) for item, fall in found]
    head = heads_of("model", "result", "norm", numbers=["images", *_HEADS.values()])
    table = table_of(head, lines, "text sortable", label="distances of nearest mistakes")
    return fine(HOW_TO_READ) + element("div", drawn, class_="panels") + table if found else NOTHING


_HEADS = {
    "median_distance": "median distance (pixels)",
    "never_fooled": "never fooled (%)",
    "clean_accuracy": "clean accuracy (%)",
}


def _fields(result: Result, fall: Fall) -> Markup:
    text = cells((result.path.stem, NORMS[fall.norm]), class_="name") + element("td", str(fall.images))
    for name in _HEADS:
        metric = result.metrics.get(name)
        if metric is None:
            text += number_field(MISSING, None)
            continue
        value, _, interval, *_ = metric_fields(metric)
        text += number_field(f"{value} ({interval})", metric.value)
    return text


def section() -> Section:
    """Distances to the nearest mistake: medians, shares never fooled, and the accuracy against eps."""
    return Section(
        runs=Half(47, "Nearest mistakes", lambda shown: distances(shown.evidence)),
        study=Half(47, "Nearest mistakes", lambda shown: distances(shown.evidence)),
    )
