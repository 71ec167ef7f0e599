"""What a run knows of its data: data.json beside its recipe, written by the first session, checked by all later.

A recipe names a folder; the run saves its absolute path, which examples it held (fingerprint and number) and the
names of their classes. The same command from another directory then reads the same examples, and examples
that were added, replaced or renamed meanwhile are refused.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslkuramoto.data import DATA, DataSet
from sslkuramoto.errors import UserError, say_once
from sslkuramoto.files import at_home, read_object, write_atomically
from sslkuramoto.recipe import Part
from sslkuramoto.run_directory import RunDirectory


def data_of(
    run: RunDirectory, source: Part, split: str, *, changed: Mapping[str, Any] | None = None, named: bool = True
) -> DataSet:
    """Build a split of a run's data, after a check that it is what the run has seen before; writes nothing.

    Args:
        run: whose data.
        source: the recipe's.
        split: "train", "val" or "test".
        changed: options changed on purpose; other examples are then right, other classes only where ``named`` is False.
        named: whether the run's network tells classes apart, so that a label means the same class as in training.

    Returns:
        The data set; its labels are places in the class names of the training examples, whatever order it has itself.

    Raises:
        UserError: other examples than the run has seen; classes of other names; whatever the source finds wrong.
    """
    known = _known(run)
    options = {**source.options, **_places(source, known), **(changed or {})}
    data = DATA.build(source.name, options, split)
    seen, trained = known["splits"].get(split), known["splits"].get("train")
    if seen is not None and not changed:
        _check_seen(run, split, seen, data)
    if (changed or seen is None) and named and trained is not None:
        data = _with_classes(data, trained["classes"], run)
    return data


def remember(run: RunDirectory, source: Part, data: DataSet) -> None:
    """Write what :func:`data_of` found into the run's data.json, where that does not hold it yet.

    Raises:
        UserError: the file is damaged or cannot be written.
    """
    known = _known(run)
    here = _places(source, known)
    places = DATA.places(source.name, source.options)
    if known["splits"].get(data.split, {}).get("stamp") == data.stamp and here.keys() == places.keys():
        return
    known["source"] = source.name
    known["places"] |= {
        key: {"written": written, "absolute": here.get(key, str(at_home(written).resolve()))}
        for key, written in places.items()
    }
    known["splits"][data.split] = {
        "fingerprint": data.fingerprint,
        "stamp": data.stamp,
        "sample": data.sampled_content(),
        "covers": data.covers,
        "n": len(data),
        "classes": None if data.class_names is None else list(data.class_names),
    }
    write_atomically(run.data_file, json.dumps(known, indent=1))


def _known(run: RunDirectory) -> dict[str, Any]:
    """Return the content of data.json; of a run that has none yet, or is older than the file, an empty one."""
    known: dict[str, Any] = {"source": None, "places": {}, "splits": {}}
    if not run.data_file.is_file() or not run.begun:
        return known
    found = read_object(run.data_file)
    if not _fits(found, {"places": {"written": str, "absolute": str}, "splits": _FACTS}):
        raise UserError(f"{run.data_file}: damaged; remove it, and the run takes its data as it finds them")
    return known | found


_FACTS = {"fingerprint": str, "stamp": str, "sample": str, "n": int, "classes": list | None}


def _fits(found: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether each part is a mapping of mappings that hold values of the wanted types."""
    return all(
        isinstance(found.get(part), dict)
        and all(
            isinstance(entry, dict) and all(key in entry and isinstance(entry[key], kind) for key, kind in keys.items())
            for entry in found[part].values()
        )
        for part, keys in wanted.items()
    )


def _check_seen(run: RunDirectory, split: str, seen: Mapping[str, Any], data: DataSet) -> None:
    """Refuse other examples than a run has seen; files with other times are compared by a sample."""
    if seen["fingerprint"] != data.fingerprint:
        raise UserError(f"{run.path}: {_difference(split, seen, data)}")
    if seen["stamp"] == data.stamp:
        return
    if seen["sample"] != data.sampled_content():
        raise UserError(f"{run.path}: {_difference(split, seen, data)}")
    say_once(f"{run.path}: the files of its {split} examples have other times, a sample of them is unchanged: copied")


def _places(source: Part, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths of the folders that a recipe names: the saved ones that still exist."""
    found = {}
    for key, written in DATA.places(source.name, source.options).items():
        place = known["places"].get(key)
        if place is None or place["written"] != written or not os.path.exists(place["absolute"]):
            continue
        found[key] = place["absolute"]
        here = at_home(written).resolve()
        if here.exists() and here != Path(place["absolute"]):
            say_once(f"data.{key}={written}: read from {place['absolute']}, where the run has it; not from {here}")
    return found


def _difference(split: str, seen: Mapping[str, Any], data: DataSet) -> str:
    """Return in words how examples differ from those that a run has seen."""
    line = f"its {split} examples are not those that it has seen before"
    classes = None if data.class_names is None else list(data.class_names)
    if seen["n"] != len(data):
        line += f" ({seen['n']} then, {len(data)} now)"
    elif seen["classes"] != classes:
        line += f" (classes {_few(seen['classes'])} then, {_few(classes)} now)"
    else:
        line += f" (their {data.covers} differ)"
    return f"{line}; restore them, measure these by data.KEY=VALUE, or train another run on them"


def _few(classes: list[str] | None) -> str:
    return "none" if classes is None else ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")


def _with_classes(data: DataSet, trained: list[str] | None, run: RunDirectory) -> DataSet:
    """Return labelled images with labels that mean the classes of training; an equal set when they do already."""
    if trained is None or data.class_names is None or list(data.class_names) == trained:
        return data
    if unknown := sorted(set(data.class_names) - set(trained)):
        raise UserError(
            f"{run.path}: was trained on the classes {_few(trained)}; these data have {_few(unknown)} besides, and a"
            " label would mean another class"
        )
    return data.with_classes(tuple(trained))
