"""The attacks of pyautoattack 0.2.0, one object each, with the settings of its versions and without its side effects.

APGD (2003.01690), FAB (1907.02044) and Square (1912.00049), each run by its authors' code if the network draws. For a
deterministic network the loops are ours: the same operations without those that change no verdict (autoattack_apgd,
autoattack_fab, autoattack_square). AutoAttack's own loop is not used: it disables debuggers and coverage
(``check_dynamic``), cannot resume, and records only in its log which attack broke an image. Its versions (standard,
plus, rand), their settings and its seeding are kept: every batch uses the same seed.

Shapes: b batch, y x pixels.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int64
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from sslkuramoto.attacks.attack import Attack, ImpossibleAttackError, Target, Work
from sslkuramoto.attacks.autoattack_apgd import LeavingApgd, LeavingApgdTargeted
from sslkuramoto.attacks.autoattack_fab import BatchedFab
from sslkuramoto.attacks.autoattack_square import BatchedSquare
from sslkuramoto.attacks.gradients import connected
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import seed_of
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Norm, Threat
from sslkuramoto.values import Count, Repeats, checked, small

Version = Literal["standard", "plus", "rand"]
Member = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
LOGITS_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}  # DLR compares three logits, targeted DLR four


@checked
class AutoAttackMember(Attack):
    """One attack of AutoAttack, run by its authors' code or, on a deterministic network, by code that skips work.

    Args:
        member: apgd-ce, apgd-dlr, apgd-t, fab, fab-t or square.
        iterations: steps of APGD and FAB.
        restarts: random starts of untargeted APGD and FAB, and of Square, made inside their code.
        targets: target classes of APGD-T and FAB-T, at most the number of wrong classes.
        queries: queries of Square per restart.
        eot_iter: gradients averaged per step of APGD, each with fresh draws; 1 for a deterministic network.
        label: name in the result; None: the member's name.

    Differs: a network with one state per image (``fixed_per_image``) is attacked one image at a time, since the
    authors' code drops images from the batch without reporting which. On another deterministic network an image leaves
    APGD at its first misclassified point, targets of APGD-T and FAB-T share a batch, and Square asks no query twice:
    the verdicts are those of the authors' code, up to rounding in other batches.
    """

    one_by_one = True

    def __init__(
        self,
        *,
        member: Member,
        iterations: Repeats = 100,
        restarts: Repeats = 1,
        targets: Count = 9,
        queries: Repeats = 5000,
        eot_iter: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "autoattack", **options_of(locals())}
        self.member, self.label, self.restarts = member, label or member, 1
        self.queries_only = member == "square"
        self.reading = "EoT" if eot_iter > 1 else "as published"
        self.alone = member.startswith("apgd")  # FAB or Square alone is only a part of the published attack
        self.iterations, self.starts, self.targets = iterations, restarts, targets
        self.queries, self.eot_iter = queries, eot_iter
        self.notes: list[str] = []
        self.published = False
        self.logger = ZeroGradients(self.noticed).logger

    def prepared(self, target: Target) -> Attack:
        """Return the member for this many classes.

        Raises:
            ImpossibleAttackError: the loss needs more logits than there are.
        """
        needed = LOGITS_NEEDED.get(self.member, 2)
        if target.num_classes < needed:
            raise ImpossibleAttackError(
                f"{self.label} skipped: its loss needs {needed} classes, there are {target.num_classes}"
            )
        own = cast(dict[str, Any], {**self.options, "targets": min(self.targets, target.num_classes - 1)})
        own["eot_iter"] = self.eot_iter if target.encoder.stochastic else 1
        fitted = AutoAttackMember(**{key: value for key, value in own.items() if key != "name"})
        if self.targets > target.num_classes - 1 and self.member in ("apgd-t", "fab-t"):
            fitted.notes.append(
                f"{self.label}: {target.num_classes - 1} target classes in place of {self.targets}: there are "
                f"{target.num_classes} classes"
            )
        if self.eot_iter > fitted.eot_iter:
            fitted.notes.append(
                f"{self.label}: the network is deterministic, so one gradient replaces the mean of {self.eot_iter}"
            )
        return fitted

    def longest(self) -> Attack:
        """Return the member run by the authors' code, which no deterministic network makes shorter."""
        own = copy(self)
        own.published = True
        return own

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        if classifier.bound:
            rows = torch.arange(len(images)).split(1)
            one_by_one = [self._perturb(classifier.of(row), images[row], labels[row], threat, work) for row in rows]
            return torch.cat(one_by_one)
        return self._perturb(classifier, images, labels, threat, work)

    def _perturb(self, classifier: Classifier, images: Tensor, labels: Tensor, threat: Threat, work: Work) -> Tensor:
        adversary = self._adversary(classifier, threat, seed_of(work.seed, "autoattack") % 2**31, images.device)
        with torch.no_grad(), untouched_globals(), connected(classifier):  # logits may carry no graph to the pixels
            found = adversary.perturb(images.clone(), labels.clone()).detach()
        # rounding can leave the ball; l-inf candidates are kept bit for bit as their code returns them
        outside = threat.distances(found, images) > threat.eps
        if threat.norm == "l2" and bool(outside.any()):
            found[outside] = threat.project(found[outside], images[outside])
        return found

    def _adversary(
        self, classifier: Classifier, threat: Threat, seed: int, device: torch.device
    ) -> APGDAttack | APGDAttack_targeted | FABAttack_PT | SquareAttack:
        """Return the attack: for a deterministic network one that reaches the same verdicts with less work."""
        published = self.published or classifier.stochastic or classifier.bound
        common: dict[str, Any] = {"norm": NORMS[threat.norm], "eps": threat.eps, "seed": seed, "verbose": False}
        common["device"] = device
        gradient = {
            "n_iter": self.iterations,
            "eot_iter": self.eot_iter if classifier.stochastic else 1,
            "rho": 0.75,
            "logger": self.logger,
        }
        if self.member in ("apgd-ce", "apgd-dlr"):
            apgd = APGDAttack if published else LeavingApgd
            return apgd(classifier, n_restarts=self.starts, loss=self.member[5:], **gradient, **common)
        if self.member == "apgd-t":
            apgd_t = APGDAttack_targeted if published else LeavingApgdTargeted
            return apgd_t(classifier, n_restarts=1, n_target_classes=self.targets, **gradient, **common)
        if self.member == "square":
            square = SquareAttack if published else BatchedSquare
            return square(
                classifier, p_init=0.8, n_queries=self.queries, n_restarts=self.starts, resc_schedule=False, **common
            )
        targeted = self.member == "fab-t"
        fab = FABAttack_PT if published else BatchedFab
        return fab(
            classifier,
            n_iter=self.iterations,
            n_restarts=1 if targeted else self.starts,
            targeted=targeted,
            n_target_classes=self.targets,
            **common,
        )

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return a sentence if images had a zero gradient."""
        return [
            f"{self.label}: {count} restarts had images with {what}: gradients may be masked"
            for what, count in noticed.items()
        ]


@small(version="plus")
@checked
class AutoAttackVersion:
    """The attacks of one version of AutoAttack; its settings are read from pyautoattack.

    Args:
        version: "standard" (APGD-CE, APGD-T, FAB-T, Square), "plus" (all, 5 restarts) or "rand" (APGD-CE and APGD-DLR
            with EoT 20).
        member: one attack instead of a version, with the settings of "standard".
        iterations, restarts, targets, queries, eot_iter: values that replace those of the version.
        label: name of the single member in the result.
    """

    def __init__(
        self,
        *,
        version: Version | None = None,
        member: Member | None = None,
        iterations: Repeats | None = None,
        restarts: Repeats | None = None,
        targets: Count | None = None,
        queries: Repeats | None = None,
        eot_iter: Repeats | None = None,
        label: str | None = None,
    ) -> None:
        settings = {"iterations": iterations, "restarts": restarts, "targets": targets, "queries": queries}
        settings["eot_iter"] = eot_iter
        if (version is None) == (member is None):
            raise UserError("needs exactly one of version (standard, plus, rand) and member")
        if version is not None and label is not None:
            raise UserError(f"label={label!r} names one member; version={version} has several")
        self.version: Version | None = version
        self.member: Member | None = member
        self.label = label
        self.settings = {key: value for key, value in settings.items() if value is not None}

    def expanded(self) -> list[Attack]:
        """Return the single attacks, in AutoAttack's order."""
        # the settings of a version are the same for every eps and for both norms used here
        theirs = AutoAttack(nn.Identity(), norm="Linf", eps=0.0, version=self.version or "standard")
        names = cast(list[Member], [self.member] if self.member else theirs.attacks_to_run)
        own_starts: Mapping[str, int] = {"fab": theirs.fab.n_restarts, "square": theirs.square.n_restarts}

        def member(name: Member) -> Attack:
            settings: dict[str, Any] = {
                "iterations": theirs.apgd.n_iter,
                "restarts": own_starts.get(name, theirs.apgd.n_restarts),
                "targets": theirs.apgd_targeted.n_target_classes,
                "queries": theirs.square.n_queries,
                "eot_iter": theirs.apgd.eot_iter if name.startswith("apgd") else 1,
            }
            return AutoAttackMember(member=name, label=self.label, **(settings | self.settings))

        return [member(name) for name in names]


class ZeroGradients(logging.Handler):
    """Counts pyautoattack's warnings about images with a zero gradient, a sign of masked gradients."""

    def __init__(self, noticed: Counter[str]) -> None:
        super().__init__(logging.WARNING)
        self.noticed = noticed
        # not registered by name, so that its handlers are not shared
        self.logger = logging.Logger("sslkuramoto.autoattack", logging.WARNING)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if "zero gradient" in record.getMessage():
            self.noticed["a zero gradient"] += 1


@contextmanager
def untouched_globals() -> Iterator[None]:
    """Restore torch's global generators on exit: pyautoattack seeds them all, on the CPU and every CUDA device."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        yield
