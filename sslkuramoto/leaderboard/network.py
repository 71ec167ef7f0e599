"""The card of one network on the board, computed from its run: weights, results, versions; nothing is typed in.

A card is checked by computing it again. Its only free field is ``name``.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkuramoto.checkpoint import load_kind
from sslkuramoto.errors import UserError, printable
from sslkuramoto.evaluation.described import changed_options, departures, is_described
from sslkuramoto.evaluation.held_weights import Hashes, loaded_hashes, other_weights
from sslkuramoto.files import ABOUT, content_of, read_object, write_atomically
from sslkuramoto.leaderboard.recompute import check_numbers, radius_of, texts_of, threat_of, versions_of
from sslkuramoto.report.evidence import STATUSES, audit_of
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory, impersonal

CARD = "board-card.json"
"""The card's file in its run directory."""
FORMAT = 2
LONGEST_NAME = 255
"""Characters of a card's name: as many as a file's may have."""
_NUMBERS = ("value", "low", "high", "n", "draws", "std_over_draws")


class Unmeasured(UserError):
    """A run is not finished, or holds no robust accuracy of its weights."""


def card_of(run: Path, name: str | None = None) -> dict[str, Any]:
    """Return the card of a run, in the types of JSON.

    Args:
        run: a run directory, or the directory of results of a function's network.
        name: what readers call the network; None: the name of the directory.

    Raises:
        UserError: no weights, no robust accuracy of these weights, a result of other weights, or one whose numbers
            are not those of its per-image lists.
    """
    files = sorted((run / "results").glob("*.json"))
    results = [Result.read(file) for file in files]
    weights = _weights(run, results)
    own = [result for result in results if _is_plain(result)]
    for result in own:
        if not Hashes(weights["encoder"], weights["head"]).are_of(result):
            raise UserError(f"{result.path}: was {other_weights(run, [result])}")
        check_numbers(result)
    robust = [entry for result in own for entry in _robust(result)]
    if not robust:
        raise Unmeasured(
            f"{run}: holds no robust accuracy of its weights; measure images with: "
            f"sslkuramoto evaluate {run} robustness-quick"
        )
    audits = [_audit(result) for result in own if result.details.get("audit") is not None]
    brackets = [_brackets(result) for result in own if result.details.get("brackets")]
    card = {
        "format": FORMAT,
        "name": _shown(run.resolve().name if name is None else name),
        "network": _network(run, own) | weights,
        "robust": robust,
        "audits": audits,
        "brackets": brackets,
        "left_out": len(results) - len(own),
    }
    return json.loads(json.dumps(_without_gaps(card)))


def checked_card(run: Path, name: str | None = None) -> dict[str, Any]:
    """Return the card of a run; one that it holds already is checked.

    Raises:
        UserError: what :func:`card_of` and :func:`check_card` raise.
    """
    file = run / CARD
    return check_card(file, run) if file.exists() else card_of(run, name)


def keep_card(run: Path, card: Mapping[str, Any]) -> None:
    """Write a card into its run if that holds none."""
    if not (run / CARD).exists():
        write_atomically(run / CARD, json.dumps(card, indent=1) + "\n")


def check_card(file: Path, run: Path) -> dict[str, Any]:
    """Return the card of a file, if it is what its run gives.

    Raises:
        UserError: it is not; the first difference is named.
    """
    card = read_object(file, "damaged; without it, board writes it anew from its run")
    name = card.get("name")
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise UserError(f"{file}: name={name!r:.60}: must be text of at most {LONGEST_NAME} printable characters")
    difference = _difference(card, card_of(run, card["name"]), "")
    if difference:
        raise UserError(
            f"{file}: does not match {run}: {difference}; if the run was measured again, remove the card and "
            "write it anew"
        )
    return card


def _shown(name: str) -> str:
    """Return what a card calls a network, which :func:`check_card` accepts: a directory may have any name."""
    shown = "".join(sign if sign.isprintable() else " " for sign in printable(name))[:LONGEST_NAME]
    return shown if shown.strip() else "network"


def _is_plain(result: Result) -> bool:
    """Return whether a result is of the weights and data that the run is known by, without changes."""
    return (
        not changed_options(result)
        and result.encoder.get("weights") != "raw"
        and result.encoder.get("checkpoint") is None
    )


def _weights(run: Path, results: list[Result]) -> dict[str, Any]:
    """Return the hashes of the weights: computed, or as the results state them where code made the network."""
    directory = RunDirectory(run)
    if directory.finished:
        return {
            **loaded_hashes(directory.encoder_file(), directory.head_file())._asdict(),
            "weights_checked": True,
        }
    if not (run / ABOUT).is_file():
        raise Unmeasured(f"{run}: holds no encoder.safetensors and no {ABOUT}; a card needs a finished run")
    own = [result for result in results if _is_plain(result)]
    stated = sorted({str(result.encoder.get("sha256")) for result in own})
    heads = sorted({str(result.head["sha256"]) for result in own if result.head.get("sha256")})
    if (most := max(len(stated), len(heads))) > 1:
        raise UserError(f"{run}: its results are of {most} different networks; measure again")
    encoder, head = (found[0] if found else None for found in (stated, heads))
    return {"encoder": encoder, "head": head, "weights_checked": False}


def _network(run: Path, results: list[Result]) -> dict[str, Any]:
    directory = RunDirectory(run)
    if not directory.recipe_file.is_file():
        return {"kind": "a function's network", "objective": None, "trained_on": None, "seed": None}
    recipe = directory.recipe()
    saved = load_kind(directory.encoder_file(), "encoder", {"encoder": dict})["encoder"]
    stated = json.loads(json.dumps(recipe.encoder.to_dict()))
    if difference := _difference(stated, saved, "encoder", ("recipe", "weights")):
        raise UserError(f"{directory.recipe_file}: is not the recipe of {directory.encoder_file()}: {difference}")
    for result in results:
        if (measured := result.data.get("name")) not in (None, recipe.data.name):
            raise UserError(f"{result.path}: data.name={measured!r:.60}: the recipe has {recipe.data.name!r}")
    named = {"kind": recipe.encoder.name, "objective": recipe.objective.name, "trained_on": recipe.data.name}
    return {**named, "seed": recipe.seed}


def _robust(result: Result) -> list[dict[str, Any]]:
    """Return an entry for each threat at which the result states robust accuracies."""
    found: list[dict[str, Any]] = []
    for name, metric in result.metrics.items():
        if metric.reading is None:
            continue
        threat = threat_of(result, name)
        entry = next((each for each in found if radius_of(each["threat"]) == radius_of(threat)), None)
        if entry is None:
            entry = _source(result) | {"threat": threat, "changed": [], "readings": {}}
            found.append(entry)
        numbers = {key: getattr(metric, key) for key in _NUMBERS}
        entry["readings"].setdefault(metric.reading, []).append({"metric": name, **numbers})
        entry["changed"] += [each for each in _changed(result, name) if each not in entry["changed"]]
    return found


def _changed(result: Result, metric: str) -> list[str]:
    """Return in which options a number differs from the protocol file of this package that its protocol names."""
    if not is_described(result):
        return ["no protocol file of this package describes it"]
    return [str(each) for each in departures(result, metric)]


def _audit(result: Result) -> dict[str, Any]:
    audit = audit_of(result)
    assert audit is not None
    stored = result.details["audit"]
    curves = dict(zip(stored.get("curves") or {}, audit.curves, strict=True))
    curve = curves.get("eps")
    return _source(result) | {
        "word": audit.word,
        "verdict": audit.verdict,
        "threat": audit.threat,
        "plant": audit.plant or None,
        "checks": {status: audit.count(status) for status in STATUSES},
        "curve": None
        if curve is None
        else {key: getattr(curve, key) for key in ("title", "x_label", "unit", "x")} | {"series": dict(curve.series)},
    }


def _brackets(result: Result) -> dict[str, Any]:
    found = result.details["brackets"]
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise UserError(f"{result.path}: details.brackets: must be a list of objects")
    of_each = [each.get("lines") or [] for each in found]
    if not all(isinstance(own, list) and all(isinstance(line, str) for line in own) for own in of_each):
        raise UserError(f"{result.path}: details.brackets: lines must be a list of sentences")
    lines = [line for own in of_each for line in own]
    return _source(result) | {"lines": lines}


def _source(result: Result) -> dict[str, Any]:
    """Return where numbers come from: file, data, protocol, cost and versions."""
    data = texts_of(result, "data", ("name", "split", "fingerprint")) | {"n": result.data.get("n")}
    environment = texts_of(result, "environment", ("hardware", "device", "python", "revision"))
    return {
        "result": result.path.stem,
        "sha256": hashlib.sha256(content_of(result.path)).hexdigest(),
        "protocol": result.described_by,
        "head": result.head.get("sha256"),
        "data": data,
        "initial": result.initial,
        "seed": result.seed,
        "seconds": result.seconds,
        "environment": environment | {"versions": versions_of(result)},
    }


def _without_gaps(value: Any) -> Any:
    """Return a value with null for numbers that are not finite, and without folders of this machine."""
    if isinstance(value, Mapping):
        return {str(key): _without_gaps(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_gaps(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return impersonal(value) if isinstance(value, str) else value


def _difference(card: Any, run: Any, where: str, names: tuple[str, str] = ("card", "run")) -> str:
    """Return the first difference in words, empty where there is none.

    Args:
        card, run: two values of JSON.
        where: their key, with the keys above it.
        names: what they are of.
    """
    first, second = names
    if isinstance(card, dict) and isinstance(run, dict):
        for key in (*run, *card):
            place = f"{where}.{key}" if where else str(key)
            if key not in card or key not in run:
                return f"{place} is missing in the {first if key in run else second}"
            if found := _difference(card[key], run[key], place, names):
                return found
        return ""
    if isinstance(card, list) and isinstance(run, list):
        if len(card) != len(run):
            return f"{where} has {len(card)} entries in the {first} and {len(run)} in the {second}"
        pairs = enumerate(zip(card, run, strict=True))
        return next((found for k, pair in pairs if (found := _difference(*pair, f"{where}[{k}]", names))), "")
    same = type(card) is type(run) and card == run
    return "" if same else f"{where} is {card!r:.60} in the {first} and {run!r:.60} in the {second}"
