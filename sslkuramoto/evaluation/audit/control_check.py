"""The control of an audit: attacks that may not move change nothing."""

import torch

from sslkuramoto.evaluation.audit.case import Case
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import percent
from sslkuramoto.threat import Threat

CONTROL = Question("control", "With eps = 0 every attack returns the clean accuracy", "control")


def control(case: Case) -> Check:
    """Ask whether attacks that may not move change anything; attacks that were run are asked again with eps = 0."""
    nowhere = Threat(case.threat.norm, 0.0)
    arsenal = case.arsenal
    attacks = [*arsenal.black_boxes(), arsenal.plain("ce"), arsenal.targeted(), arsenal.reference(), *arsenal.fab()]
    runs = [case.bench.run(attack, threat=nowhere) for attack in attacks]
    moved = [run.label for run in runs if not torch.equal(run.candidates, case.bench.images)]
    figures = {"clean": case.bench.clean.double().mean().item(), **{run.label: run.accuracy for run in runs}}
    if moved:
        return CONTROL.answer(False, f"{', '.join(moved)} moved images that may not move", figures)
    same = all(torch.equal(run.right, case.bench.clean) for run in runs)
    reason = f"{len(runs)} attacks leave {percent(figures['clean'])} right, image by image what is right when clean"
    return CONTROL.answer(same, reason if same else "equal images did not score equally", figures)
