"""Protocols: how a trained network is measured.

Calling a :class:`Protocol` with a :class:`Subject`, the measured network with its data, yields a :class:`Result`.
``eval/protocols/NAME.yaml`` holds its name and options; ``RUN/results/NAME.json`` holds the result.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from yaml import YAMLError

from sslkuramoto.checkpoint import weights_hash
from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import DataSet, ImageSet, image_set
from sslkuramoto.earlier_trainings import Training
from sslkuramoto.encoders.features import Encoder, check_takes
from sslkuramoto.errors import UserError, say_once, unknown
from sslkuramoto.evaluation.inputs import Input, weights_in
from sslkuramoto.evaluation.own_source import OwnSource
from sslkuramoto.examples import Images, Reads, Spec, check_reads
from sslkuramoto.files import at_home, packaged
from sslkuramoto.recipe import escaped, key_and_text, read_yaml
from sslkuramoto.registry import Registry
from sslkuramoto.results import RENAMED_PROTOCOLS, Result
from sslkuramoto.sources import Plugins, plugins_behind
from sslkuramoto.values import read_text


def _ignored(*given: object) -> None:
    """Do nothing with what is given."""


@dataclass
class Subject:
    """A network that is measured, with its data and settings.

    Attributes:
        encoder: in eval mode; its parameters are not changed.
        head: trained on top of the encoder (for images a linear classifier on pooled features); None without one.
        data: split ("train", "val", "test") -> data set.
        device: of networks and images.
        run_dir: the run; features are cached under ``run_dir/cache``.
        encoder_hash: SHA-256 of the encoder's weights, the key of the cache and part of the result. For an encoder that
            was not trained here, of everything that decides its outputs (:mod:`~sslkuramoto.network_identity`).
        seed: keys every draw of the evaluation.
        batch_size: images per forward pass.
        weights, checkpoint: ``"ema"`` or ``"raw"``, after which epoch; None: at the end of the run.
        encoder_options, data_options: of encoder and data source, as they were changed for the measurement.
        workers: loader processes for streamed data sets.
        file: name of the result that is being measured, set by :func:`evaluate`.
        report: receives lines of progress.
        keep: receives tensors by name that are too large for a result file: the adversarial images.
        trained_on: name of the data source that the run was trained on; None if unknown.
        trainings: its own and those of the runs that it started from, in that order; empty if unknown.
        lacks: what it does not provide, each with a phrase that completes "PROTOCOL needs".
        log: receives the metrics of a result by name once it is written; the loggers of a run.
        remember_data: lets a run record facts about its data; called after a measurement.
        spec: spec of the data source; None: taken from the splits when they are loaded.
        head_identity: hash of all that decides the outputs of a head from elsewhere; empty: hash of its weights.
        plugins: packages of others behind the members that built encoder and head, and behind the protocol.
    """

    encoder: Encoder
    head: nn.Module | None
    data: Callable[[str], DataSet]
    device: torch.device
    run_dir: Path
    encoder_hash: str
    seed: int = 0
    batch_size: int = 100
    weights: str = "ema"
    checkpoint: int | None = None
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    data_options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    file: str = ""
    report: Callable[[str], None] = _ignored
    keep: Callable[[str, torch.Tensor], None] = _ignored
    trained_on: str | None = None
    lacks: Mapping["Need", str] = field(default_factory=dict)
    trainings: tuple[Training, ...] = ()
    spec: Spec | None = None
    log: Callable[[str, Mapping[str, float]], None] = _ignored
    remember_data: Callable[[], None] = _ignored
    head_identity: str = ""
    plugins: Plugins = field(default_factory=dict)

    @property
    def head_hash(self) -> str:
        """SHA-256 of the head's weights, or its identity; empty where there is no head."""
        return "" if self.head is None else self.head_identity or weights_hash(self.head)

    @property
    def network(self) -> dict[str, Any]:
        """Identity of the network: hashes of its weights, and the options of its encoder that were changed."""
        return {"encoder": self.encoder_hash, "head": self.head_hash, "changed": dict(self.encoder_options)}

    @property
    def code(self) -> dict[str, str]:
        """Packages of others whose code decides the result, with their hashes; our own code is not among them.

        Together with :attr:`network` it is part of the keys of cached features and of units of attacks.
        """
        return {**self.plugins, **plugins_behind(self.encoder, self.head)}

    def images(self, split: str) -> ImageSet:
        """Return a split of a protocol that reads images.

        Raises:
            UserError: the data source of a plug-in yields images, but no set of images.
        """
        return image_set(self.data(split))


Need = Literal["head", "labels", "masks", "features", "recipe"]


class Protocol(ABC):
    """Measures a network. Subclasses are final; their keyword-only options are the schema of a protocol file.

    Attributes:
        name: shown in messages.
        options: every option with its value, defaults included.
        reads: kinds of spec that it can be measured on.
        needs: what the subject must have: ``"head"`` (a classifier), ``"labels"``, ``"masks"``, ``"features"`` (its
            output is not logits), ``"recipe"`` (of its training; the numbers are of weights trained further by it).
        splits: splits that it always reads, the scored one first.
        optional_splits: splits that it reads as well where the data have them.
        columns: its columns in the summary of a report page.
        counts: what its numbers count, in words; empty: examples of the first kind that it reads ("images").
        own_source: the data that it measures instead of those of the run; None: the run's.
        runs: run directories of other networks that it reads.
    """

    name: ClassVar[str] = "protocol"
    options: dict[str, Any]
    reads: ClassVar[Reads] = (Images,)
    needs: ClassVar[frozenset[Need]] = frozenset()
    splits: tuple[str, ...] = ("test",)
    optional_splits: tuple[str, ...] = ()
    columns: ClassVar[tuple[Column, ...]] = ()
    counts: ClassVar[str] = ""
    own_source: OwnSource | None = None
    runs: tuple[str, ...] = ()

    def __call__(self, subject: Subject) -> Result:
        """Check that the subject has what the protocol needs, then measure it.

        Raises:
            UserError: it lacks something, or whatever :meth:`measure` finds wrong.
        """
        if subject.spec is not None:
            check_reads(self.name, self.reads, f"the data of {subject.run_dir}", subject.spec)
        self.check(subject := self.on(subject))
        return self.measure(replace(subject, plugins={**subject.plugins, **plugins_behind(self)}))

    def on(self, subject: Subject) -> Subject:
        """Return the subject with the data that are measured: those of :attr:`own_source`, if there is one."""
        return subject if self.own_source is None else replace(subject, **self.own_source.of_subject)

    def check(self, subject: Subject) -> None:
        """Check that the subject has what the protocol needs.

        Raises:
            UserError: it lacks something.
        """
        for need in sorted(self.needs & {*subject.lacks}):
            raise UserError(f"{self.name} needs {subject.lacks[need]}")
        if "head" in self.needs and subject.head is None:
            where = f"{subject.run_dir} holds an encoder only"
            raise UserError(f"{self.name} needs a classifier: {where}; finetune it first")
        spec = subject.spec or subject.data(self.splits[0]).spec
        self.check_spec(f"the data of {subject.run_dir}", spec)
        source = "its data" if self.own_source is None else f"data {self.own_source.name}"
        check_takes(f"the encoder of {subject.run_dir}", subject.encoder, source, spec)
        for split in self.splits if self.needs & {"labels", "masks"} else ():
            check_examples(subject.data(split), self.name, self.needs)

    def check_spec(self, given: str, spec: Spec) -> None:
        """Check, before anything is loaded, that the protocol can be measured on the examples of a source.

        Args:
            given: kind and name of the source for the error, such as ``"data sudoku"``.
            spec: the spec of its examples.

        Raises:
            UserError: it does not read them, they lack masks that it needs, or the user must set an option.
        """
        check_reads(self.name, self.reads, given, spec)
        given, spec = (f"data {own.name}", own.spec) if (own := self.own_source) else (given, spec)
        if "masks" in self.needs and not spec.masks:
            raise UserError(f"{self.name} needs masks: {given} gives none")
        if missing := self.unset():
            raise UserError(f"{self.name} needs {missing}")

    @abstractmethod
    def measure(self, subject: Subject) -> Result:
        """Measure the subject; writes no result file."""

    def unset(self) -> str:
        """Return the option that the user must still set, with advice; empty by default."""
        return ""

    def inputs(self) -> tuple[Input, ...]:
        """Return the files that the measurement reads besides the data; by default those of :attr:`runs`."""
        return tuple(map(weights_in, self.runs))

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return upper bounds of the cost of each part, after timing a few passes; empty if unknown."""
        return []


PROTOCOLS: Registry[Protocol] = Registry("protocol", "sslkuramoto.protocols")
PROTOCOL_FILES = packaged("eval/protocols")
ENDINGS = (".yaml", ".yml")


def check_examples(data: DataSet, protocol: str, needs: frozenset[Need]) -> None:
    """Check that a split has what a protocol needs; its spec says before whether there are masks.

    Raises:
        UserError: no labels, or nothing at all.
    """
    where = f"data {data.name!r}, split {data.split!r}"
    if "labels" in needs and data.spec.num_classes is None:
        raise UserError(f"{protocol} needs labels: {where}, has none")
    if "labels" in needs and data.spec.num_classes == 1:
        raise UserError(f"{protocol} needs at least two classes: {where}, has one")
    if len(data) == 0:
        raise UserError(f"{protocol} needs {data.spec.kind}: {where}, is empty")


def described(images: DataSet, n: int | None = None) -> dict[str, Any]:
    """Return the description of the measured examples in a result."""
    size = len(images) if n is None else n
    return {"name": images.name, "split": images.split, "fingerprint": images.fingerprint, "n": size}


def classifier_of(subject: Subject, mode: Initial = "random", *, average: int = 8) -> Classifier:
    """Return the classifier of a run, for a protocol that needs ``"head"``."""
    assert subject.head is not None, "a protocol that needs a head says so"
    return Classifier(subject.encoder, subject.head, mode, seed=subject.seed, draws=average)


def start_of(encoder: Encoder, initial: str = "random") -> str:
    """Return the description of the initial oscillators in a result; a deterministic encoder has its own."""
    return initial if encoder.stochastic else encoder.initial


class Loaded(NamedTuple):
    """A protocol ready to measure.

    Attributes:
        file: name of its results: that of its file, unless another one is given.
        name: registered protocol.
        options: every option, defaults included.
        measure: the protocol itself.
        described_by: name of its file, or of the registered protocol if there is no file.
    """

    file: str
    name: str
    options: dict[str, Any]
    measure: Protocol
    described_by: str = ""

    def takes(self, override: str) -> bool:
        """Return whether ``key=value`` sets an option of this protocol."""
        return _key_of(override) in self.options


def _key_of(override: str) -> str:
    return re.split(r"[=.\[]", override, maxsplit=1)[0]


def protocol_files(folder: Path = PROTOCOL_FILES) -> dict[str, Path]:
    """Return the protocol files of a folder by name."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_protocols(names: Sequence[str], overrides: Sequence[str] = (), folder: Path = PROTOCOL_FILES) -> list[Loaded]:
    """Build several protocols; an override applies to those that have its key.

    Raises:
        UserError: as :func:`load_protocol`; a key that none of them knows.
    """
    known = [{*PROTOCOLS.options(_written(name, folder)["name"])} for name in names]
    for override in overrides:
        if not any(_key_of(override) in keys for keys in known):
            load_protocol(names[0], [override], folder)  # raises an error that lists the allowed keys
    own = ([override for override in overrides if _key_of(override) in keys] for keys in known)
    return [load_protocol(name, mine, folder) for name, mine in zip(names, own, strict=True)]


def load_protocol(name: str, overrides: Sequence[str] = (), folder: Path = PROTOCOL_FILES) -> Loaded:
    """Build a protocol by name.

    Args:
        name: a file of ``folder`` without its ending, the path of a YAML file, or a registered protocol (its defaults).
        overrides: ``key=value`` with YAML values; ``ways.eot.attacks[0].iterations=40`` sets a nested value.
        folder: of the protocol files.

    Raises:
        UserError: an unknown protocol, key or value, an override without ``=``, a file that is not YAML.
    """
    written = _written(name, folder)
    name = _name_now(name, {*protocol_files(folder), *PROTOCOLS})
    options = _overridden(written, overrides)
    registered = options.pop("name")
    measure = PROTOCOLS.build(registered, options)
    changed = {key: options[key] for key, _ in map(_split, overrides) if key in options}
    PROTOCOLS.check_change(registered, written, changed)
    file = Path(name).stem if name.endswith(ENDINGS) else name
    return Loaded(file, registered, PROTOCOLS.resolved(registered, options), measure, file)


def _written(name: str, folder: Path) -> dict[str, Any]:
    """Return the content of a protocol file, which includes the registered name."""
    files = protocol_files(folder)
    name = _name_now(name, {*files, *PROTOCOLS})
    if name.endswith(ENDINGS):
        if not at_home(name).is_file():
            raise UserError(f"protocol file {name!r} does not exist")
        files = {name: at_home(name)}
    if name not in files:
        if name not in set(PROTOCOLS):
            raise unknown("protocol", name, {*files, *PROTOCOLS})
        return {"name": name}
    options = _read(files[name])
    if not isinstance(options.get("name"), str):
        raise UserError(f"protocol file {name!r}: needs the key 'name', one of {', '.join(PROTOCOLS)}")
    return options | {"name": _name_now(options["name"], set(PROTOCOLS))}


def _name_now(name: str, known: Collection[str]) -> str:
    """Return the name that a protocol has now; that it has another one is said once."""
    if name in known or name not in RENAMED_PROTOCOLS:
        return name
    say_once(f"protocol {name} is called {RENAMED_PROTOCOLS[name]} now")
    return RENAMED_PROTOCOLS[name]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = OmegaConf.to_container(read_yaml(path), resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    except UserError as error:
        raise UserError(f"protocol file {error}") from None
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _split(override: str) -> tuple[str, str]:
    return key_and_text(override, f"override {override!r}: must read KEY=VALUE")


def _overridden(options: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    words = [_split(word) for word in overrides]
    if named := [f"name={text}" for key, text in words if key == "name"]:
        raise UserError(f"override {named[0]!r}: name another protocol file instead")
    config = OmegaConf.create(options)
    name = options["name"]
    hints = PROTOCOLS.annotations(name) if name in set(PROTOCOLS) else {}
    try:
        for key, text in words:
            value = escaped(read_text(key, text, hints.get(key, Any)))
            OmegaConf.update(config, key, value, merge=False)  # another source has other options
        content = OmegaConf.to_container(config, resolve=True)
    except (YAMLError, OmegaConfBaseException, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"overrides {' '.join(overrides)}: {' '.join(str(error).split())}") from None
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
