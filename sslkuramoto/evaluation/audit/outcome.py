"""What an audit leaves behind: the figures of its headline, and the details that a report draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.evaluation.audit.case import Case
from sslkuramoto.evaluation.audit.check import Check
from sslkuramoto.evaluation.audit.verdict import Verdict
from sslkuramoto.evaluation.draws import accuracies, share_right
from sslkuramoto.evaluation.intervals import Metric, share_over_draws
from sslkuramoto.threat import Threat


@dataclass(frozen=True)
class Outcome:
    """The figures of an audit, over draws that had no part in choosing.

    Attributes:
        metrics: of the result.
        correct, plain_correct, clean_correct: for each image the share of draws that are right under the union of all
            attacks, under the plain attack, and without one.
        broken_by: what broke an image.
    """

    metrics: dict[str, Metric]
    correct: list[float]
    plain_correct: list[float]
    clean_correct: list[float]
    broken_by: list[str | None]

    def both(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Return what the plain attack leaves and what all together leave."""
        return torch.tensor(self.plain_correct), torch.tensor(self.correct)


def outcome_of(case: Case, select_draws: int, *, control: bool) -> Outcome:
    """Score the union, the plain attack and the clean images.

    Args:
        case: with every attack run.
        select_draws: draws that choose among an image's candidates.
        control: whether the plain attack is scored with eps = 0 too.
    """
    bench, labels, attack = case.bench, case.bench.labels.cpu(), case.arsenal.plain("ce")
    plain_run = bench.run(attack)
    tightest = bench.tightest(select_draws)
    clean, plain, robust = (
        bench.predictions(images, "score") for images in (bench.images, plain_run.candidates, tightest.images)
    )
    metrics = {
        **accuracies(robust, labels, "robust_accuracy"),
        **accuracies(plain, labels, "plain_accuracy"),
        **accuracies(clean, labels, "clean_accuracy"),
    }
    if control:
        unmoved = bench.run(attack, threat=Threat(case.threat.norm, 0.0)).candidates
        metrics["control_accuracy"] = accuracies(bench.predictions(unmoved, "score"), labels)["accuracy"]
    if case.stochastic:
        fixed = bench.run(attack, against=case.twin(), name="the fixed twin").there
        metrics["fixed/plain_accuracy"] = share_over_draws((fixed > 0.5)[None])
    return Outcome(
        metrics,
        correct=share_right(robust, labels),
        plain_correct=share_right(plain, labels),
        clean_correct=share_right(clean, labels),
        broken_by=tightest.broken_by,
    )


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
