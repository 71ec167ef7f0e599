"""How one checkpoint is measured: subject in, result out, both written down completely.

A :class:`Protocol` is built from keyword-only options; calling it with a subject yields a :class:`Result`.
``eval/protocols/NAME.yaml`` holds ``name: PROTOCOL`` and options; ``RUN/results/NAME.json`` holds what came out.
"""

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from sslkuramoto.checkpoint import weights_hash
from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.cost import Cost
from sslkuramoto.data import ImageSet
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import packaged, write_atomically
from sslkuramoto.recipe import key_and_text, yaml_value
from sslkuramoto.registry import Registry
from sslkuramoto.results import Metric


def _silent(line: str) -> None:
    """Report progress to nobody."""


@dataclass
class Subject:
    """What is measured, and where.

    Attributes:
        encoder: in eval mode; its parameters are not changed.
        head: linear classifier on pooled features, or None when the run holds an encoder only.
        data: split ("train", "val", "test") -> image set.
        device: where the networks live and the images go.
        run_dir: the run; features are cached under ``run_dir/cache``.
        encoder_hash: SHA-256 of the encoder's weights (key of the cache, and part of the result).
        seed: every draw of the evaluation is keyed by it.
        batch_size: images a forward pass.
        weights: ``"ema"`` or ``"raw"``.
        encoder_options: what was changed for the measurement of the options the encoder was trained with.
        data_options: the same for the data source.
        workers: loader processes for sets that stream.
        file: name of the result that is being measured, set by :func:`evaluate`.
        report: receives one line of progress at a time.
    """

    encoder: Encoder
    head: nn.Linear | None
    data: Callable[[str], ImageSet]
    device: torch.device
    run_dir: Path
    encoder_hash: str
    seed: int = 0
    batch_size: int = 100
    weights: str = "ema"
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    file: str = ""
    report: Callable[[str], None] = _silent

    @property
    def head_hash(self) -> str:
        """SHA-256 of the head's weights; empty where there is none."""
        return "" if self.head is None else weights_hash(self.head)

    @property
    def network(self) -> dict[str, Any]:
        """What identifies the network: hashes of its weights, and its encoder's options changed for the measurement."""
        return {"encoder": self.encoder_hash, "head": self.head_hash, "changed": dict(self.encoder_options)}

    def labelled(self, split: str, protocol: str) -> ImageSet:
        """Return a split that has labels and images, or say which protocol needs it."""
        images = self.data(split)
        if images.labels is None or images.classes is None:
            raise UserError(f"{protocol} needs labels: data {images.name!r}, split {split!r}, has none")
        if len(images) == 0:
            raise UserError(f"{protocol} needs images: data {images.name!r}, split {split!r}, is empty")
        return images


@dataclass
class Result:
    """What a protocol found.

    Attributes:
        metrics: name -> number with its uncertainty.
        per_image: name -> one entry an image, in the order of the measured images.
        notes: sentences a reader must know to read the numbers rightly.
        options: every option as it was used, defaults included.
        data: name, split, fingerprint and n of the measured images.
        initial: how the oscillators started (``"random"``, ``"fixed"``, ..., or ``"deterministic"``).
        details: curves, bins, verdicts: what a report draws, in plain lists and mappings.
    """

    metrics: dict[str, Metric]
    options: dict[str, Any]
    data: dict[str, Any]
    initial: str
    per_image: dict[str, list] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


class Protocol(ABC):
    """Measures one checkpoint. Subclasses are final; their keyword-only constructor options are the schema of a
    protocol file.

    Attributes:
        options: every option with its value, defaults included.
        needs: what the subject must have: ``"head"`` (a classifier), ``"labels"``, ``"masks"``.
    """

    options: dict[str, Any]
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, subject: Subject) -> Result:
        """Check that the subject has what the protocol needs, then measure it.

        Raises:
            UserError: it lacks something, or whatever :meth:`measure` finds wrong.
        """
        return self.measure(subject)

    @abstractmethod
    def measure(self, subject: Subject) -> Result:
        """Measure the subject; writes no result file."""

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what the parts of the measurement cost at most, after timing a few passes; none where unknown."""
        return []


PROTOCOLS: Registry[Protocol] = Registry("protocol", "sslkuramoto.protocols")
PROTOCOL_FILES = packaged("eval/protocols")
ENDINGS = (".yaml", ".yml")


def described(images: ImageSet, n: int | None = None) -> dict[str, Any]:
    """Return what a result says about the images it was measured on."""
    size = len(images) if n is None else n
    return {"name": images.name, "split": images.split, "fingerprint": images.fingerprint, "n": size}


def classifier_of(subject: Subject, protocol: str, mode: Initial = "random", *, average: int = 8) -> Classifier:
    """Return the classifier of a run.

    Raises:
        UserError: the run holds an encoder only.
    """
    if subject.head is None:
        raise UserError(f"{protocol} needs a classifier: {subject.run_dir} holds an encoder only; finetune it first")
    return Classifier(subject.encoder, subject.head, mode, seed=subject.seed, draws=average)


def start_of(encoder: Encoder, initial: str = "random") -> str:
    """Return the word for the initial oscillators in a result: a deterministic encoder keeps its own."""
    return initial if encoder.stochastic else str(getattr(encoder, "initial", "deterministic"))


class Loaded(NamedTuple):
    """A protocol ready to measure.

    Attributes:
        file: name of its file and of its results.
        name: registered protocol.
        options: every option, defaults included.
        measure: the protocol itself.
    """

    file: str
    name: str
    options: dict[str, Any]
    measure: Protocol


def protocol_files(folder: Path = PROTOCOL_FILES) -> dict[str, Path]:
    """Return the protocol files of a folder by name."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_protocols(names: Sequence[str], overrides: Sequence[str] = (), folder: Path = PROTOCOL_FILES) -> list[Loaded]:
    """Build several protocols; an override goes to those that know its key.

    Raises:
        UserError: as :func:`load_protocol`; a key that none of them knows.
    """
    known = [{*PROTOCOLS.options(_written(name, folder)["name"])} for name in names]

    def key(override: str) -> str:
        return re.split(r"[=.\[]", override, maxsplit=1)[0]

    for override in overrides:
        if not any(key(override) in keys for keys in known):
            load_protocol(names[0], [override], folder)  # says what is allowed
    own = ([override for override in overrides if key(override) in keys] for keys in known)
    return [load_protocol(name, mine, folder) for name, mine in zip(names, own, strict=True)]


def load_protocol(name: str, overrides: Sequence[str] = (), folder: Path = PROTOCOL_FILES) -> Loaded:
    """Build the protocol that a name stands for.

    Args:
        name: a file of ``folder`` without its ending, the path of a YAML file, or a registered protocol (its defaults).
        overrides: ``key=value`` in the spelling of YAML; ``ways.eot.attacks[0].iterations=40`` reaches inside.
        folder: where the protocol files lie.

    Raises:
        UserError: an unknown protocol, key or value, an override without ``=``, a file that is not YAML.
    """
    options = _overridden(_written(name, folder), overrides)
    registered = options.pop("name")
    measure = PROTOCOLS.build(registered, options)
    file = Path(name).stem if name.endswith(ENDINGS) else name
    return Loaded(file, registered, PROTOCOLS.resolved(registered, options), measure)


def _written(name: str, folder: Path) -> dict[str, Any]:
    """Return what the file of a protocol holds, its registered name among it."""
    files = protocol_files(folder)
    if name.endswith(ENDINGS):
        if not Path(name).is_file():
            raise UserError(f"protocol file {name!r} does not exist")
        files = {name: Path(name)}
    if name not in files:
        if name not in set(PROTOCOLS):
            raise unknown("protocol", name, {*files, *PROTOCOLS})
        return {"name": name}
    options = _read(files[name])
    if not isinstance(options.get("name"), str):
        raise UserError(f"protocol file {name!r}: needs the key 'name', one of {', '.join(PROTOCOLS)}")
    return options


def _read(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except RecursionError:
        raise UserError(f"protocol file {path}: is nested too deeply") from None
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"protocol file {path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"protocol file {path}: must hold 'name: PROTOCOL' and options, one a line")
    return {str(key): value for key, value in content.items()}


def _overridden(options: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    words = [key_and_text(word, f"override {word!r}: must read KEY=VALUE") for word in overrides]
    if named := [f"name={text}" for key, text in words if key == "name"]:
        raise UserError(f"override {named[0]!r}: name another protocol file instead")
    config = OmegaConf.create(options)
    try:
        for key, text in words:
            OmegaConf.update(config, key, yaml_value(text))
        content = OmegaConf.to_container(config, resolve=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"overrides {' '.join(overrides)}: {' '.join(str(error).split())}") from None
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def evaluate(subject: Subject, protocol: Loaded, environment: Mapping[str, Any]) -> tuple[Result, Path]:
    """Measure a subject and write ``run_dir/results/FILE.json``.

    Args:
        subject: what is measured.
        protocol: from :func:`load_protocol`.
        environment: versions and hardware, as the run directory records them.
    """
    start = time.perf_counter()
    result = protocol.measure(replace(subject, file=protocol.file))
    path = subject.run_dir / "results" / f"{protocol.file}.json"
    seconds = time.perf_counter() - start
    write_result(path, result, protocol=protocol.file, subject=subject, environment=environment, seconds=seconds)
    return result, path


def write_result(
    path: Path, result: Result, *, protocol: str, subject: Subject, environment: Mapping[str, Any], seconds: float
) -> None:
    """Write a result as JSON; the file is either complete or as it was before.

    Raises:
        UserError: it cannot be written (disk full, no permission).
    """
    content = {
        "protocol": protocol,
        "options": result.options,
        "metrics": {name: _without_none(asdict(metric)) for name, metric in result.metrics.items()},
        "data": result.data | {"changed_options": dict(subject.data_options)},
        "seed": subject.seed,
        "batch_size": subject.batch_size,
        "encoder": {
            "sha256": subject.encoder_hash,
            "stochastic": subject.encoder.stochastic,
            "initial": result.initial,
            "weights": subject.weights,
            "changed_options": dict(subject.encoder_options),
        },
        "environment": dict(environment),
        "seconds": round(seconds, 3),
        "notes": result.notes,
        "details": result.details,
        "per_image": result.per_image,
    }
    text = json.dumps(content, indent=1, allow_nan=False, default=str) + "\n"
    write_atomically(path, text)


def _without_none(metric: dict[str, Any]) -> dict[str, Any]:
    """Drop the fields of randomised protocols from metrics that have none; ``low`` and ``high`` stay, even unknown."""
    return {key: value for key, value in metric.items() if value is not None or key in ("low", "high")}
