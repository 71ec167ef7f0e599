"""The attacks of pyautoattack 0.2.0, one object each, with their versions' settings and without their side effects.

APGD (2003.01690), FAB (1907.02044), Square (1912.00049), by their authors' code. Its own loop is not used: it switches
off debuggers and coverage (``check_dynamic``), cannot resume, and says which attack broke an image only in its log.
What is kept: the versions (standard, plus, rand), their settings, and the seeding of every batch with the same seed.

Shapes: b batch, y x pixels.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int64
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from sslkuramoto.attacks.attack import Attack, ImpossibleAttackError, Passes, Target, Work, check_counts
from sslkuramoto.classifier import Classifier
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import seed_of
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Norm, Threat

Version = Literal["standard", "plus", "rand"]
Member = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
LOGITS_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}  # DLR compares three logits, targeted DLR four


class AutoAttackMember(Attack):
    """One attack of AutoAttack, by its authors' code.

    Args:
        member: apgd-ce, apgd-dlr, apgd-t, fab, fab-t or square.
        iterations: steps of APGD and FAB.
        restarts: random starts of untargeted APGD and FAB, and of Square, made inside their code.
        targets: target classes of APGD-T and FAB-T; never more than the other classes there are.
        queries: of Square a restart.
        eot_iter: gradients averaged a step of APGD, each with fresh noise; 1 for a deterministic network.
        label: in results; the member's name when None.

    Differs: of a network with one state an image (``fixed_per_image``) one image is attacked at a time, since their
    code drops images from the batch without saying which.
    """

    one_by_one = True

    def __init__(
        self,
        *,
        member: Member,
        iterations: int = 100,
        restarts: int = 1,
        targets: int = 9,
        queries: int = 5000,
        eot_iter: int = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "autoattack", **options_of(locals())}
        check_counts(iterations=iterations, restarts=restarts, targets=targets, queries=queries, eot_iter=eot_iter)
        self.member, self.label, self.restarts = member, label or member, 1
        self.queries_only = member == "square"
        self.reading = "EoT" if eot_iter > 1 else "as published"
        self.alone = member.startswith("apgd")  # FAB or Square by itself is a part of the published attack only
        self.iterations, self.starts, self.targets = iterations, restarts, targets
        self.queries, self.eot_iter = queries, eot_iter
        self.notes: list[str] = []
        self.logger = ZeroGradients(self.noticed).logger

    def prepared(self, target: Target) -> Attack:
        """Return the member for this many classes.

        Raises:
            ImpossibleAttackError: the loss needs more logits than there are.
        """
        needed = LOGITS_NEEDED.get(self.member, 2)
        if target.num_classes < needed:
            raise ImpossibleAttackError(
                f"{self.label} left out: its loss needs {needed} classes, there are {target.num_classes}"
            )
        own = cast(dict[str, Any], {**self.options, "targets": min(self.targets, target.num_classes - 1)})
        own["eot_iter"] = self.eot_iter if target.encoder.stochastic else 1
        fitted = AutoAttackMember(**{key: value for key, value in own.items() if key != "name"})
        if self.targets > target.num_classes - 1 and self.member in ("apgd-t", "fab-t"):
            fitted.notes.append(
                f"{self.label}: targeted attacks shrink from {self.targets} to {target.num_classes - 1} targets: "
                f"{target.num_classes} classes"
            )
        if self.eot_iter > fitted.eot_iter:
            fitted.notes.append(
                f"{self.label}: deterministic network: the mean of {self.eot_iter} equal gradients is taken as one"
            )
        return fitted

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
        with torch.no_grad(), untouched_globals():
            found = adversary.perturb(images.clone(), labels.clone()).detach()
        outside = threat.distances(found, images) > threat.eps  # by rounding; l-inf candidates are theirs bit for bit
        if threat.norm == "l2" and bool(outside.any()):
            found[outside] = threat.project(found[outside], images[outside])
        return found

    def _adversary(
        self, classifier: Classifier, threat: Threat, seed: int, device: torch.device
    ) -> APGDAttack | APGDAttack_targeted | FABAttack_PT | SquareAttack:
        common: dict[str, Any] = {"norm": NORMS[threat.norm], "eps": threat.eps, "seed": seed, "verbose": False}
        common["device"] = device
        gradient = {
            "n_iter": self.iterations,
            "eot_iter": self.eot_iter if classifier.stochastic else 1,  # equal gradients: their mean is any of them
            "rho": 0.75,
            "logger": self.logger,
        }
        if self.member in ("apgd-ce", "apgd-dlr"):
            return APGDAttack(classifier, n_restarts=self.starts, loss=self.member[5:], **gradient, **common)
        if self.member == "apgd-t":
            return APGDAttack_targeted(classifier, n_restarts=1, n_target_classes=self.targets, **gradient, **common)
        if self.member == "square":
            return SquareAttack(
                classifier, p_init=0.8, n_queries=self.queries, n_restarts=self.starts, resc_schedule=False, **common
            )
        targeted = self.member == "fab-t"
        return FABAttack_PT(
            classifier,
            n_iter=self.iterations,
            n_restarts=1 if targeted else self.starts,
            targeted=targeted,
            n_target_classes=self.targets,
            **common,
        )

    def findings(self, noticed: Mapping[str, int]) -> list[str]:
        """Return how often gradients were zero."""
        return [
            f"{self.label}: {count} starts met images with {what}: gradients may be masked"
            for what, count in noticed.items()
        ]

    def passes(self, num_classes: int, stochastic: bool) -> Passes:
        """Return the cost of one image; each start of APGD takes one gradient more than it has steps."""
        eot, targets = self.eot_iter if stochastic else 1, min(self.targets, num_classes - 1)
        if self.member == "square":
            return Passes(1 + self.starts * (self.queries + 2), 0)  # its start, its queries, its end
        if self.member in ("apgd-ce", "apgd-dlr"):
            return Passes(1, self.starts * eot * (self.iterations + 1))
        if self.member == "apgd-t":
            return Passes(1 + targets, targets * eot * (self.iterations + 1))
        # a step asks for the gradient of one difference of logits (targeted) or of all, then for a prediction
        starts, gradients = (targets, 1) if self.member == "fab-t" else (self.starts, num_classes)
        return Passes(1 + starts * (2 + self.iterations + 3), starts * self.iterations * gradients)


class AutoAttackVersion:
    """The attacks of one version of AutoAttack, with its settings: read from pyautoattack itself.

    Args:
        version: "standard" (APGD-CE, APGD-T, FAB-T, Square), "plus" (all, 5 restarts) or "rand" (APGD-CE and APGD-DLR
            with EoT 20).
        member: one attack instead of a version, with the settings of "standard".
        iterations, restarts, targets, queries, eot_iter: what differs from the version.
        label: of the single member.
    """

    def __init__(
        self,
        *,
        version: Version | None = None,
        member: Member | None = None,
        iterations: int | None = None,
        restarts: int | None = None,
        targets: int | None = None,
        queries: int | None = None,
        eot_iter: int | None = None,
        label: str | None = None,
    ) -> None:
        settings = {"iterations": iterations, "restarts": restarts, "targets": targets, "queries": queries}
        settings["eot_iter"] = eot_iter
        check_counts(**settings)
        if (version is None) == (member is None):
            raise UserError("needs either version (standard, plus, rand) or member, not both")
        if version is not None and label is not None:
            raise UserError(f"label={label!r} names one member; version={version} has several")
        self.version: Version | None = version
        self.member: Member | None = member
        self.label = label
        self.settings = {key: value for key, value in settings.items() if value is not None}

    def expanded(self) -> list[Attack]:
        """Return the single attacks, in AutoAttack's order."""
        # eps and norm do not change a version's settings in the norms that we have
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
    """Counts pyautoattack's warnings of images with a zero gradient, a sign of masked gradients."""

    def __init__(self, noticed: Counter[str]) -> None:
        super().__init__(logging.WARNING)
        self.noticed = noticed
        # not entered in logging's table of names: nobody else shares its handlers
        self.logger = logging.Logger("sslkuramoto.autoattack", logging.WARNING)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if "zero gradient" in record.getMessage():
            self.noticed["a zero gradient"] += 1


@contextmanager
def untouched_globals() -> Iterator[None]:
    """Put torch's global generators back on leaving: pyautoattack seeds them all, on the CPU and every CUDA device."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        yield
