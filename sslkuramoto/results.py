"""Results: measured numbers with their uncertainty, and the only module that writes and reads result files.

Confidence intervals are over images, not over draws of the oscillators. ``RUN/results/NAME.json`` holds one
:class:`Result`. The file states the version of its format; a file without one has version 1 and can still be read.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from sslkuramoto.errors import UserError
from sslkuramoto.files import read_object, write_atomically

Reading = Literal["as published", "fixed", "EoT", "adaptive", "union"]
"""The kind of a robust accuracy. "as published": AutoAttack or plain APGD, with new oscillators at each forward pass;
"fixed": the same weights with fixed oscillators; "EoT": gradients averaged over fresh draws; "adaptive": ascents with
held draws; "union": the worst candidate over all of them. A number that states none appears in no column of robust
accuracy."""

READINGS: tuple[Reading, ...] = get_args(Reading)
FORMAT = 2  # of result files; 2 added readings, and which protocol and file described the measurement
SHOWN = 5  # most keys of numbers that are not finite in a note
_MISSING = "not finite, written as missing:"  # begins that note
_MISSING_BEFORE = "no numbers, written as missing:"  # in files of earlier versions
RENAMED_PROTOCOLS = {"boards": "sudoku"}
"""Old name of a protocol -> the name that it has now; files of results, studies and commands may have the old one."""
ENERGY = "energy"
"""Unit of the mean energy of oscillators."""
_KEPT_EMPTY = ("low", "high")  # written even if unknown


def protocol_now(name: str) -> str:
    """Return the name that a protocol has now."""
    return RENAMED_PROTOCOLS.get(name, name)


@dataclass(frozen=True)
class Metric:
    """One number of a result.

    Attributes:
        value: the number, a mean over draws (and seeds); nan if there is none, null in the file.
        low: lower end of the 95 % interval over images; None if no interval is known.
        high: upper end of that interval.
        n: number of images; None if a file does not state it.
        draws: number of independent draws of the initial oscillators; 1 for a deterministic network.
        std_over_draws: standard deviation over draws (0 for one draw); None if the value is one of all draws together:
            a vote, a mixture, a fitted temperature.
        unit: ``"fraction"`` for shares in [0,1], otherwise a word.
        seeds: repetitions of a randomised protocol (k-means), or None.
        std_over_seeds: standard deviation over seeds, or None.
        reading: kind of robust accuracy; None: not stated.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    draws: int | None = None
    std_over_draws: float | None = None
    unit: str = "fraction"
    seeds: int | None = None
    std_over_seeds: float | None = None
    reading: Reading | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without unknown ones."""
        return {key: value for key, value in asdict(self).items() if value is not None or key in _KEPT_EMPTY}


@dataclass
class Result:
    """The result of a protocol. The fields from ``protocol`` on are filled when it is written or read.

    Attributes:
        metrics: name -> number with its uncertainty.
        options: every option as it was used, defaults included.
        data: name, split, fingerprint and n of the measured images.
        initial: initial oscillators (``"random"``, ``"fixed"``, ..., or ``"deterministic"``).
        per_image: name -> one entry per image, in the order of the measured images. ``group`` names the group of each
            image where images of one group depend on each other.
        notes: sentences that a reader needs to interpret the numbers.
        details: curves, bins, verdicts for a report page, in plain lists and mappings. ``void``: why numbers that are
            not finite are none, in a sentence.
        verdicts: names of the lists of ``per_image`` that hold shares of correct draws, for paired tests.
        protocol: name of the result.
        kind: the registered protocol that measured it; empty if a file does not state it.
        described_by: name of the protocol file, before any option was changed.
        seed: of the measurement.
        batch_size: images per forward pass.
        encoder: hash of the weights, whether it is stochastic, initial oscillators, which weights, changed options; and
            ``untrained`` where the weights are random.
        head: ``sha256``, the hash of its weights, where the protocol measures it; empty in files of earlier versions.
        environment: versions and hardware.
        seconds: duration of the measurement.
        path: of the file.
    """

    metrics: dict[str, Metric]
    options: dict[str, Any]
    data: dict[str, Any]
    initial: str
    per_image: dict[str, list] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)
    protocol: str = ""
    kind: str = ""
    described_by: str = ""
    seed: int | None = None
    batch_size: int | None = None
    encoder: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    path: Path = Path()

    def images(self) -> dict[str, Any]:
        """Return which images its lists refer to: two results for which this is equal may be paired image by image."""
        index = self.per_image.get("index")
        places = None if index == list(range(len(index or ()))) else index  # None: all images in order
        return {key: self.data.get(key) for key in ("fingerprint", "split", "n")} | {"index": places}

    def groups(self) -> list | None:
        """Return the group of each image, or None where images are independent; paired tests exchange whole groups.

        Raises:
            UserError: there is not one for each image.
        """
        groups, verdicts = self.per_image.get("group"), [self.per_image.get(name) for name in self.verdicts]
        if groups is None:
            return None
        if any(each is not None and len(each) != len(groups) for each in verdicts):
            raise UserError(f"{self.path}: per_image.group: must have one entry per image ({DAMAGED})")
        if not all(isinstance(group, int | str) for group in groups):
            raise UserError(f"{self.path}: per_image.group: must hold whole numbers or names ({DAMAGED})")
        return groups

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file, in plain values.

        Numbers that are not finite become None, with a note, so that they do not prevent writing the result. A result
        that already has such a note gets no second one.
        """
        lost: list[str] = []
        content = _plain(self._content(), "", lost)
        if lost and not any(note.startswith((_MISSING, _MISSING_BEFORE)) for note in content["notes"]):
            more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
            content["notes"].append(f"{_MISSING} {', '.join(lost[:SHOWN])}{more}")
        return content

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "kind": self.kind,
            "described_by": self.described_by,
            "options": self.options,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "data": self.data,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "encoder": self.encoder | {"initial": self.initial},
            "head": self.head,
            "environment": self.environment,
            "seconds": self.seconds,
            "notes": self.notes,
            "details": self.details,
            "verdicts": self.verdicts,
            "per_image": self.per_image,
        }

    def write(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            UserError: it cannot be written (disk full, no permission).
        """
        content = self.to_dict()
        self.path, self.notes = path, content["notes"]
        write_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path, *, per_image: bool = True) -> "Result":
        """Read a result file.

        Args:
            path: of the file.
            per_image: whether to read the lists with one entry per image, which are most of a file.

        Raises:
            UserError: it cannot be read, is damaged (the key is named), or has a newer version.
        """
        content = read_object(path, DAMAGED)
        return cls.from_dict(content if per_image else content | {"per_image": {}}, path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path = Path()) -> "Result":
        """Return the result described by plain values.

        Args:
            content: as returned by :meth:`to_dict`, of this version of the format or an older one.
            path: its file, for messages.

        Raises:
            UserError: an invalid value (file, key and the allowed values are named), or a newer version.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: {content!r:.60}: must be an object ({DAMAGED})")
        read = _Reader(content, path)
        version = read.count("format")
        version = 1 if version is None else version
        if version < 1:
            raise read.wrong("format", version, "a number from 1 on")
        if version > FORMAT:
            raise UserError(
                f"{path}: a result file of a newer version (format {version}, this package reads up to {FORMAT}); "
                "update the package"
            )
        protocol = read.text("protocol") or path.stem
        result = cls(
            metrics={str(name): _metric(entry, f"metrics.{name}", path) for name, entry in read.metrics().items()},
            initial=_Reader(read.mapping("encoder"), path, "encoder.").text("initial"),
            per_image=read.lists("per_image"),
            notes=read.texts("notes", "sentences"),
            verdicts=read.texts("verdicts", "names") if "verdicts" in content else _unstated_verdicts(content),
            protocol=protocol,
            kind=protocol_now(read.text("kind")),
            # a result of changed options was always named NAME+KEY=VALUE
            described_by=protocol_now(read.text("described_by") or protocol.partition("+")[0]),
            seed=read.count("seed"),
            batch_size=read.count("batch_size"),
            seconds=read.number("seconds"),
            path=path,
            **{key: read.mapping(key) for key in ("options", "data", "encoder", "head", "environment", "details")},
        )
        for part in ("data", "encoder"):
            _Reader(read.mapping(part), path, f"{part}.").mapping("changed_options")
        if version == 1:
            _read_as_version_1(result)
        return result


def _plain(value: Any, where: str, lost: list[str]) -> Any:
    """Return a value in the types of JSON.

    Args:
        value: of a result.
        where: its key, with the keys above it.
        lost: gets the keys of numbers that are not finite.
    """
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}" if where else str(key), lost) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, lost) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        lost.append(f"{where} ({value})")
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


DAMAGED = "damaged result; remove it and measure again"


@dataclass(frozen=True)
class _Reader:
    """Typed access to a mapping read from a file; every value is checked."""

    content: Mapping[str, Any]
    path: Path
    where: str = ""

    def wrong(self, key: str, value: object, wanted: str) -> UserError:
        name = " ".join(f"{self.where}{key}".split())
        return UserError(f"{self.path}: {name}={value!r:.60}: must be {wanted} ({DAMAGED})")

    def text(self, key: str) -> str:
        value = self.content.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, value, "text")
        return value or ""

    def number(self, key: str) -> float | None:
        value = self.content.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.wrong(key, value, "a number")
        try:
            return None if value is None else float(value)
        except OverflowError:
            raise self.wrong(key, "a number beyond all floats", "a number") from None

    def count(self, key: str) -> int | None:
        value = self.number(key)
        if value is not None and not value.is_integer():
            raise self.wrong(key, value, "a whole number")
        return None if value is None else int(value)

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.content.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, value, "an object")
        return dict(value or {})

    def metrics(self) -> dict[str, Any]:
        if not isinstance(self.content.get("metrics"), dict):
            raise self.wrong("metrics", self.content.get("metrics"), "an object from names to numbers")
        return self.mapping("metrics")

    def lists(self, key: str) -> dict[str, list]:
        found = self.mapping(key)
        for name, value in found.items():
            if not isinstance(value, list):
                raise self.wrong(f"{key}.{name}", value, "a list")
        return found

    def texts(self, key: str, of: str) -> list[str]:
        value = self.content.get(key)
        value = [] if value is None else value
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.wrong(key, value, f"a list of {of}")
        return value


def _metric(entry: object, name: str, path: Path) -> Metric:
    if not isinstance(entry, dict):
        raise _Reader({}, path).wrong(name, entry, "an object with a value")
    read = _Reader(entry, path, f"{name}.")
    value, reading = read.number("value"), entry.get("reading")
    if reading is not None and reading not in READINGS:
        raise read.wrong("reading", reading, f"one of {', '.join(READINGS)}")
    return Metric(
        math.nan if value is None else value,
        **{key: read.number(key) for key in ("low", "high", "std_over_draws", "std_over_seeds")},
        **{key: read.count(key) for key in ("n", "draws", "seeds")},
        unit=read.text("unit"),
        reading=reading,
    )


def _unstated_verdicts(content: Mapping[str, Any]) -> list[str]:
    """Return the lists of verdicts of an older file, which did not state them: their names contain ``correct``."""
    return [name for name in content.get("per_image") or () if "correct" in re.split(r"[/_]", str(name))]


def _read_as_version_1(result: Result) -> None:
    """Set the reading of robust accuracies of version 1 where the options of their protocol determine it.

    They do for AutoAttack and for attacks with held draws, on random or fixed oscillators; others state no reading.
    """
    ways = result.options.get("ways")
    ways = {f"{name}/": own for name, own in ways.items()} if isinstance(ways, dict) else {"": {}}
    stated: dict[str, Reading | None] = {}
    for prefix, own in ways.items():
        read = _Reader(result.options | (own if isinstance(own, dict) else {}), result.path, f"options.{prefix}")
        stated[f"{prefix}robust_accuracy"] = _stated_by(read, result.encoder if not prefix else {})
    if "" not in ways and any(stated.values()):
        stated["union/robust_accuracy"] = "union"
    for name, reading in stated.items():
        if reading and name in result.metrics:
            result.kind = "robustness"  # no other protocol had such options
            result.metrics[name] = replace(result.metrics[name], reading=reading)


def _attacks(read: _Reader) -> list[dict[str, Any]]:
    found = read.content.get("attacks")
    entries = [] if found is None else found
    if isinstance(entries, list):
        attacks = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        if all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in attacks):
            return attacks
    raise read.wrong("attacks", found, "a list of names, or of objects with a name")


def _stated_by(read: _Reader, encoder: Mapping[str, Any]) -> Reading | None:
    attacks = _attacks(read)
    reading: Reading | None = None
    if any(entry.get("name") == "held_noise" and entry.get("backward", "autograd") == "autograd" for entry in attacks):
        reading = "adaptive"
    elif {entry.get("name") for entry in attacks} == {"autoattack"} and any(map(_follows_gradients, attacks)):
        averaged = any(entry.get("version") == "rand" or entry.get("eot_iter") not in (None, 1) for entry in attacks)
        reading = "EoT" if averaged else "as published"
    initial = read.content.get("initial", "random")
    if reading and encoder.get("stochastic") is False:  # one reading only
        return "fixed" if encoder.get("initial") == "fixed" else "as published"
    if reading and initial == "fixed":
        return "fixed"
    return reading if initial == "random" else None


def _follows_gradients(entry: Mapping[str, Any]) -> bool:
    return entry.get("version") is not None or str(entry.get("member")).startswith("apgd")
