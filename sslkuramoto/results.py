"""Results: measured numbers with their uncertainty, and the only writer and reader of result files.

Images are the sampling unit of an interval, draws of the oscillators are not. ``RUN/results/NAME.json`` holds one
:class:`Result`. The file states the version of its format; one without is of version 1 and is still read.
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
"""What kind of number a robust accuracy is. "as published": AutoAttack or plain APGD, new oscillators at each forward
pass; "fixed": the same weights on fixed oscillators; "EoT": gradients averaged over fresh draws; "adaptive": ascents on
held noise; "union": the worst of all ways. A number that states none of them fills no column of robust accuracy."""

READINGS: tuple[Reading, ...] = get_args(Reading)
FORMAT = 2  # of result files; 2 added readings, and which protocol and file described the measurement
SHOWN = 5  # keys of lost numbers in a note
_MISSING = "no numbers, written as missing:"  # begins that note
_KEPT_EMPTY = ("low", "high")  # written even where unknown


@dataclass(frozen=True)
class Metric:
    """One number of a result.

    Attributes:
        value: the number, the mean over draws (and seeds) where there are several; nan where there is none, null in the
            file.
        low: lower end of the 95 % interval over images, or None where no interval is known.
        high: upper end of it.
        n: images behind the number; None where a file does not say.
        draws: independent draws of the initial oscillators behind it; 1 for a deterministic network.
        std_over_draws: standard deviation of the value from draw to draw (0 for one draw); None where the value belongs
            to all draws together: a vote, a mixture, a fitted temperature.
        unit: ``"fraction"`` for shares in [0,1], otherwise a word.
        seeds: repetitions of a randomised protocol (k-means), or None.
        std_over_seeds: standard deviation from seed to seed, or None.
        reading: what kind of robust accuracy it is; None: it does not say.
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
        """Return plain values, without those that are unknown."""
        return {key: value for key, value in asdict(self).items() if value is not None or key in _KEPT_EMPTY}


@dataclass
class Result:
    """What a protocol found. The fields from ``protocol`` on are filled when the result is written or read.

    Attributes:
        metrics: name -> number with its uncertainty.
        options: every option as it was used, defaults included.
        data: name, split, fingerprint and n of the measured images.
        initial: how the oscillators started (``"random"``, ``"fixed"``, ..., or ``"deterministic"``).
        per_image: name -> one entry per image, in the order of the measured images.
        notes: sentences a reader must know to read the numbers correctly.
        details: curves, bins, verdicts: what a report draws, in plain lists and mappings.
        verdicts: names of the lists of ``per_image`` that hold shares of draws that are right, for paired tests.
        protocol: name of the result.
        kind: the registered protocol that measured it; empty where a file does not say.
        described_by: the protocol file that describes the measurement, before anything was changed.
        seed: of the measurement.
        batch_size: images per forward pass.
        encoder: hash of the weights, whether it draws, how it starts, which weights, changed options.
        environment: versions and hardware.
        seconds: the measurement took.
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
    environment: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    path: Path = Path()

    def images(self) -> dict[str, Any]:
        """Return which images its lists are of: two results with equal answers may be paired image by image."""
        index = self.per_image.get("index")
        places = None if index == list(range(len(index or ()))) else index  # all that there are, in order
        return {key: self.data.get(key) for key in ("fingerprint", "split", "n")} | {"index": places}

    def to_dict(self) -> dict[str, Any]:
        """Return what the file holds, in plain values.

        A number that is none (nan, infinity) becomes None, with a note: a measurement of hours is never lost by it. A
        result that has such a note, for it was written or read before, gets no second one.
        """
        lost: list[str] = []
        content = _plain(self._content(), "", lost)
        if lost and not any(note.startswith(_MISSING) for note in content["notes"]):
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
            "environment": self.environment,
            "seconds": self.seconds,
            "notes": self.notes,
            "details": self.details,
            "verdicts": self.verdicts,
            "per_image": self.per_image,
        }

    def write(self, path: Path) -> None:
        """Write the file; it is either complete or as it was before.

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
            per_image: whether the lists with one entry per image are kept; they are most of a file.

        Raises:
            UserError: it cannot be read, is damaged (named with its key) or of a newer version.
        """
        content = read_object(path, DAMAGED)
        return cls.from_dict(content if per_image else content | {"per_image": {}}, path)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], path: Path = Path()) -> "Result":
        """Return the result that plain values stand for.

        Args:
            content: as :meth:`to_dict` gives it, of this version of the format or an older one.
            path: the file that it is from, for messages.

        Raises:
            UserError: a value that cannot be (file, key and what is wanted are named), or a newer version.
        """
        if not isinstance(content, Mapping):
            raise UserError(f"{path}: {content!r:.60}: wanted: an object ({DAMAGED})")
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
            kind=read.text("kind"),
            # a result of changed options was always named NAME+KEY=VALUE
            described_by=read.text("described_by") or protocol.partition("+")[0],
            seed=read.count("seed"),
            batch_size=read.count("batch_size"),
            seconds=read.number("seconds"),
            path=path,
            **{key: read.mapping(key) for key in ("options", "data", "encoder", "environment", "details")},
        )
        for part in ("data", "encoder"):
            _Reader(read.mapping(part), path, f"{part}.").mapping("changed_options")
        if version == 1:
            _read_as_version_1(result)
        return result


def _plain(value: Any, where: str, lost: list[str]) -> Any:
    """Return a value as JSON knows it.

    Args:
        value: of a result.
        where: its key, with those above it.
        lost: takes the keys of numbers that are none.
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
    """Values of a mapping of a file, each checked to be what it must."""

    content: Mapping[str, Any]
    path: Path
    where: str = ""

    def wrong(self, key: str, value: object, wanted: str) -> UserError:
        name = " ".join(f"{self.where}{key}".split())
        return UserError(f"{self.path}: {name}={value!r:.60}: wanted: {wanted} ({DAMAGED})")

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
    """Return the lists of verdicts of a file from before results stated them: ``correct`` was in their names."""
    return [name for name in content.get("per_image") or () if "correct" in re.split(r"[/_]", str(name))]


def _read_as_version_1(result: Result) -> None:
    """Let robust accuracies of version 1 state the reading that their protocol's options leave no doubt about.

    Only AutoAttack and attacks on held noise do, on oscillators that are drawn anew or fixed; all others stay silent.
    """
    ways = result.options.get("ways")
    ways = {f"{name}/": way for name, way in ways.items()} if isinstance(ways, dict) else {"": {}}
    stated: dict[str, Reading | None] = {}
    for prefix, way in ways.items():
        read = _Reader(result.options | (way if isinstance(way, dict) else {}), result.path, f"options.{prefix}")
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
    if reading and encoder.get("stochastic") is False:  # one way only
        return "fixed" if encoder.get("initial") == "fixed" else "as published"
    if reading and initial == "fixed":
        return "fixed"
    return reading if initial == "random" else None


def _follows_gradients(entry: Mapping[str, Any]) -> bool:
    return entry.get("version") is not None or str(entry.get("member")).startswith("apgd")
