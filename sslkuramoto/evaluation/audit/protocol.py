"""Protocol ``audit``: is the robustness of this network real, or does it only hide from attacks?

A battery of attacks and diagnostics (docs/audit.md), each answering one question with pass, fail or not
run, and a verdict with its reasons. The headline is the union over everything that was run, image by image.

Shapes: n images, y x pixels.
"""

from collections.abc import Callable, Sequence
from copy import copy
from math import sqrt
from pathlib import Path
from typing import Annotated, Literal

from sslkuramoto.attacks import Attack, Ledger
from sslkuramoto.attacks.attack import ImpossibleAttackError
from sslkuramoto.attacks.ledger import ledger_for
from sslkuramoto.classifier import Classifier, Initial, check_deterministic
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.audit import attack_checks, control_check, network_checks, noise_checks
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS, Budget, BudgetName
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.fake_defences import Plant, planted
from sslkuramoto.evaluation.audit.gradients import gradient_facts
from sslkuramoto.evaluation.audit.runner import Bench, LedgerOf, copy_of
from sslkuramoto.evaluation.audit.summary import details_of, eot_runs, outcome_of
from sslkuramoto.evaluation.audit.verdict import REPORTED, verdict_of
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.rehearsal import account_of, rehearsed
from sslkuramoto.noise_draws import accuracies, draws_for, share_right
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.sources import code_version
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import Count, Mark, checked

NAME = "audit"
NETWORKS = ("evaluation/audit/fake_defences.py", "evaluation/audit/context.py")  # make the networks that it attacks
GRID = (0.25, 0.5, 1.0, 2.0, 4.0)  # times eps

CHECKS: dict[Question, Callable[[Case], Check]] = {
    control_check.CONTROL: control_check.control,
    attack_checks.EPS: attack_checks.eps,
    attack_checks.FAB: attack_checks.fab,
    attack_checks.ONE_STEP: attack_checks.one_step,
    attack_checks.BLACK_BOX: attack_checks.black_box,
    attack_checks.TRANSFER: attack_checks.transfer,
    attack_checks.NOISE_ACCURACY: attack_checks.noise_accuracy,
    attack_checks.LOGIT_SCALE: attack_checks.logit_scale,
    attack_checks.SURROGATE: attack_checks.surrogate,
    attack_checks.STEPS: attack_checks.steps,
    attack_checks.RESTARTS: attack_checks.restarts,
    noise_checks.DRAWS: noise_checks.draws,
    noise_checks.HELD_FRESH: noise_checks.held_fresh,
    noise_checks.FIXED_RANDOM: noise_checks.fixed_random,
    network_checks.GRADIENT_DRAWS: network_checks.gradient_draws,
    network_checks.FINITE_DIFFERENCES: network_checks.finite_differences,
    network_checks.ZERO_GRADIENTS: network_checks.zero_gradients,
    network_checks.SATURATION: network_checks.saturation,
    network_checks.DETERMINISTIC: network_checks.deterministic,
    network_checks.NO_OPTIMISATION: network_checks.no_optimisation,
}


@checked
class Audit(Protocol):
    """Judges whether a network's robustness is real, and bounds it.

    Args:
        budget: "quick" (minutes on a CPU, a small network) or "full" (hours on a large GPU); sets what is None below.
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1], > 0: a number or a fraction such as "8/255"; None: 8/255 in linf, 0.5 in l2.
        initial: which network is audited: "random" (new oscillators at every forward, as published), "averaged" (mean
            logits over new draws; it still draws) or "fixed".
        average: draws behind a forward of "averaged".
        plant: a defence that only looks robust, put into the network to try the audit: "quantised", "detached",
            "scaled", "noisy".
        grid: radii of the curve of accuracy against eps; None: a quarter, a half, one, two and four times eps.
        sources: run directories; attacks made on their networks are transferred.
        images: how many are attacked, the same for all runs on the same data.
        steps: iterations of the white-box attacks, rising.
        k: draws behind a gradient of a stochastic network, rising.
        restarts: compared with a single start.
        queries: of the black box, for each image.
        samples: random perturbations tried on each image.
        directions: random directions of the finite differences, for each image.
        skip: checks that are left out (they read "not run").
        split: where the images come from.
        chunk: images a unit of the ledger and a forward pass.
        draws: fresh draws that score a stochastic network, and others that compare attacks, at least 20.
        select_draws: other draws that decide which of an image's candidates is the worst.
        ledger: folder of the ledger, shared by processes and machines; None: ``RUN/ledger``.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    by_option = BY_NORM

    def __init__(
        self,
        *,
        budget: BudgetName = "quick",
        norm: Norm = "linf",
        eps: float | str | None = None,
        initial: Literal["random", "averaged", "fixed"] = "random",
        average: Count = 8,
        plant: Plant | None = None,
        grid: list[float | str] | None = None,
        sources: list[str] | None = None,
        images: Count | None = None,
        steps: list[int] | None = None,
        k: list[int] | None = None,
        restarts: int | None = None,
        queries: int | None = None,
        samples: int | None = None,
        directions: int | None = None,
        skip: list[str] | None = None,
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Count = 20,
        select_draws: Count = 100,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        eps = DEFAULT_EPS[norm] if eps is None else eps
        self.options = options_of(locals())
        self.threat = Threat(norm, parse_eps(eps, norm))
        if self.threat.eps == 0:
            raise UserError("eps=0: an audit needs room to attack; protocol clean measures the clean accuracy")
        self.grid = None if grid is None else _grid_of(grid, norm)
        self.budget: Budget = BUDGETS[budget].changed(
            images=images,
            steps=steps,
            k=k,
            restarts=restarts,
            queries=queries,
            samples=samples,
            directions=directions,
        )
        names = {question.name for question in CHECKS}
        for name in skip or []:
            if name not in names:
                raise unknown("check to skip", name, names)
        self.initial: Initial = initial
        self.average = average
        self.plant: Plant | None = plant
        self.sources, self.skip = tuple(sources or ()), frozenset(skip or ())
        self.split, self.chunk, self.ledger = split, chunk, ledger
        self.splits = (split,)
        self.draws, self.select_draws = draws, select_draws

    def measure(self, subject: Subject) -> Result:
        """Attack, look, and judge.

        Raises:
            UserError: no classifier, no labels, too few images, a source that cannot be had, a foreign ledger, a
                network that says it is deterministic and is not.
        """
        classifier = self._classifier(subject)
        chosen = chosen_images(subject, self.split, self.budget.images, self.chunk)
        data = described(chosen.images, len(chosen.index))
        assert chosen.images.classes is not None
        arsenal = self._arsenal(subject, classifier, len(chosen.images.classes))
        case = self._case(classifier, chosen, arsenal, self._ledgers(subject, chosen, data), subject)
        control, *rest = CHECKS.items()
        checks = [self._answered(*control, case)]
        if checks[0].status == "fail":
            checks += [question.not_run("the control failed") for question, _ in [(REPORTED, None), *rest]]
            labels, predictions = chosen.labels.cpu(), case.bench.predictions(chosen.pixels, "score")
            metrics, verdict = accuracies(predictions, labels, "clean_accuracy"), verdict_of(checks, None)
            verdicts: dict[str, list] = {"clean_correct": share_right(predictions, labels)}
            broken: dict[str, list] = {}
        else:
            checks += [self._answered(question, ask, case) for question, ask in rest]
            outcome = outcome_of(case, self.select_draws, control="control" not in self.skip)
            checks.insert(1, outcome.reported())
            metrics, verdict = outcome.metrics, verdict_of(checks, outcome.headline())
            verdicts, broken = outcome.verdicts(), {"broken_by": outcome.broken_by}
            subject.keep("adversarial", outcome.worst.cpu())
        network = [f"audited with the planted defence {self.plant!r}"] if self.plant else []
        return Result(
            metrics=metrics,
            options=self.options,
            data=data,
            initial=start_of(case.classifier.encoder, self.initial),
            per_image={"index": chosen.index.tolist(), **verdicts, **broken},
            verdicts=list(verdicts),
            notes=[*network, verdict.sentence, *(check.shown() for check in checks), *verdict.reasons[-1:]],
            details={"audit": details_of(case, checks, verdict, self.plant)},
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what it costs at most on this device, after timing a few passes; attacks nothing.

        Every question is asked of one image of a stand-in network, whose attacks charge their passes and do nothing
        else. An attack that several ask for counts with the first.
        """
        classifier = self._classifier(subject)
        chosen = chosen_images(subject, self.split, self.budget.images, self.chunk)
        check_deterministic(classifier, chosen.pixels[: self.chunk])
        account = account_of(classifier, chosen)
        own = copy(self)
        own.ledger = None
        with rehearsed(subject, account, len(chosen.index)) as small:
            only = chosen_images(small, self.split, 1, self.chunk)
            ledger_of = own._ledgers(small, only, described(only.images))
            account.under("gradient diagnostics")
            arsenal = self._arsenal(subject, account.stand_in, account.num_classes, account.charged)
            case = self._case(account.stand_in, only, arsenal, ledger_of, small)
            for question, ask in CHECKS.items():
                account.under(question.name)
                self._answered(question, ask, case)
            account.under("a surrogate that does better")
            if attack_checks.SURROGATE.name not in self.skip:  # which gets the full budget
                for name in attack_checks.other_surrogates(case)[:1]:
                    case.bench.run(arsenal.surrogate(name, most=True))
            account.under("eot")
            eot_runs(case)
            account.under("headline")
            outcome_of(case, self.select_draws, control="control" not in self.skip)
        return [("", account.cost(chosen.pixels[: self.chunk], len(chosen.index), []))]

    def _classifier(self, subject: Subject) -> Classifier:
        bare = classifier_of(subject, self.initial)
        encoder, head = planted(self.plant, bare.encoder, bare.head)
        return Classifier(encoder, head, self.initial, seed=subject.seed, draws=self.average)

    def _arsenal(
        self,
        subject: Subject,
        classifier: Classifier,
        num_classes: int,
        finish: Callable[[Attack], Attack] = lambda attack: attack,
    ) -> Arsenal:
        draws_for(classifier.stochastic, self.select_draws)  # too few are said before hours of attacks
        arsenal = Arsenal(subject, self.budget, classifier.stochastic, num_classes, finish)
        for source in self.sources:
            arsenal.transferred(source, run=source)  # a source that cannot be had is said at once
        return arsenal

    def _case(
        self, classifier: Classifier, chosen: Chosen, arsenal: Arsenal, ledger_of: LedgerOf, subject: Subject
    ) -> Case:
        """Return what the questions are asked of."""
        unseen = copy_of(classifier)  # before any call: what a network keeps of the images must not be in it
        check_deterministic(classifier, chosen.pixels[: self.chunk])
        bench = Bench(
            classifier,
            chosen.pixels,
            chosen.labels,
            threat=self.threat,
            seed=subject.seed,
            chunk=self.chunk,
            draws=self.draws,
            ledger_of=ledger_of,
            report=subject.report,
            unseen=unseen,
        )
        grid = self._radii(chosen)
        side = 1.0 if self.threat.norm == "linf" else sqrt(chosen.pixels[0].numel())
        facts = gradient_facts(
            classifier,
            chosen.pixels,
            chosen.labels,
            eps=min(self.threat.eps / side, 1.0),
            seed=subject.seed,
            chunk=self.chunk,
            directions=self.budget.directions,
            report=subject.report,
        )
        return Case(bench, arsenal, self.budget, grid, self.sources, facts)

    def _radii(self, chosen: Chosen) -> tuple[float, ...]:
        """Return the radii of the curve, none so large that it reaches every image: such an attack follows anyway."""
        widest = 1.0 if self.threat.norm == "linf" else sqrt(chosen.pixels[0].numel())
        for key, radius in [("eps", self.threat.eps), *(("grid", radius) for radius in self.grid or ())]:
            if radius > widest:
                size = " x ".join(map(str, chosen.pixels[0].shape))
                raise UserError(
                    f"{key}={radius:g}: an l2 ball of radius {widest:.4g} holds every image of {size} pixels"
                )
        usual = (times * self.threat.eps for times in GRID)
        return self.grid or tuple(radius for radius in usual if radius < widest) or (self.threat.eps,)

    def _answered(self, question: Question, ask: Callable[[Case], Check], case: Case) -> Check:
        if question.name in self.skip:
            return question.not_run("left out (skip)")
        try:
            return ask(case)
        except ImpossibleAttackError as reason:
            return question.not_run(str(reason))

    def _ledgers(self, subject: Subject, chosen: Chosen, data: dict) -> LedgerOf:
        mode = {
            "protocol": NAME,
            "initial": f"averaged over {self.average}" if self.initial == "averaged" else self.initial,
            "plant": self.plant,
            "networks": code_version(NETWORKS),
            "chunk": self.chunk,
            "draws": self.draws,
        }

        def ledger_of(threat: Threat, against: str) -> Ledger:
            return ledger_for(
                subject.network,
                Path(self.ledger) if self.ledger else subject.run_dir / "ledger",
                inside=self.ledger is None,
                seed=subject.seed,
                device=subject.device,
                threat=threat,
                data=data,
                index=chosen.index,
                mode={**mode, "against": against},
            )

        return ledger_of


def _grid_of(radii: Sequence[float | str], norm: Norm) -> tuple[float, ...]:
    """Return the radii of the curve, rising.

    Raises:
        UserError: none, or one that is none, under the name of the option.
    """
    if not radii:
        raise UserError("grid=[]: needs at least one radius; leave it out for a quarter to four times eps")
    try:
        grid = tuple(sorted({parse_eps(radius, norm) for radius in radii}))
    except UserError as error:
        raise UserError(f"grid={list(radii)}: {str(error).partition(': ')[2]}") from None
    if grid[0] <= 0:
        raise UserError(f"grid={list(radii)}: radii must be above 0")
    return grid
