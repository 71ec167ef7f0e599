"""Scenes with the clusters that a network finds in them."""

from collections.abc import Sequence

from markupsafe import Markup

from sslkuramoto.report.evidence import Evidence
from sslkuramoto.report.markup import NOTHING, element, figure, left_out_note
from sslkuramoto.report.pictures.objects import scenes_picture
from sslkuramoto.report.scenes import scenes_of
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section

BELOW = (
    "Each image by itself is cut into clusters of its tokens; nothing was trained on the objects. A cluster has the "
    "colour of the object that it matches best (one to one, by intersection over union); other clusters have colours "
    "of their own. Dark is background, white is not counted. Right: the first three principal components of the map as "
    "red, green and blue. One draw of the oscillators."
)


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
    """Scenes with the clusters that a network finds in them."""
    return Section(
        runs=Half(65, "Objects", lambda shown: scenes(shown.evidence)),
        study=Half(75, "Objects", lambda shown: scenes(shown.evidence)),
    )
