"""Relations: energies and coherences of same and different pairs, and a few examples with their phases."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.errors import UserError
from sslkuramoto.report.evidence import Evidence, numbers
from sslkuramoto.report.markup import NOTHING, element, figure, fine, joined, left_out_note
from sslkuramoto.report.pictures.drawing import legend
from sslkuramoto.report.pictures.relations import (
    HOW_PAIRS,
    SERIES,
    Trajectory,
    coherences_picture,
    energies_picture,
    match_picture,
    phases_picture,
)
from sslkuramoto.report.related import Related, related_of
from sslkuramoto.report.sections.section import PICTURE_BUDGET, Half, Section

NAME = "relations"
ABOUT_ENERGIES = "Mean over pairs and draws, with a band of one standard deviation to each side."
ABOUT_COHERENCES = "Coherence of one dimension at t = T, over all dimensions, pairs and draws."
ABOUT_PHASES = (
    "A few pairs of unseen icons, and their oscillators at t = T in one draw. Filled: first image; hollow: second "
    "image; a line joins the two oscillators of one dimension."
)
ABOUT_MATCHES = "A few examples of unseen icons: source, first and second target pair; a star marks the right one."


def relations(items: Sequence[Evidence]) -> Markup:
    """Curves and examples of each result of the protocol, as many as the page may weigh; empty without any."""
    text, left_out, budget = NOTHING, [], PICTURE_BUDGET
    for number, item in enumerate(items):
        if NAME not in item.result.details:
            continue
        drawn = _one(item, f"{NAME}-{number}")
        if len(drawn) <= budget:
            budget -= len(drawn)
            text += drawn
        else:
            left_out.append(item.label)
    return text + left_out_note(left_out, "Left out")


def _one(item: Evidence, name: str) -> Markup:
    """Return the pictures of a result; nothing where it has neither oscillators nor stored examples."""
    try:
        details: Mapping[str, Any] = item.result.details[NAME]
        drawn = [*_energies(details, name), *_coherences(details, name)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, UserError):
        raise UserError(f"{item.result.path}: details.{NAME}: not as the protocol leaves it") from None
    content = legend({series: kind for kind, series in SERIES.items()}) if drawn else NOTHING
    content += element("div", joined(drawn), class_="panels") if drawn else NOTHING
    if (stored := related_of(item.result)) is not None:
        content += _examples(stored, name)
    return element("h3", f"{item.label}: {item.result.path.stem}") + content if content else NOTHING


def _energies(details: Mapping[str, Any], name: str) -> list[Markup]:
    if "energy" not in details:
        return []
    kinds = {
        kind: Trajectory(numbers("mean", found["mean"]), numbers("std", found["std"]))
        for kind, found in details["energy"].items()
    }
    if len({len(values) for each in kinds.values() for values in (each.mean, each.std)}) != 1:
        raise ValueError
    return [figure(energies_picture(kinds, name=f"{name}-energy"), ABOUT_ENERGIES)]


def _coherences(details: Mapping[str, Any], name: str) -> list[Markup]:
    if "coherence" not in details:
        return []
    found: Mapping[str, Any] = details["coherence"]
    edges = numbers("edges", found["edges"])
    kinds = {kind: numbers(kind, found[kind]) for kind in SERIES}
    return [figure(coherences_picture(edges, kinds, name=f"{name}-rho"), ABOUT_COHERENCES)]


def _examples(stored: Related, name: str) -> Markup:
    if stored.images.shape[1] == 6:
        drawn = [
            figure(match_picture(images, int(target), name=f"{name}-example-{k}"))
            for k, (images, target) in enumerate(zip(stored.images, stored.targets, strict=True))
        ]
        return fine(ABOUT_MATCHES) + element("div", joined(drawn), class_="panels small")
    kinds = list(SERIES)
    drawn = [
        figure(
            phases_picture(
                images,
                None if stored.states is None else stored.states[k],
                kinds[int(stored.targets[k])],
                name=f"{name}-example-{k}",
            )
        )
        for k, images in enumerate(stored.images)
    ]
    below = "A few pairs of unseen icons."
    if stored.states is not None:
        below = f"{ABOUT_PHASES} {HOW_PAIRS.get(stored.states.shape[3], HOW_PAIRS[3])}"
    kind = "panels small" if stored.states is None else "panels"
    return fine(below) + element("div", joined(drawn), class_=kind)


def section() -> Section:
    """Relations: energies and coherences of same and different pairs, and a few examples."""
    return Section(
        runs=Half(57, "Relations", lambda shown: relations(shown.evidence)),
        study=Half(57, "Relations", lambda shown: relations(shown.evidence)),
    )
