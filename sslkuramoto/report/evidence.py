"""What a result holds beside its numbers: reliability bins, an audit's checks, adversarial images.

Read as strictly as results are: a gap stays a gap, and what is not as it should be is named with its file.

Shapes: m images, y x pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.files import read_object
from sslkuramoto.results import Result

IMAGES = Path("images")  # beside the results
DATA_FILE = "data.json"  # what a run knows of its data
UNION = "union"  # of all readings: its images are stored beside theirs
STATUSES = ("pass", "fail", "not run")
SIDES = ("from", "up to", "")


@dataclass(frozen=True)
class Evidence:
    """A result and what the reader calls its network; ``series`` is its colour in every picture."""

    label: str
    series: int
    result: Result


@dataclass(frozen=True)
class Bins:
    """A reliability diagram: confidence and accuracy in [0,1] of each bin, nan where it holds no answer."""

    name: str
    edges: tuple[float, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    count: tuple[float, ...]

    @property
    def filled(self) -> list[int]:
        """Places of the bins that hold answers."""
        numbers = zip(self.count, self.confidence, self.accuracy, strict=True)
        return [k for k, (n, *rest) in enumerate(numbers) if n > 0 and all(map(math.isfinite, rest))]

    @property
    def calibration_error(self) -> float:
        """Mean over answers of |accuracy - confidence| of their bin; nan without any.

        Source: Guo et al. 2017, arXiv 1706.04599, equation 3: ECE = sum over bins of n_b / n |acc_b - conf_b|.
        """
        total = sum(self.count[k] for k in self.filled)
        apart = sum(self.count[k] * abs(self.accuracy[k] - self.confidence[k]) for k in self.filled)
        return apart / total if total else math.nan


@dataclass(frozen=True)
class AuditCheck:
    """One check of an audit: passed, failed or not run, with the reason."""

    name: str
    title: str
    kind: str
    status: str
    reason: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class Threshold:
    """The value from which, or up to which, a check passes; results of earlier versions do not say which."""

    value: float
    passes: str = ""

    def in_words(self, scale: float = 1) -> str:
        """Return "passes from 0.707" or "passes up to 3"; of a threshold without a side only where it is."""
        number = f"{scale * self.value:.3g}"
        return f"passes {self.passes} {number}" if self.passes else f"has its threshold at {number}"


@dataclass(frozen=True)
class Curve:
    """Values over x, one line per series, in ``unit`` (``"fraction"``: shares in [0,1]).

    ``threshold`` is that of a check, if it has one.
    """

    title: str
    x_label: str
    unit: str
    x: tuple[float, ...]
    series: Mapping[str, tuple[float, ...]]
    threshold: Threshold | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts between edges; ``threshold`` is that of a check, if it has one."""

    title: str
    x_label: str
    edges: tuple[float, ...]
    count: tuple[float, ...]
    threshold: Threshold | None = None


@dataclass(frozen=True)
class Audit:
    """An audit's verdict (a word and a sentence), its reasons, every check, what it draws, and the plant if any."""

    word: str
    verdict: str
    threat: str
    reasons: tuple[str, ...]
    checks: tuple[AuditCheck, ...]
    curves: tuple[Curve, ...]
    histograms: tuple[Histogram, ...]
    plant: str = ""

    def count(self, status: str) -> int:
        """Number of checks with this status."""
        return sum(check.status == status for check in self.checks)


@dataclass(frozen=True)
class Attacked:
    """Images before and after an attack, in [0,1], their classes and what the network then answers."""

    reading: str
    clean: Float[Tensor, "m 3 y x"]
    adversarial: Float[Tensor, "m 3 y x"]
    labels: Int64[Tensor, " m"]
    prediction: Int64[Tensor, " m"]
    index: Int64[Tensor, " m"]
    classes: tuple[str, ...] = ()

    def class_of(self, label: int) -> str:
        """Return the name of a class, its number where names are not known."""
        return self.classes[label] if 0 <= label < len(self.classes) else str(label)


def bins_of(result: Result) -> list[Bins]:
    """Return the reliability diagrams of a result, none when it measured no calibration.

    Raises:
        UserError: they are not as a calibration leaves them.
    """
    found = result.details.get("reliability") or {}
    if not isinstance(found, Mapping):
        raise UserError(f"{result.path}: details.reliability={found!r}: must be an object")
    return [_bins(result.path, str(name), content) for name, content in found.items()]


def _bins(path: Path, name: str, content: Any) -> Bins:
    where = f"{path}: details.reliability.{name}"
    if not isinstance(content, Mapping):
        raise UserError(f"{where}: must be an object with edges, confidence, accuracy and count")
    lists = {key: numbers(f"{where}.{key}", content.get(key)) for key in ("edges", "confidence", "accuracy", "count")}
    lengths = {key: len(values) + (key != "edges") for key, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"{where}: confidence, accuracy and count need one number a bin, edges one more")
    return Bins(name, **lists)


def numbers(where: str, values: Any) -> tuple[float, ...]:
    """Return a list of numbers, nan for null.

    Raises:
        UserError: it is something else.
    """
    good = isinstance(values, Sequence) and not isinstance(values, str)
    if not good or any(isinstance(v, bool) or not isinstance(v, int | float | None) for v in values):
        raise UserError(f"{where}: must be a list of numbers")
    try:
        return tuple(math.nan if value is None else float(value) for value in values)
    except OverflowError:
        raise UserError(f"{where}: holds a number beyond all floats") from None


def audit_of(result: Result) -> Audit | None:
    """Return the audit that a result holds, or None.

    Raises:
        UserError: it is not as an audit leaves it.
    """
    found = result.details.get("audit")
    if found is None:
        return None
    where = f"{result.path}: details.audit"
    if not isinstance(found, Mapping) or not isinstance(found.get("verdict"), str):
        raise UserError(f"{where}: must be an object with a verdict")
    checks = found.get("checks") or []
    if not isinstance(checks, list) or not all(isinstance(check, Mapping) for check in checks):
        raise UserError(f"{where}.checks: must be a list of objects")
    for check in checks:
        if check.get("status") not in STATUSES:
            wanted = ", ".join(STATUSES)
            raise UserError(
                f"{where}.checks: {check.get('name')!r} has status={check.get('status')!r}: must be one of {wanted}"
            )
    reasons = found.get("reasons") or ()
    return Audit(
        word=str(found.get("word") or ""),
        plant=str(found.get("plant") or ""),
        verdict=found["verdict"],
        threat=str(found.get("threat") or ""),
        reasons=(reasons,) if isinstance(reasons, str) else tuple(map(str, reasons)),
        checks=tuple(_check(check) for check in checks),
        curves=tuple(_curve(*item) for item in _objects(f"{where}.curves", found.get("curves"))),
        histograms=tuple(_histogram(*item) for item in _objects(f"{where}.histograms", found.get("histograms"))),
    )


def _objects(where: str, content: Any) -> list[tuple[str, str, Mapping[str, Any]]]:
    """The place, name and content of each object in an object."""
    content = content or {}
    if not isinstance(content, Mapping) or not all(isinstance(item, Mapping) for item in content.values()):
        raise UserError(f"{where}: must be an object of objects")
    return [(f"{where}.{name}", str(name), item) for name, item in content.items()]


def _curve(where: str, name: str, content: Mapping[str, Any]) -> Curve:
    x = numbers(f"{where}.x", content.get("x"))
    series = content.get("series")
    if not isinstance(series, Mapping):
        raise UserError(f"{where}.series: must be an object of lists")
    lines = {str(label): numbers(f"{where}.series.{label}", values) for label, values in series.items()}
    if any(len(values) != len(x) for values in lines.values()):
        raise UserError(f"{where}: each series needs one number for each of x")
    title, label, unit = (str(content.get(key) or "") for key in ("title", "x_label", "unit"))
    return Curve(title or name, label, unit, x, lines, _threshold(where, content))


def _threshold(where: str, content: Mapping[str, Any]) -> Threshold | None:
    found, side = content.get("threshold"), content.get("passes", "")
    if side not in SIDES:
        raise UserError(f"{where}.passes={side!r}: must be {' or '.join(filter(None, SIDES))}")
    if found is None:
        return None
    (value,) = numbers(f"{where}.threshold", [found])
    return Threshold(value, side)


def _histogram(where: str, name: str, content: Mapping[str, Any]) -> Histogram:
    edges, count = (numbers(f"{where}.{key}", content.get(key)) for key in ("edges", "count"))
    if len(edges) != len(count) + 1:
        raise UserError(f"{where}: edges need one number more than count")
    title, label = str(content.get("title") or name), str(content.get("x_label") or "")
    return Histogram(title, label, edges, count, _threshold(where, content))


def _check(content: Mapping[str, Any]) -> AuditCheck:
    name, title, kind, reason = (str(content.get(key) or "") for key in ("name", "title", "kind", "reason"))
    figures = content.get("figures")
    return AuditCheck(
        name, title or name, kind, content["status"], reason, figures if isinstance(figures, Mapping) else {}
    )


def attacked_of(result: Result) -> list[Attacked]:
    """Return the adversarial images that were stored beside a result, one entry per reading.

    Raises:
        UserError: a file of them is broken.
    """
    folder = result.path.parent / IMAGES
    ways = result.options.get("ways")
    names = (
        {str(reading): folder / f"{result.path.stem}-{reading}.safetensors" for reading in [*ways, UNION]}
        if ways
        else {}
    )
    names = names or {"": folder / f"{result.path.stem}.safetensors"}
    stored = {reading: path for reading, path in names.items() if path.parent == folder and path.is_file()}
    classes = classes_of(result) if stored else ()
    return [_attacked(reading, path, classes) for reading, path in stored.items()]


def classes_of(result: Result) -> tuple[str, ...]:
    """Return the class names of the run that a result belongs to, as its data.json has them; none where it has none."""
    path = result.path.parent.parent / DATA_FILE
    splits = read_object(path).get("splits") if path.is_file() else None
    train = splits.get("train") if isinstance(splits, Mapping) else None
    classes = train.get("classes") if isinstance(train, Mapping) else None
    return tuple(map(str, classes)) if isinstance(classes, list) else ()


def _attacked(reading: str, path: Path, classes: tuple[str, ...]) -> Attacked:
    try:
        tensors = load_file(path)
        clean, adversarial = tensors["clean"].float(), tensors["adversarial"].float()
        labels, prediction, index = (tensors[name].long() for name in ("labels", "prediction", "index"))
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: truncated or no record of adversarial images ({error}); measure again") from None
    alike = clean.shape == adversarial.shape and labels.shape == prediction.shape == index.shape == clean.shape[:1]
    if clean.ndim != 4 or clean.shape[1] != 3 or not alike:
        raise UserError(
            f"{path}: clean {tuple(clean.shape)}, adversarial {tuple(adversarial.shape)}: must be (m, 3, y, x)"
        )
    return Attacked(reading, clean, adversarial, labels, prediction, index, classes)
