"""Protocol ``audit``: is the robustness of a network real, or are its gradients masked?

An audit runs attacks and diagnostics (docs/audit.md). Each check passes, fails or is not run; together they give a
verdict with its reasons. The headline is the union over all attacks: each image counts with its worst candidate.

Shapes: n images, y x pixels.
"""

from collections.abc import Callable, Sequence
from copy import copy
from math import sqrt
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
from sslkuramoto.evaluation.audit.compare import BROKEN, FEWEST_RIGHT
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import gradient_facts
from sslkuramoto.evaluation.audit.ladders import climbed, shortened
from sslkuramoto.evaluation.audit.plants import PlantEntry, code_of_plant, described_plant, planted, resolved
from sslkuramoto.evaluation.audit.runner import Bench, LedgerOf, copy_of
from sslkuramoto.evaluation.audit.summary import AuditScores, details_of, eot_runs, may_be_decided, scores_of
from sslkuramoto.evaluation.audit.verdict import REPORTED, decided, is_evidence, too_few, verdict_of
from sslkuramoto.evaluation.classification.subset import Chosen, chosen_images
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.evaluation.rehearsal import account_of, rehearsed
from sslkuramoto.files import at_home
from sslkuramoto.noise_draws import accuracies, draws_for, share_right
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.sources import code_version
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import Count, Mark, Repeats, checked

NAME = "audit"
NETWORKS = ("evaluation/audit/plants/altered.py", "evaluation/audit/context.py")  # sources that modify the network
GRID = (0.25, 0.5, 1.0, 2.0, 4.0)  # radii of the curve, times eps
Asked = tuple[Question, Callable[[Case], Check]]

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
FIRST_ASKED = (
    *(network_checks.ZERO_GRADIENTS, network_checks.FINITE_DIFFERENCES, network_checks.GRADIENT_DRAWS),
    *(noise_checks.FIXED_RANDOM, attack_checks.SURROGATE, attack_checks.BLACK_BOX),
)
"""What an audit that may stop asks first: what needs few attacks, then the check that refutes most plants."""


@checked
class Audit(Protocol):
    """Tests whether the robustness of a network is real, and bounds its robust accuracy from above.

    Args:
        budget: "quick" (minutes on a CPU for a small network) or "full" (hours on a large GPU); it sets every option
            below that is None.
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1], > 0: a number or a fraction such as "8/255"; None: 8/255 in linf, 0.5 in l2.
        initial: initial oscillators of the audited network: "random" (drawn at every forward pass, as published),
            "averaged" (mean logits over several new draws; still stochastic) or "fixed".
        average: draws per forward pass of "averaged".
        plant: a fake defence that is put into the network to test the audit: its name, or ``{name: NAME, ...}`` with
            options (``sslkuramoto list plants``).
        grid: radii of the curve of accuracy against eps; None: a quarter, a half, one, two and four times eps.
        sources: run directories of networks from which attacks are transferred.
        images: number of attacked images, the same images for all runs on the same data.
        steps: iterations of the white-box attacks, an increasing list.
        k: draws per gradient of a stochastic network, an increasing list.
        restarts: number of restarts that is compared with a single start.
        queries: queries of each black-box attack per image.
        samples: random perturbations tried on each image.
        directions: random directions of the finite differences, per image.
        skip: names of checks to skip (they read "not run").
        stop: "decided": no further check is made once none can change the verdict; the bound is then that of fewer
            attacks. "agreed": besides, steps and draws per gradient end where two increases gained nothing, in every
            attack. "never": every check is made, with the whole budget.
        split: split that the images are taken from.
        chunk: images per unit of the ledger and per forward pass.
        draws: fresh draws that score a stochastic network, and as many others that compare attacks; at least 20.
        select_draws: other draws that choose the worst candidate of each image.
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
        average: Repeats = 8,
        plant: PlantEntry | None = None,
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
        stop: Literal["never", "decided", "agreed"] = "never",
        split: Literal["test", "val"] = "test",
        chunk: Annotated[Count, Mark.INCIDENTAL] = 100,
        draws: Repeats = 20,
        select_draws: Repeats = 100,
        ledger: Annotated[str | None, Mark.INCIDENTAL] = None,
    ) -> None:
        eps = DEFAULT_EPS[norm] if eps is None else eps
        self.options = options_of(locals())
        self.threat = Threat(norm, parse_eps(eps, norm))
        if self.threat.eps == 0:
            raise UserError("eps=0: an audit needs eps > 0; protocol clean measures the clean accuracy")
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
        self.plant = plant
        if plant is not None:
            resolved(plant)  # an unknown one is an error before anything is loaded
        self.runs, self.skip = tuple(sources or ()), frozenset(skip or ())
        self.stop = stop
        self.split, self.chunk, self.ledger = split, chunk, ledger
        self.splits = (split,)
        self.draws, self.select_draws = draws, select_draws

    def measure(self, subject: Subject) -> Result:
        """Run the control, then all checks, and derive the verdict.

        Raises:
            UserError: no classifier, no labels, too few images, a source that cannot be loaded, the ledger of another
                network, a network that is declared deterministic and is not.
        """
        classifier = self._classifier(subject)
        chosen = chosen_images(subject, self.split, self.budget.images, self.chunk)
        data = described(chosen.images, len(chosen.index))
        assert chosen.images.classes is not None
        arsenal = self._arsenal(subject, classifier, len(chosen.images.classes))
        case = self._case(classifier, chosen, arsenal, self._ledgers(subject, chosen, data), subject)
        control, *rest = CHECKS.items()
        checks = [self._answered(*control, case)]
        scores: AuditScores | None = None
        if checks[0].status != "fail":
            case = climbed(case) if self.stop == "agreed" else case
            checks += self._answers(rest, case, checks, subject.report)
            scores = self._scores(case)
            if (fault := scores.fault(case)) is not None:
                checks, scores = [control[0].answer(False, fault)], None
        if scores is None:
            checks += [question.not_run("the control failed") for question, _ in [(REPORTED, None), *rest]]
            labels, predictions = chosen.labels.cpu(), case.bench.predictions(chosen.pixels, "score")
            metrics, verdict = accuracies(predictions, labels, "clean_accuracy"), verdict_of(checks, None)
            verdicts: dict[str, list] = {"clean_correct": share_right(predictions, labels)}
            broken: dict[str, list] = {}
        else:
            checks.insert(1, scores.reported())
            metrics, verdict = scores.metrics, verdict_of(checks, scores.headline())
            verdicts, broken = scores.verdicts(), {"broken_by": scores.broken_by}
            subject.keep("adversarial", scores.worst.cpu())
        plant = None if self.plant is None else described_plant(self.plant)
        network = [] if plant is None else [f"audited with the fake defence {plant!r}"]
        return Result(
            metrics=metrics,
            options=self.options,
            data=data,
            initial=start_of(case.classifier.encoder, self.initial),
            per_image={"index": chosen.index.tolist(), **verdicts, **broken},
            verdicts=list(verdicts),
            notes=[
                *network,
                *shortened(self.budget, case.budget),
                verdict.sentence,
                *(check.shown() for check in checks),
                *verdict.reasons[-1:],
            ],
            details={"audit": details_of(case, checks, verdict, plant)},
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return an upper bound of the cost on this device, after timing a few passes; attacks nothing.

        What ``stop`` scores on the way, some 100 to 500 passes per image each time, is not in it: it ends audits early.
        Every check is run on one image of a small stand-in network, with attacks that only count their passes. An
        attack that several checks use is counted with the first.
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
            if attack_checks.SURROGATE.name not in self.skip:  # the best surrogate is run again at the full budget
                for name in attack_checks.other_surrogates(case)[:1]:
                    case.bench.run(arsenal.surrogate(name, most=True))
            account.under("eot")
            eot_runs(case)
            account.under("headline")
            self._scores(case).fault(case)
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
        draws_for(classifier.stochastic, self.select_draws, f"select_draws={self.select_draws}")  # before any attack
        arsenal = Arsenal(subject, self.budget, classifier.stochastic, num_classes, finish)
        for source in self.runs:
            arsenal.transferred(source, run=source)  # a source that cannot be loaded fails here, too
        return arsenal

    def _case(
        self, classifier: Classifier, chosen: Chosen, arsenal: Arsenal, ledger_of: LedgerOf, subject: Subject
    ) -> Case:
        """Return the context of all checks: audited network, images, attacks, gradient diagnostics."""
        unseen = copy_of(classifier)  # before any call, so that a network that remembers images has seen none
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
        right = int((bench.clean > BROKEN).sum())
        if right < FEWEST_RIGHT:
            subject.report(
                f"incomplete: {too_few(right, bench.n)}. Unless a check fails, this will be the verdict; "
                "attack more images (images=...) to get another one"
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
        return Case(bench, arsenal, self.budget, grid, self.runs, facts)

    def _radii(self, chosen: Chosen) -> tuple[float, ...]:
        """Return the radii of the curve, all small enough to bound the perturbation; an unbounded attack is added."""
        widest = 1.0 if self.threat.norm == "linf" else sqrt(chosen.pixels[0].numel())
        for key, radius in [("eps", self.threat.eps), *(("grid", radius) for radius in self.grid or ())]:
            if radius > widest:
                size = " x ".join(map(str, chosen.pixels[0].shape))
                raise UserError(
                    f"{key}={radius:g}: an l2 ball of radius {widest:.4g} contains every image of {size} pixels"
                )
        usual = (times * self.threat.eps for times in GRID)
        return self.grid or tuple(radius for radius in usual if radius < widest) or (self.threat.eps,)

    def _answers(
        self, questions: Sequence[Asked], case: Case, before: Sequence[Check], report: Callable[[str], None]
    ) -> list[Check]:
        """Ask all questions; with ``stop`` only until the verdict is decided, those of ``FIRST_ASKED`` first."""
        early, found = self.stop != "never", dict[Question, Check]()
        first = [asked for question in FIRST_ASKED for asked in questions if asked[0] == question] if early else []
        order = [*first, *(asked for asked in questions if asked not in first)]
        over = early and self._decided(case, before)
        for place, (question, ask) in enumerate(order, start=2):
            if over:
                found[question] = question.not_run("the verdict is decided without it (option stop)")
                continue
            report(f"check {place} of {len(CHECKS)}: {question.name}")
            found[question] = self._answered(question, ask, case)
            if early and any(map(is_evidence, found.values())):
                over = self._decided(case, [*before, *found.values()])
        return [found[question] for question, _ in questions]

    def _decided(self, case: Case, checks: Sequence[Check]) -> bool:
        if not may_be_decided(case, checks):
            return False
        scores = self._scores(case)
        return decided([*checks, scores.reported()], scores.headline())

    def _scores(self, case: Case) -> AuditScores:
        return scores_of(case, self.select_draws, control="control" not in self.skip)

    def _answered(self, question: Question, ask: Callable[[Case], Check], case: Case) -> Check:
        if question.name in self.skip:
            return question.not_run("skipped (option skip)")
        try:
            return ask(case)
        except ImpossibleAttackError as reason:
            return question.not_run(str(reason))

    def _ledgers(self, subject: Subject, chosen: Chosen, data: dict) -> LedgerOf:
        sources, plugins = code_of_plant(self.plant)
        mode = {
            "protocol": NAME,
            "initial": f"averaged over {self.average}" if self.initial == "averaged" else self.initial,
            "plant": self.plant and dict(zip(("name", "options"), resolved(self.plant), strict=True)),
            "networks": code_version((*NETWORKS, *sources)),
            "chunk": self.chunk,
            "draws": self.draws,
        }

        def ledger_of(threat: Threat, against: str) -> Ledger:
            return ledger_for(
                subject.network,
                {**subject.code, **plugins},
                at_home(self.ledger) if self.ledger else subject.run_dir / "ledger",
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
    """Return the radii of the curve, in increasing order.

    Raises:
        UserError: an empty list, or an entry that is no radius.
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
