"""The interface of an attack: a classifier, images and a threat model in, one candidate per image out.

A *candidate* is the perturbed image that an attack proposes. All randomness of a unit of work is keyed by the seed, the
chunk of images and the restart. Any process or machine that shares the ledger can therefore repeat the unit exactly.

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
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import Key, borrowed_global, generator
from sslkuramoto.registry import Registry
from sslkuramoto.results import Reading
from sslkuramoto.threat import Threat


@dataclass(frozen=True)
class Work:
    """One unit of work: one restart of an attack on one chunk of the images. It keys all randomness of that unit.

    Attributes:
        seed: of the measurement.
        chunk: number of the chunk of images, from 0.
        restart: number of the independent start of the attack, from 0.
    """

    seed: int
    chunk: int
    restart: int = 0

    def generator(self, device: torch.device | str, *key: Key) -> torch.Generator:
        """Return a new generator, keyed by this unit of work and by ``key``, the purpose."""
        return generator(device, self.seed, *key, "chunk", self.chunk, "restart", self.restart)


class ImpossibleAttackError(UserError):
    """The attack does not apply to this network. It is skipped, and the result gets a note that says so."""


class Source(NamedTuple):
    """Another network, on which a transfer attack makes its candidates.

    Attributes:
        encoder, head: in eval mode, on the target's device.
        num_classes: number of outputs of the head.
        name: shown in messages, such as ``run=runs/resnet18``.
        identity: its key in the ledger: hashes of the weights and the options that build the network.
        is_target: whether it is the attacked network itself, unchanged.
        notes: sentences that the result reports about it.
    """

    encoder: Encoder
    head: nn.Module
    num_classes: int
    name: str
    identity: Mapping[str, Any]
    is_target: bool = False
    notes: tuple[str, ...] = ()


def no_sources(run: str | None, changes: Mapping[str, Any]) -> Source:
    """Refuse to load a source network: the default of :class:`Target`.

    Raises:
        UserError: always.
    """
    raise UserError("transfer: this network has no run directory, so there is no source network to attack")


@dataclass(frozen=True)
class Target:
    """The attacked network, as far as an attack needs to know it beforehand.

    Attributes:
        encoder: its encoder.
        num_classes: number of classes of its head and of the labels.
        seed: of the measurement.
        source: loads a source network: (run directory, or None for the attacked network; changed options of the
            encoder) -> :class:`Source`.
    """

    encoder: Encoder
    num_classes: int
    seed: int = 0
    source: Callable[[str | None, Mapping[str, Any]], Source] = no_sources


class Attack(ABC):
    """Searches the ball around each image for a point that the classifier misclassifies.

    The constructor takes keyword-only options; they are the schema of an entry in a protocol file. An attack is a
    deterministic function of its arguments, uses no global generator, and returns the images unchanged when eps is 0.

    Attributes:
        label: short name in results, unique in a battery.
        restarts: number of independent starts, at least 1. Each works only on the images not broken so far.
        queries_only: whether it is a black-box attack, which queries logits and never takes gradients.
        options: every option with its value; the ledger identifies the attack by them.
        notes: sentences that the result reports about it.
        source_run: run directory of another network that it reads; None: it reads none.
        source: another network that it attacks in place of the measured one (transfer); set by ``prepared`` only.
        one_by_one: whether it attacks a network with one state per image (``fixed_per_image``) one image at a time.
        reading: what kind of robust accuracy it yields when oscillators are drawn anew at every forward pass
            (:data:`~sslkuramoto.results.Reading`). None: none of these kinds, such as a single black-box attack.
        alone: whether ``reading`` also applies when it is the only attack of a battery.
        idle_without_noise: options that have no effect on a deterministic network.
    """

    label: str
    restarts: int
    queries_only: bool = False
    options: Mapping[str, Any]
    notes: Sequence[str] = ()
    source_run: str | None = None
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
        """Return one candidate per image, float32, inside the ball and [0,1]; the image itself if none was found.

        Args:
            classifier: with frozen parameters, in its own mode. An attack that continues with only some rows of the
                batch must call ``classifier.of(rows)``, since a classifier may hold one state per image.
            images: pixels in [0,1].
            labels: true classes.
            threat: norm and radius.
            work: keys the randomness.
        """

    def prepared(self, target: Target) -> "Attack":
        """Return the attack adapted to a network: with its source network loaded, or with fewer target classes.

        Raises:
            ImpossibleAttackError: the attack is not defined for this network, for example for so few classes.
            UserError: something that it needs is missing.
        """
        return self

    @torch.no_grad()
    def check_source(self, images: Float[Tensor, "b 3 y x"]) -> None:
        """Check, before anything is attacked, that the source network accepts images of this size.

        Raises:
            UserError: it does not.
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
        """Return the attacks that one entry of a protocol file names: several for a version of AutoAttack."""
        return [self]

    def longest(self) -> "Attack":
        """Return the attack whose passes are counted before it runs, if this one may take fewer of them."""
        return self

    @cached_property
    def noticed(self) -> Counter[str]:
        """Events counted while the attack runs. A battery clears it before each unit of work and stores it after."""
        return Counter()

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return sentences on the events counted over all units of work, also those of other processes."""
        return []


def reading_of(attacks: Sequence[Attack]) -> Reading | None:
    """Return what kind of robust accuracy several attacks yield together, with oscillators drawn at every forward pass.

    One adaptive attack makes the battery "adaptive", whatever else it holds: an adaptive attacker may use any attack.
    Otherwise every attack must state a reading, since AutoAttack together with other attacks is no longer AutoAttack.
    The reading is then "EoT" if one attack averages its gradients, else "as published". A battery in which no attack
    states a reading when used alone has none.
    """
    stated = {attack.reading for attack in attacks if attack.alone}
    if "adaptive" in stated:
        return "adaptive"
    if not stated or any(attack.reading is None for attack in attacks):
        return None
    return "EoT" if "EoT" in stated else "as published"


LONGEST_NAME = 100  # bytes: it becomes part of a file name, which may have 255


def check_name(where: str, name: str) -> None:
    """Refuse a name that cannot be part of a file name: a path, a hidden, too long or unprintable name."""
    fault = None
    if not name.strip():
        fault = "is empty"
    elif "/" in name or "\\" in name or name.startswith("."):
        fault = "must not contain / or \\ or begin with a dot"
    elif not name.isprintable():
        fault = "contains characters that cannot be printed"
    elif len(name.encode()) > LONGEST_NAME:
        fault = f"has {len(name.encode())} bytes, at most {LONGEST_NAME} are allowed"
    if fault:
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise UserError(f"{where}={shown!r}: is used in file names, but {fault}")


class Entry(TypingProtocol):
    """What an entry of a protocol file builds: one attack, or several under one name."""

    def expanded(self) -> list[Attack]:
        """Return the single attacks."""
        ...


ATTACKS: Registry[Entry] = Registry("attack", "sslkuramoto.attacks")


AttackEntry = str | dict[str, Any]


def built(entries: Sequence[AttackEntry]) -> list[Attack]:
    """Return the attacks of a list whose entries are names or ``{name: NAME, ...}``; versions become their members.

    Raises:
        UserError: an unknown attack, key or value; two attacks with one label, or a label that cannot name a file.
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
            raise UserError(f"attacks: two have the label {label!r}; give one of them another label")
    return attacks
