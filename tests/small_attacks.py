"""Every registered attack at a budget of a second, and simple ones that show what a battery does with them."""

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from pyautoattack import AutoAttack
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks import ATTACKS, Attack
from sslkuramoto.attacks.attack import ImpossibleAttackError, built
from sslkuramoto.attacks.autoattack import untouched_globals
from sslkuramoto.attacks.counting import passes_of
from sslkuramoto.classifier import Classifier
from sslkuramoto.cost import Passes
from sslkuramoto.evaluation.robustness.target import attack_target
from sslkuramoto.randomness import seed_of
from sslkuramoto.threat import Norm

FEW: dict[str, Any] = {
    "iterations": 3, "queries": 4, "samples": 3, "k": 2, "max_k": 2, "draws": 2, "targets": 2, "restarts": 1,
}  # fmt: skip
NAMES = sorted(ATTACKS)
THEIR_NORMS = {"linf": "Linf", "l2": "L2"}


def few(name: str, **changed: Any) -> dict[str, Any]:
    """Return a protocol file's entry of a registered attack whose counts are small; all members of AutoAttack."""
    options = FEW | ATTACKS.small(name) | changed
    if name != "autoattack" and not str(options.get("loss")).endswith("_targeted"):
        del options["targets"]
    return {"name": name, **{key: value for key, value in options.items() if key in ATTACKS.options(name)}}


def ready(subject: Any, *entries: str | dict[str, Any], classes: int = 10) -> list[Attack]:
    """Return the attacks of a protocol file's entries, prepared for a subject, without those that are impossible."""
    attacks = []
    for attack in built(list(entries)):
        with suppress(ImpossibleAttackError):
            attacks.append(attack.prepared(attack_target(subject, classes)))
    return attacks


@dataclass
class Seen:
    """What an attack was called with."""

    images: Tensor
    labels: Tensor
    logits: Tensor
    restart: int
    chunk: int


@dataclass
class Step(Attack):
    """One signed step of full length from the image or from a random start; it remembers what it was called with."""

    label: str = "step"
    restarts: int = 1
    random: bool = True
    move: Callable[[Tensor], Tensor] = lambda candidates: candidates
    seen: list[Seen] = field(default_factory=list)

    @property
    def options(self) -> dict[str, Any]:
        return {"label": self.label, "restarts": self.restarts, "random": self.random}

    def __call__(self, classifier, images, labels, *, threat, work):
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
        with torch.no_grad():
            self.seen.append(Seen(images, labels, classifier(images), work.restart, work.chunk))
        start = threat.random_start(images, work.generator("cpu", "step")) if self.random else images
        start = start.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(classifier(start), labels, reduction="sum"), start)
        return self.move(threat.project(start.detach() + threat.eps * threat.steepest(gradient), images))


def directly(classifier, images, labels, threat, version, seed, **settings):
    """Return what pyautoattack's own loop makes of the images, with fewer steps."""
    kind = {"norm": THEIR_NORMS[threat.norm], "eps": threat.eps, "seed": seed_of(seed, "autoattack") % 2**31}
    kind["device"] = images.device
    theirs = AutoAttack(classifier, version=version, **kind)
    restarts = settings.get("restarts", theirs.apgd.n_restarts)
    steps = {"n_iter": settings["iterations"], **kind}
    theirs.apgd.__init__(classifier, n_restarts=restarts, **steps)
    theirs.apgd_targeted.__init__(classifier, **steps)
    theirs.fab.n_iter, theirs.fab.n_restarts = settings["iterations"], restarts
    theirs.fab.n_target_classes = theirs.apgd_targeted.n_target_classes = settings["targets"]
    theirs.square.n_queries = settings["queries"]
    tracer = sys.gettrace()
    try:
        with untouched_globals():
            return theirs.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    finally:
        sys.settrace(tracer)  # pyautoattack switches it off


def said(attack: Attack, classifier: Classifier, norm: Norm = "linf", side: tuple[int, int] = (8, 8)) -> Passes:
    """Return what an attack takes of an image of ten classes and for one restart, before it runs."""
    return passes_of(attack, classifier, 10, side, norm)
