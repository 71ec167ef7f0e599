"""The attacks of pyautoattack 0.2.0, one object each, with their versions' settings and without their side effects.

APGD (2003.01690), FAB (1907.02044), Square (1912.00049), by their authors' code. Its own loop is not used: it switches
off debuggers and coverage (``check_dynamic``), cannot resume, and says which attack broke an image only in its log.
What is kept: the versions (standard, plus, rand), their settings, and the seeding of every batch with the same seed.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classifier import Classifier

Version = Literal["standard", "plus", "rand", "custom"]
Member = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]


@dataclass(frozen=True)
class Settings:
    """Changes to a version's settings; None keeps them.

    Attributes:
        iterations: steps of APGD and FAB.
        restarts: random starts of untargeted APGD and FAB, and of Square.
        targets: target classes of APGD-T and FAB-T.
        queries: queries of Square a restart.
        eot_iter: gradients averaged a step of APGD, each with fresh noise.
    """

    iterations: int | None = None
    restarts: int | None = None
    targets: int | None = None
    queries: int | None = None
    eot_iter: int | None = None


@dataclass(frozen=True)
class LinfMember:
    """One attack of pyautoattack in the l-inf norm; a new object of theirs is built for every batch."""

    name: Member
    eps: float
    seed: int
    iterations: int
    restarts: int
    targets: int
    queries: int
    eot_iter: int
    logger: logging.Logger

    def __call__(
        self, classifier: Classifier, images: Float[Tensor, "b 3 y x"], labels: Int64[Tensor, " b"]
    ) -> Float[Tensor, "b 3 y x"]:
        adversary = self._adversary(classifier, images.device)
        with torch.no_grad(), untouched_globals():
            return adversary.perturb(images.clone(), labels.clone()).detach()

    def _adversary(
        self, classifier: Classifier, device: torch.device
    ) -> APGDAttack | APGDAttack_targeted | FABAttack_PT | SquareAttack:
        common = {"norm": "Linf", "eps": self.eps, "seed": self.seed, "verbose": False, "device": device}
        gradient = {"n_iter": self.iterations, "eot_iter": self.eot_iter, "rho": 0.75, "logger": self.logger}
        if self.name in ("apgd-ce", "apgd-dlr"):
            return APGDAttack(classifier, n_restarts=self.restarts, loss=self.name[5:], **gradient, **common)
        if self.name == "apgd-t":
            return APGDAttack_targeted(classifier, n_restarts=1, n_target_classes=self.targets, **gradient, **common)
        if self.name == "square":
            return SquareAttack(
                classifier, p_init=0.8, n_queries=self.queries, n_restarts=self.restarts, resc_schedule=False, **common
            )
        targeted = self.name == "fab-t"
        return FABAttack_PT(
            classifier,
            n_iter=self.iterations,
            n_restarts=1 if targeted else self.restarts,
            targeted=targeted,
            n_target_classes=self.targets,
            **common,
        )


def linf_members(
    classifier: Classifier,
    *,
    eps: float,
    seed: int,
    num_classes: int,
    version: Version,
    attacks: Sequence[Member] = (),
    settings: Settings = Settings(),
) -> tuple[list[LinfMember], list[str], "ZeroGradients"]:
    """Return the attacks of a version, notes on what was changed, and the count of vanishing gradients they will meet.

    Args:
        classifier: asked only whether it is stochastic.
        eps: radius, pixels in [0,1].
        seed: of every batch of every attack.
        num_classes: fewer than 10 shrink the targeted attacks, fewer than 4 drop the losses that need more logits.
        version: "standard", "plus", "rand", or "custom" with ``attacks`` (the settings of "standard").
        attacks: names, for version "custom".
        settings: what differs from the version.

    Raises:
        UserError: no attack is possible with so few classes.
    """
    zero_gradients = ZeroGradients()
    # a custom version takes the settings of "standard": theirs would be 5 restarts of whatever the constructors say
    base = "standard" if version == "custom" else version
    theirs = AutoAttack(classifier, norm="Linf", eps=eps, seed=seed, version=base)
    names = attacks if version == "custom" else cast(list[Member], theirs.attacks_to_run)
    notes = []

    names, dropped = _possible(names, num_classes)
    if dropped:
        notes.append(f"{', '.join(dropped)} left out: {num_classes} classes are too few for the loss")
    if not names:
        raise UserError(f"no attack is left: {', '.join(dropped)} cannot be run with {num_classes} classes")
    targets = theirs.apgd_targeted.n_target_classes if settings.targets is None else settings.targets
    if targets > num_classes - 1:
        if {"apgd-t", "fab-t"} & set(names):
            notes.append(f"targeted attacks shrink from {targets} to {num_classes - 1} targets: {num_classes} classes")
        targets = num_classes - 1
    eot_iter = theirs.apgd.eot_iter if settings.eot_iter is None else settings.eot_iter
    if eot_iter > 1 and not classifier.stochastic:
        notes.append(f"the network is deterministic: the mean of {eot_iter} equal gradients is taken as one")
        eot_iter = 1

    def member(name: Member) -> LinfMember:
        theirs_of = {"fab": theirs.fab, "fab-t": theirs.fab, "square": theirs.square}
        own_restarts = theirs_of.get(name, theirs.apgd).n_restarts
        return LinfMember(
            name=name,
            eps=eps,
            seed=seed,
            iterations=theirs.apgd.n_iter if settings.iterations is None else settings.iterations,
            restarts=own_restarts if settings.restarts is None else settings.restarts,
            targets=targets,
            queries=theirs.square.n_queries if settings.queries is None else settings.queries,
            eot_iter=eot_iter,
            logger=zero_gradients.logger,
        )

    return [member(name) for name in names], notes, zero_gradients


def _possible(names: Sequence[Member], num_classes: int) -> tuple[list[Member], list[Member]]:
    """Split names by whether the loss has the logits it needs: DLR three, targeted DLR four."""
    needs = {"apgd-dlr": 3, "apgd-t": 4}
    kept: list[Member] = [name for name in names if num_classes >= needs.get(name, 2)]
    return kept, [name for name in names if name not in kept]


class ZeroGradients(logging.Handler):
    """Counts pyautoattack's warnings of images with a zero gradient, a sign of masked gradients."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings = 0
        # not entered in logging's table of names: nobody else shares its handlers
        self.logger = logging.Logger("sslkuramoto.autoattack", logging.WARNING)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings += "zero gradient" in record.getMessage()

    def notes(self) -> list[str]:
        if not self.warnings:
            return []
        return [f"{self.warnings} starts of an attack met images with a zero gradient: gradients may be masked"]


@contextmanager
def untouched_globals() -> Iterator[None]:
    """Put torch's global generators back on leaving: pyautoattack seeds them all, on the CPU and every CUDA device."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        yield
