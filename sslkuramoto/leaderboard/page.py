"""The page of the board: one line for each network and threat, sortable and filtered, and the curve of each network."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sslkuramoto.leaderboard.recompute import radius_of
from sslkuramoto.report.evidence import Curve
from sslkuramoto.report.markup import (
    NOTHING,
    bullets,
    cells,
    figure,
    fine,
    folded,
    heads_of,
    joined,
    line_of,
    number_field,
    table_of,
)
from sslkuramoto.report.page import document
from sslkuramoto.report.pictures.evidence import curve_picture
from sslkuramoto.results import READINGS
from sslkuramoto.threat import shown_eps

HOW_TO_READ = (
    "Every robust accuracy is an upper bound: a stronger attack can only lower it. Intervals are over images, not over "
    "draws or trainings. A reading that no number states, or more than one, is a dash. The bracket speaks of the "
    "network smoothed by noise, in l2."
)
SHOWN = tuple(sorted(READINGS, key=lambda reading: reading != "union"))
"""The readings, the headline first."""
NUMBERS = ("eps", *SHOWN, "images", "draws", "seconds")
TEXTS = ("audit", "bracket (smoothed, l2)", "trained by", "protocol", "weights")

TITLE = "sslkuramoto board"


def board_page(cards: Sequence[Mapping[str, Any]], *, title: str = TITLE) -> str:
    """Return the page's text.

    Args:
        cards: each checked against its run (:func:`~sslkuramoto.leaderboard.network.checked_card`).
        title: heading of the page.
    """
    lines = sorted(((card, measured) for card in cards for measured in card["robust"]), key=_place)
    head = heads_of("network", "data", "norm", numbers=NUMBERS, after=TEXTS)
    table = fine(HOW_TO_READ)
    names = _data_names([measured["data"] for _, measured in lines])
    table += table_of(head, (_line(*line, names) for line in lines), "text sortable filtered", label="networks")
    details = joined(folded(card["name"], _details(card, f"card-{k}")) for k, card in enumerate(cards))
    count = f"{len(cards)} network{'' if len(cards) == 1 else 's'}, each recomputed from its run."
    lead = " ".join([count, *(f"{line}." for line in same_weights(cards))])
    return document({"board": ("Board", table), "networks": ("Networks", details)}, title=title, lead=lead)


def same_weights(cards: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence, without its full stop, for each set of cards whose encoder and head have the same hashes."""
    names: dict[tuple[str | None, str | None], list[str]] = {}
    for card in cards:
        names.setdefault((card["network"]["encoder"], card["network"]["head"]), []).append(card["name"])
    return [f"{', '.join(own)}: the same weights" for own in names.values() if len(own) > 1]


def _place(line: tuple[Mapping[str, Any], Mapping[str, Any]]) -> tuple[Any, ...]:
    """Return what lines are sorted by: those of one data set and threat together, the largest union first."""
    card, measured = line
    threat, data = measured["threat"], measured["data"]
    union = [entry["value"] for entry in measured["readings"].get("union", []) if entry["value"] is not None]
    best = -max(union) if union else 1.0
    norm, eps = radius_of(threat)
    return *map(str, _key(data)), str(norm), eps or 0.0, best, card["name"]


def _key(data: Mapping[str, Any]) -> tuple[str | None, ...]:
    return data["name"], data["split"], data["fingerprint"]


def _data_names(found: Sequence[Mapping[str, Any]]) -> dict[tuple[str | None, ...], str]:
    """Return what the page calls each data set: where others have its name and split, with its fingerprint's start."""
    names = {_key(data): " ".join(str(data[key]) for key in ("name", "split") if data[key]) for data in found}
    shared = [name for name in names.values() if list(names.values()).count(name) > 1]
    return {key: f"{name} ({(key[2] or '-')[:8]})" if name in shared else name for key, name in names.items()}


def _line(card: Mapping[str, Any], measured: Mapping[str, Any], names: Mapping[tuple[str | None, ...], str]) -> Markup:
    network, threat = card["network"], measured["threat"]
    trained = " ".join(str(network[key]) for key in ("kind", "objective") if network[key])
    brackets = [line for each in card["brackets"] for line in each["lines"]]
    bracket = brackets[min(1, len(brackets) - 1)] if brackets else "-"  # the first is at radius 0
    audits = [f"{audit['word']} ({audit['threat']})" for audit in card["audits"] if not audit["plant"]]
    digest = f"{(network['encoder'] or '-')[:10]}{'' if network['weights_checked'] else ' (as results state)'}"
    _, eps = radius_of(threat)
    fields = cells((names[_key(measured["data"])], threat["norm"] or "-"), class_="name")
    fields += number_field("-" if eps is None else shown_eps(eps), eps)
    fields += joined(_share(measured["readings"].get(reading, [])) for reading in SHOWN)
    for key in ("n", "draws"):
        found = [entry[key] for own in measured["readings"].values() for entry in own if entry[key]]
        fields += number_field(max(found, default="-"), max(found, default=None))
    seconds = measured["seconds"]
    fields += number_field("-" if seconds is None else f"{seconds:.0f}", seconds)
    changed = f"; changed: {', '.join(measured['changed'])}" if measured["changed"] else ""
    fields += cells(
        (", ".join(audits) or "-", bracket, trained, f"{measured['protocol']}{changed}", digest), class_="name"
    )
    return line_of(card["name"], fields)


def _share(entries: Sequence[Mapping[str, Any]]) -> Markup:
    """Return the field of a reading: empty unless exactly one number states it."""
    if len(entries) != 1 or entries[0]["value"] is None:
        return number_field("-", None)
    value, low, high = (entries[0][key] for key in ("value", "low", "high"))
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return number_field(f"{100 * value:.1f}{interval}", 100 * value)


def _details(card: Mapping[str, Any], name: str) -> Markup:
    """Return hashes, versions, the verdicts in words, the bracket at each radius, and the curves."""
    network = card["network"]
    facts = [f"encoder {network['encoder']}", f"head {network['head'] or 'not hashed'}"]
    if not network["weights_checked"]:
        facts.append("code made this network: the hash is that which its results state")
    for source in (*card["robust"], *card["audits"], *card["brackets"]):
        versions = source["environment"]["versions"] or {}
        stated = ", ".join(f"{key} {versions[key]}" for key in ("sslkuramoto", "torch") if versions.get(key))
        place = ", ".join(
            f"{key} {'not stated' if value is None else value}"
            for key, value in (("data", source["data"]["fingerprint"]), ("seed", source["seed"]))
        )
        place += "" if source["seconds"] is None else f", {source['seconds']:.1f} s"
        hardware = source["environment"]["hardware"] or "hardware not stated"
        head = ", the head's hash is not stated" if network["head"] and source["head"] is None else ""
        facts.append(f"{source['result']}: file {source['sha256'][:16]}, {place}, {hardware}, {stated}{head}")
    facts += [f"audit {audit['result']}: {audit['verdict']}" for audit in card["audits"]]
    facts += [line for each in card["brackets"] for line in each["lines"]]
    if card["left_out"]:
        facts.append(f"{card['left_out']} results of changed options or other weights are left out")
    drawn = NOTHING
    for k, audit in enumerate(card["audits"]):
        if audit["curve"] is not None:
            curve = audit["curve"]
            series = {label: tuple(map(_gap, values)) for label, values in curve["series"].items()}
            whole = Curve(curve["title"], curve["x_label"], curve["unit"], tuple(curve["x"]), series)
            drawn += figure(curve_picture(whole, name=f"{name}-{k}"), f"{card['name']}, {audit['result']}")
    return bullets(facts) + drawn


def _gap(value: float | None) -> float:
    return float("nan") if value is None else value
