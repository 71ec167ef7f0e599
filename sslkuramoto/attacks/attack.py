"""What an attack is: a classifier, images and a threat model in, one candidate an image out.

Everything random about a unit of work is named by its seed, chunk and restart, so that it can be repeated anywhere: by
a process that was killed, or by another machine that shares the ledger.

Shapes: b batch, y x pixels.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from typing import Protocol as TypingProtocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.cost import Passes
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import Key, borrowed_global, generator
from sslkuramoto.registry import Registry
from sslkuramoto.results import Reading
from sslkuramoto.threat import Threat


@dataclass(frozen=True)
class Work:
    """Names the randomness of one unit of work.

    Attributes:
        seed: of the measurement.
        chunk: which part of the images, from 0.
        restart: which independent start of the attack, from 0.
    """

    seed: int
    chunk: int
    restart: int = 0

    def generator(self, device: torch.device | str, *key: Key) -> torch.Generator:
        """Return a fresh generator for the use that ``key`` names."""
        return generator(device, self.seed, *key, "chunk", self.chunk, "restart", self.restart)


class ImpossibleAttackError(UserError):
    """The attack does not apply to this network; it is skipped and a note is recorded."""


class Source(NamedTuple):
    """Another network, on which a transfer attack makes its candidates.

    Attributes:
        encoder, head: in eval mode, on the target's device.
        num_classes: of the head.
        name: for messages, such as ``run=runs/resnet18``.
        identity: what the ledger knows it by: hashes of its weights and what builds its network.
        is_target: whether it is the attacked network itself, unchanged.
        notes: what a reader of the result must know of it.
    """

    encoder: Encoder
    head: nn.Module
    num_classes: int
    name: str
    identity: Mapping[str, Any]
    is_target: bool = False
    notes: tuple[str, ...] = ()


def no_sources(run: str | None, changes: Mapping[str, Any]) -> Source:
    """Refuse to load a source network.

    Raises:
        UserError: always.
    """
    raise UserError("transfer: this network comes without a run directory, so it has no other network to attack")


@dataclass(frozen=True)
class Target:
    """The network that an attack is prepared for.

    Attributes:
        encoder: its encoder.
        num_classes: of its head and of the labels.
        seed: of the measurement.
        source: (run directory or None for the network itself, changed options of its encoder) -> :class:`Source`.
    """

    encoder: Encoder
    num_classes: int
    seed: int = 0
    source: Callable[[str | None, Mapping[str, Any]], Source] = no_sources


class Attack(ABC):
    """Tries to move images, inside their balls, to where the classifier errs.

    Constructors take keyword-only options, the schema of a protocol file's entry. An attack is deterministic in its
    arguments, touches no global generator, and returns the images themselves when eps is 0.

    Attributes:
        label: short name in results, unique in a battery.
        restarts: independent starts, each on the images that still stand; at least 1.
        queries_only: whether it is a black box: it asks for logits and never for gradients.
        options: every option with its value: what the ledger knows the attack by.
        notes: what a reader of its result must know.
        source: a network of its own that it asks instead of the measured one; only ``prepared`` brings it.
        one_by_one: whether it attacks a network with one state an image (``fixed_per_image``) one image at a time.
        reading: what kind of number it leads to against oscillators that are drawn anew; None: an attack on its own,
            which is none of the kinds.
        alone: whether its reading also holds where it is the only attack.
        idle_without_noise: options that change nothing where the network draws nothing.
    """

    label: str
    restarts: int
    queries_only: bool = False
    options: Mapping[str, Any]
    notes: Sequence[str] = ()
    source: Classifier | None = None
    one_by_one: bool = False
    reading: Reading | None = None
    alone: bool = True
    idle_without_noise: frozenset[str] = frozenset()

    @abstractmethod
    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return one candidate an image: float32, inside the ball and [0,1]; the image where nothing was found.

        Args:
            classifier: with frozen parameters, in its own mode. An attack that goes on with some rows of the batch only
                calls ``classifier.of(rows)``: a classifier may hold one state an image.
            images: pixels in [0,1].
            labels: right classes.
            threat: norm and radius.
            work: names the randomness.
        """

    @abstractmethod
    def passes(self, num_classes: int, stochastic: bool) -> Passes:
        """Return the cost of one image and one restart, at most."""

    def prepared(self, target: Target) -> "Attack":
        """Return the attack with everything that it needs besides its options: a source network, fewer targets.

        Raises:
            ImpossibleAttackError: it has no meaning with so few classes.
            UserError: what it needs is not there.
        """
        return self

    @torch.no_grad()
    def check_source(self, images: Float[Tensor, "b 3 y x"]) -> None:
        """Refuse, before anything runs, images that the attack's source cannot take: of a size it was not made for.

        Raises:
            UserError: it cannot.
        """
        if self.source is None:
            return
        try:
            with borrowed_global(generator(images.device, self.source.seed, "source", "size")):
                self.source(images[:1])
        except (UserError, RuntimeError, ValueError, AssertionError, IndexError) as error:
            side = " x ".join(str(side) for side in images.shape[2:])
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(
                f"{self.label}: its source cannot classify these images of {side} pixels: {reason}"
            ) from None

    def expanded(self) -> "list[Attack]":
        """Return the single attacks that one entry of a protocol file stands for: itself, unless it is a version."""
        return [self]

    @cached_property
    def noticed(self) -> Counter[str]:
        """What an attack counts while it runs; a battery empties it before each unit of work and keeps it with that."""
        return Counter()

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return in sentences what was noticed in all units of work, whichever process did them."""
        return []


def reading_of(attacks: Sequence[Attack]) -> Reading | None:
    """Return what kind of number several attacks together lead to, against oscillators that are drawn anew.

    "adaptive" where one of them is, whatever is added: an adaptive attacker may use anything. Otherwise each must state
    a reading, for the worst over a protocol's attacks and others is no longer that protocol's number; then it is
    "EoT" where one averages its gradients, else "as published", unless none of them states that by itself.
    """
    stated = {attack.reading for attack in attacks if attack.alone}
    if "adaptive" in stated:
        return "adaptive"
    if not stated or any(attack.reading is None for attack in attacks):
        return None
    return "EoT" if "EoT" in stated else "as published"


LONGEST_NAME = 100  # bytes: a name becomes part of a file's, which may have 255


def check_name(where: str, name: str) -> None:
    """Refuse a name that cannot be a file's: one that leads elsewhere, is hidden or too long, or cannot be printed."""
    fault = None
    if not name.strip():
        fault = "is empty"
    elif "/" in name or "\\" in name or name.startswith("."):
        fault = "must hold no / or \\ and begin with no dot"
    elif not name.isprintable():
        fault = "holds signs that cannot be printed"
    elif len(name.encode()) > LONGEST_NAME:
        fault = f"has {len(name.encode())} bytes, at most {LONGEST_NAME} are allowed"
    if fault:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise UserError(f"{where}={shown!r}: names files, but {fault}")


def check_counts(**counts: int | None) -> None:
    """Refuse counts below 1; None stands for a default."""
    for key, value in counts.items():
        if value is not None and value < 1:
            raise UserError(f"{key}={value}: must be at least 1")


class Entry(TypingProtocol):
    """What a protocol file's entry builds: an attack, or several under one name."""

    def expanded(self) -> list[Attack]:
        """Return the single attacks."""
        ...


ATTACKS: Registry[Entry] = Registry("attack", "sslkuramoto.attacks")


AttackEntry = str | dict[str, Any]


def built(entries: Sequence[AttackEntry]) -> list[Attack]:
    """Return the attacks that a list of names and ``{name: NAME, ...}`` stands for, versions taken apart.

    Raises:
        UserError: an unknown attack, key or value; two attacks with one label, or one that cannot name a file.
    """
    attacks: list[Attack] = []
    for place, entry in enumerate(entries):
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = options.pop("name", None)
        if not isinstance(name, str):
            raise UserError(f"attacks[{place}]={entry!r}: needs the key 'name', one of {', '.join(ATTACKS)}")
        attacks += ATTACKS.build(name, options).expanded()
    labels = [attack.label for attack in attacks]
    for label in labels:
        check_name("attacks: label", label)
        if labels.count(label) > 1:
            raise UserError(f"attacks: two are called {label!r}; give one another label")
    return attacks
