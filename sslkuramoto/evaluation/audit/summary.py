"""The result of an audit: the figures of its headline, and the details that a report page draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.audit.check import Check
from sslkuramoto.evaluation.audit.compare import BROKEN
from sslkuramoto.evaluation.audit.context import FIXED_VERSION, Case
from sslkuramoto.evaluation.audit.runner import Run, worse_of
from sslkuramoto.evaluation.audit.verdict import Headline, Verdict, decided, reported
from sslkuramoto.evaluation.robustness.second_look import fault_of_stored
from sslkuramoto.noise_draws import accuracies, share_over_draws, share_right
from sslkuramoto.results import Metric
from sslkuramoto.statistics import wilson
from sslkuramoto.threat import Threat


@dataclass(frozen=True)
class AuditScores:
    """The figures of an audit, over draws that did not choose any candidate.

    Attributes:
        metrics: of the result.
        correct, clean_correct: for each image the share of draws that are correct under the union of all attacks, and
            without an attack.
        usual: name of a usually reported figure -> the same share under its attack; the strongest attack last.
        single: the same share under the strongest single attack.
        broken_by: for each image the attack that broke it.
        worst: for each image its worst candidate.
        guess: share of the largest class.
    """

    metrics: dict[str, Metric]
    correct: list[float]
    clean_correct: list[float]
    usual: dict[str, list[float]]
    single: list[float]
    broken_by: list[str | None]
    worst: Float[Tensor, "n 3 y x"]
    guess: float

    def reported(self) -> Check:
        """Return the check that compares the usually reported figures with the union."""
        usual = {name: torch.tensor(shares) for name, shares in self.usual.items()}
        return reported(usual, torch.tensor(self.correct), torch.tensor(self.single))

    def headline(self) -> Headline:
        """Return the figures that the verdict is about."""
        eot = self.metrics.get("eot_accuracy")
        return Headline(
            plain=self.metrics["plain_accuracy"].value,
            tightest=self.metrics["robust_accuracy"],
            clean=self.metrics["clean_accuracy"],
            guess=self.guess,
            right=sum(share > BROKEN for share in self.clean_correct),
            eot=None if eot is None else eot.value,
        )

    def fault(self, case: Case) -> str | None:
        """Return why a second look at the worst candidates contradicts the scores; None if it does not."""
        bench = case.bench
        return fault_of_stored(
            bench.classifier,
            self.worst,
            bench.images,
            bench.labels,
            self.correct,
            threat=bench.threat,
            index=torch.arange(bench.n),
            chunk=bench.chunk,
            draws=bench.draws,
            key=("audit", "score"),
        )

    def verdicts(self) -> dict[str, list]:
        """Return the shares of correct draws, one entry per image."""
        usual = {f"{name}_correct": shares for name, shares in self.usual.items()}
        return {"correct": self.correct, **usual, "clean_correct": self.clean_correct}


def eot_runs(case: Case) -> list[Run]:
    """Run EoT; none for a deterministic network."""
    return [case.bench.run(attack) for attack in case.arsenal.eot()] if case.stochastic else []


def may_be_decided(case: Case, checks: Sequence[Check]) -> bool:
    """Return whether :func:`scores_of`, which takes many more passes, is worth asking whether the verdict is decided.

    The draws by which checks compare attacks choose each image's worst candidate, and other draws score it: 20 passes
    an image for the union and for each usual figure.
    """
    bench, n = case.bench, case.n
    sets = {name: worse_of(runs)[0] for name, runs in _usual(case).items()}
    key = f"a look after {len(bench.runs)} attacks"
    if key not in case.scores:
        sets["union"] = worse_of(bench.inside())[0]
        case.scores[key] = {name: bench.share_right(images, "look") for name, images in sets.items()}
    seen = case.scores[key]
    usual, union = {name: seen[name] for name in sets if name != "union"}, seen["union"]
    means = {name: share.double().mean().item() for name, share in {**seen, "clean": bench.clean}.items()}
    tightest, clean = (Metric(means[name], *wilson(means[name], n), n) for name in ("union", "clean"))
    right = int((bench.clean > BROKEN).sum())
    headline = Headline(means["plain"], tightest, clean, _guess(case), right, means.get("eot"))
    return decided([*checks, reported(usual, union, union)], headline)


def _usual(case: Case) -> dict[str, list[Run]]:
    """Run the attacks behind the usually reported figures."""
    usual = {"plain": [case.bench.run(case.arsenal.plain("ce"))], "eot": eot_runs(case)}
    return {name: runs for name, runs in usual.items() if runs}


def _strongest(case: Case) -> Run:
    runs = (run for (*_, threat), run in case.bench.runs.items() if threat == case.threat)
    return min(runs, key=lambda run: run.accuracy)


def _guess(case: Case) -> float:
    return case.bench.labels.bincount().max().item() / case.n


def scores_of(case: Case, select_draws: int, *, control: bool) -> AuditScores:
    """Score the union, the usual attacks, the strongest single one and the clean images; once for the same attacks.

    Args:
        case: with every attack run.
        select_draws: draws that choose among an image's candidates.
        control: whether the plain attack is also scored with eps = 0.
    """
    bench, labels, attack = case.bench, case.bench.labels.cpu(), case.arsenal.plain("ce")
    if (known := case.scores.get(len(bench.runs))) is not None:
        return known
    usual, single = _usual(case), _strongest(case)
    tightest = bench.tightest(select_draws)
    clean, robust, alone = (
        bench.predictions(images, "score") for images in (bench.images, tightest.images, single.candidates)
    )
    # image by image, as AutoAttack combines its members
    attacked = {name: bench.predictions(worse_of(runs)[0], "score") for name, runs in usual.items()}
    metrics = accuracies(robust, labels, "robust_accuracy")
    for name, predictions in attacked.items():
        metrics |= accuracies(predictions, labels, f"{name}_accuracy")
    metrics |= accuracies(clean, labels, "clean_accuracy")
    if control:
        unmoved = bench.run(case.arsenal.for_control().plain("ce"), threat=Threat(case.threat.norm, 0.0)).candidates
        metrics["control_accuracy"] = accuracies(bench.predictions(unmoved, "score"), labels)["accuracy"]
    if case.stochastic:
        fixed = bench.run(attack, against=case.fixed_version(), name=FIXED_VERSION).there
        metrics["fixed/plain_accuracy"] = share_over_draws((fixed > 0.5)[None])
    found = AuditScores(
        metrics,
        correct=share_right(robust, labels),
        clean_correct=share_right(clean, labels),
        usual={name: share_right(predictions, labels) for name, predictions in attacked.items()},
        single=share_right(alone, labels),
        broken_by=tightest.broken_by,
        worst=tightest.images,
        guess=_guess(case),
    )
    case.scores[len(bench.runs)] = found
    return found


def details_of(case: Case, checks: Sequence[Check], verdict: Verdict, plant: str | None) -> dict[str, Any]:
    """Return ``details.audit``: plain lists and mappings."""
    return {
        "verdict": verdict.sentence,
        "word": verdict.word,
        "reasons": verdict.reasons,
        "threat": str(case.threat),
        "plant": plant,
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
            f"{run.label} ({threat})": round(run.accuracy, 6) for (_, _, threat), run in case.bench.runs.items()
        },
        "curves": case.curves,
        "histograms": case.histograms,
    }
