"""Scenes with the clusters that a network finds in them, and scores against the number of clusters."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Curve, Evidence
from sslkuramoto.report.markup import NOTHING, element, figure, joined, left_out_note
from sslkuramoto.report.pictures.evidence import curve_picture
from sslkuramoto.report.pictures.objects import scenes_picture
from sslkuramoto.report.scenes import scenes_of
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section

BELOW = (
    "Each image by itself is cut into clusters of its tokens; nothing was trained on the objects. A cluster has the "
    "colour of the object that it matches best (one to one, by intersection over union); other clusters have colours "
    "of their own. Dark is background, white is not counted. Right: the first three principal components of the map as "
    "red, green and blue. One draw of the oscillators."
)
OVERLAPS = {"mbo": "MBO of instances", "mbo_class": "MBO of classes"}


def objects(items: Sequence[Evidence]) -> Markup:
    """Curves over the number of clusters, then scenes; empty without any."""
    drawn = [figure(curve_picture(curve, name=f"clusters-{number}")) for number, curve in enumerate(curves(items))]
    panels = element("div", joined(drawn), class_="panels") if drawn else NOTHING
    return panels + scenes(items)


def curves(items: Sequence[Evidence]) -> list[Curve]:
    """Return the overlaps against the number of clusters, as in figure 25 of Miyato et al. 2025.

    Networks that were measured on the same images with the same numbers share a picture: the choice of images depends
    on the set and on how many are taken.

    Raises:
        UserError: details of a result are not as the protocol leaves them.
    """
    found: dict[tuple[str, str, str, tuple[float, ...]], dict[str, tuple[float, ...]]] = {}
    for item in items:
        for name, points in _over_clusters(item).items():
            data = item.result.data
            of = " ".join(
                str(part) for part in (data.get("n"), "images of", data.get("name"), data.get("split")) if part
            )
            group = found.setdefault((name, of, str(data.get("fingerprint")), tuple(points)), {})
            group[f"{item.label}, {item.result.protocol}"] = tuple(points.values())
    return [
        Curve(f"{OVERLAPS[name]} against clusters, {of}", "number of clusters", "fraction", counts, series)
        for (name, of, _, counts), series in found.items()
    ]


def _over_clusters(item: Evidence) -> dict[str, dict[float, float]]:
    """Return each overlap of a result: number of clusters -> value."""
    try:
        points: Mapping[str, Mapping[str, Mapping[str, float]]] = item.result.details.get("objects", {}).get(
            "clusters", {}
        )
        whole = {
            name: {float(k): float(each[name]["value"]) for k, each in points.items() if name in each}
            for name in OVERLAPS
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(f"{item.result.path}: details.objects: not as the protocol leaves it") from None
    return {name: dict(sorted(found.items())) for name, found in whole.items() if found}


def scenes(items: Sequence[Evidence]) -> Markup:
    """Scenes and their clusters, as many as the page may weigh; empty without any."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for number, item in enumerate(items):
        if (stored := scenes_of(item.result)) is None:
            continue
        drawn = figure(scenes_picture(stored, name=f"scenes-{number}"), BELOW)
        if len(drawn) <= budget:
            budget -= len(drawn)
            text += element("h3", f"{item.label}, {item.result.protocol}") + drawn
        else:
            left_out.append(item.label)
    return text + left_out_note(left_out, "Left out")


def section() -> Section:
    """Objects: scores against the number of clusters, and scenes with the clusters that a network finds in them."""
    return Section(
        runs=Half(65, "Objects", lambda shown: objects(shown.evidence)),
        study=Half(75, "Objects", lambda shown: objects(shown.evidence)),
    )
