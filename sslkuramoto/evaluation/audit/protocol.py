"""Protocol ``audit``: is the robustness of this network real, or does it only hide from attacks?

A battery of attacks and diagnostics (../shared/METHODS.md, 7.3), each answering one question with pass, fail or not
run, and a verdict with its reasons. The headline is the union over everything that was run, image by image.

Shapes: n images, y x pixels.
"""

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Literal

import torch

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.attacks import Ledger
from sslkuramoto.evaluation.attacks.attack import ImpossibleAttackError
from sslkuramoto.evaluation.attacks.ledger import key_of
from sslkuramoto.evaluation.audit import attack_checks, network_checks, noise_checks
from sslkuramoto.evaluation.audit.arsenal import Arsenal
from sslkuramoto.evaluation.audit.bench import Bench, LedgerOf
from sslkuramoto.evaluation.audit.budget import BUDGETS, Budget, BudgetName
from sslkuramoto.evaluation.audit.case import Case
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.gradients import gradient_facts
from sslkuramoto.evaluation.audit.verdict import reported, verdict_of
from sslkuramoto.evaluation.chosen import Chosen, chosen_images
from sslkuramoto.evaluation.classifier import Classifier, classifier_of
from sslkuramoto.evaluation.draws import accuracies, check_draws, share_right
from sslkuramoto.evaluation.intervals import share_over_draws
from sslkuramoto.evaluation.planted import Plant, planted
from sslkuramoto.evaluation.protocol import Result, Subject, described, options_of, start_of
from sslkuramoto.threat import Norm, Threat, parse_eps

NAME = "audit"
GRID = (0.25, 0.5, 1.0, 2.0, 4.0)  # times eps

CHECKS: dict[Question, Callable[[Case], Check]] = {
    attack_checks.CONTROL: attack_checks.control,
    attack_checks.EPS: attack_checks.eps,
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


class Audit:
    """Judges whether a network's robustness is real, and bounds it.

    Args:
        budget: "quick" (minutes on a CPU, a small network) or "full" (hours on a large GPU); sets what is None below.
        norm: "linf" or "l2".
        eps: radius in pixels of [0,1], > 0: a number or a fraction such as "8/255".
        initial: which network is audited: "random" (new oscillators at every forward, as published) or "fixed".
        plant: a defence that only looks robust, put into the network to try the audit: "quantised", "scaled", "noisy".
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

    def __init__(
        self,
        *,
        budget: BudgetName = "quick",
        norm: Norm = "linf",
        eps: float | str = "8/255",
        initial: Literal["random", "fixed"] = "random",
        plant: Plant | None = None,
        grid: list[float | str] | None = None,
        sources: list[str] | None = None,
        images: int | None = None,
        steps: list[int] | None = None,
        k: list[int] | None = None,
        restarts: int | None = None,
        queries: int | None = None,
        samples: int | None = None,
        directions: int | None = None,
        skip: list[str] | None = None,
        split: Literal["test", "val"] = "test",
        chunk: int = 100,
        draws: int = 20,
        select_draws: int = 100,
        ledger: str | None = None,
    ) -> None:
        self.options = options_of(locals())
        self.threat = Threat(norm, parse_eps(eps, norm))
        if self.threat.eps == 0:
            raise UserError("eps=0: an audit needs room to attack; protocol clean measures the clean accuracy")
        usual = [times * self.threat.eps for times in GRID if norm == "l2" or times * self.threat.eps < 1]
        self.grid = tuple(sorted(parse_eps(radius, norm) for radius in grid or usual))
        if self.grid[0] <= 0:
            raise UserError(f"grid={grid}: radii must be above 0")
        self.budget: Budget = BUDGETS[budget].changed(
            images=images,
            steps=steps,
            k=k,
            restarts=restarts,
            queries=queries,
            samples=samples,
            directions=directions,
        )
        if chunk < 1:
            raise UserError(f"chunk={chunk}: must be at least 1")
        names = {question.name for question in CHECKS}
        for name in skip or []:
            if name not in names:
                raise unknown("check to skip", name, names)
        self.initial: Literal["random", "fixed"] = initial
        self.plant: Plant | None = plant
        self.sources, self.skip = tuple(sources or ()), frozenset(skip or ())
        self.split, self.chunk, self.ledger = split, chunk, ledger
        self.draws, self.select_draws = check_draws(draws), check_draws(select_draws)

    def __call__(self, subject: Subject) -> Result:
        """Attack, look, and judge.

        Raises:
            UserError: no classifier, no labels, too few images, a source that cannot be had, a foreign ledger.
        """
        classifier = self._classifier(subject)
        chosen = chosen_images(subject, NAME, self.split, self.budget.images, self.chunk)
        data = described(chosen.images, len(chosen.index))
        case = self._case(subject, classifier, chosen, data)
        checks = [self._answered(question, ask, case) for question, ask in CHECKS.items()]
        return self._judged(subject, case, checks, chosen, data)

    def _classifier(self, subject: Subject) -> Classifier:
        bare = classifier_of(subject, NAME, self.initial)
        encoder, head = planted(self.plant, bare.encoder, bare.head)
        return Classifier(encoder, head, self.initial, seed=subject.seed)

    def _case(self, subject: Subject, classifier: Classifier, chosen: Chosen, data: dict) -> Case:
        bench = Bench(
            classifier,
            chosen.pixels,
            chosen.labels,
            threat=self.threat,
            seed=subject.seed,
            chunk=self.chunk,
            draws=self.draws,
            ledger_of=self._ledgers(subject, chosen, data),
            report=subject.report,
        )
        assert chosen.images.classes is not None
        arsenal = Arsenal(subject, self.budget, classifier.stochastic, len(chosen.images.classes))
        for source in self.sources:
            arsenal.transferred(source, run=source)  # a source that cannot be had is said at once
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
        return Case(bench, arsenal, self.budget, self.grid, self.sources, facts)

    def _answered(self, question: Question, ask: Callable[[Case], Check], case: Case) -> Check:
        if question.name in self.skip:
            return question.not_run("left out (skip)")
        try:
            return ask(case)
        except ImpossibleAttackError as reason:
            return question.not_run(str(reason))

    def _judged(self, subject: Subject, case: Case, checks: list[Check], chosen: Chosen, data: dict) -> Result:
        bench, labels = case.bench, chosen.labels.cpu()
        plain_run = bench.run(case.arsenal.plain("ce"))
        tightest = bench.tightest(self.select_draws)
        clean, plain, robust = (
            bench.predictions(found, "score") for found in (bench.images, plain_run.candidates, tightest.images)
        )
        correct = {
            name: share_right(found, labels) for name, found in (("clean", clean), ("plain", plain), ("", robust))
        }
        metrics = {
            **accuracies(robust, labels, "robust_accuracy"),
            **accuracies(plain, labels, "plain_accuracy"),
            **accuracies(clean, labels, "clean_accuracy"),
        }
        if "control" not in self.skip:
            control = bench.run(case.arsenal.plain("ce"), threat=Threat(self.threat.norm, 0.0)).candidates
            metrics["control_accuracy"] = accuracies(bench.predictions(control, "score"), labels)["accuracy"]
        if case.stochastic:
            fixed = bench.run(case.arsenal.plain("ce"), against=case.twin(), name="the fixed twin").there
            metrics["fixed/plain_accuracy"] = share_over_draws((fixed > 0.5)[None])
        checks = [checks[0], reported(torch.tensor(correct["plain"]), torch.tensor(correct[""])), *checks[1:]]
        verdict = verdict_of(checks, metrics["plain_accuracy"].value, metrics["robust_accuracy"])
        details = {
            "verdict": verdict.sentence,
            "word": verdict.word,
            "reasons": verdict.reasons,
            "threat": str(self.threat),
            "plant": self.plant,
            "checks": [
                {
                    "name": check.name,
                    "title": check.title,
                    "kind": check.kind,
                    "status": check.status,
                    "reason": check.reason,
                    "figures": dict(check.figures),
                }
                for check in checks
            ],
            "attacks": {
                f"{run.label} ({threat})": round(run.accuracy, 6) for (_, _, threat), run in bench.runs.items()
            },
            "curves": case.curves,
            "histograms": case.histograms,
        }
        network = [f"audited with the planted defence {self.plant!r}"] if self.plant else []
        return Result(
            metrics=metrics,
            options=self.options,
            data=data,
            initial=start_of(case.classifier.encoder, self.initial),
            per_image={
                "index": chosen.index.tolist(),
                "correct": correct[""],
                "plain_correct": correct["plain"],
                "clean_correct": correct["clean"],
                "broken_by": tightest.broken_by,
            },
            notes=[*network, verdict.sentence, *(check.shown() for check in checks), *verdict.reasons[-1:]],
            details={"audit": details},
        )

    def _ledgers(self, subject: Subject, chosen: Chosen, data: dict) -> LedgerOf:
        model = {"encoder": subject.encoder_hash, "head": subject.head_hash, "changed": dict(subject.encoder_options)}
        name = key_of(model)
        folder = Path(self.ledger) if self.ledger else subject.run_dir / "ledger" / name
        battery = {
            "protocol": NAME,
            "data": data | {"index": chosen.index.tolist()},
            "seed": subject.seed,
            "initial": self.initial,
            "plant": self.plant,
            "chunk": self.chunk,
            "draws": self.draws,
            "precision": f"float32/{torch.get_float32_matmul_precision()}",
            "device": subject.device.type,
        }

        def ledger_of(threat: Threat, against: str) -> Ledger:
            return Ledger(folder, name, {**battery, "norm": threat.norm, "eps": threat.eps, "against": against})

        return ledger_of
