"""Checks on what the random draws of a network do to attacks, and how far the reported figure holds.

A randomised network can hide from an attack that draws once (Athalye, Carlini and Wagner 2018, 1802.00420, section
5.3). What it hides shows when the state is fixed, when the attack averages over draws, and when it holds them.
"""

from sslkuramoto.evaluation.audit.attack_checks import on_twin
from sslkuramoto.evaluation.audit.bench import union
from sslkuramoto.evaluation.audit.case import Case
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import compare, percent

FIXED_RANDOM = Question("fixed_random", "Fixing the random state does not cost the robustness", "noise")
HELD_FRESH = Question("held_fresh", "Holding the draws through an attack adds nothing", "masking")
DRAWS = Question("k", "More draws a gradient add nothing", "strength")
NO_NOISE = "the network is deterministic"


def fixed_random(case: Case) -> Check:
    """Ask whether the same weights with one fixed state stand as well against the plain attacks."""
    if not case.stochastic:
        return FIXED_RANDOM.not_run(NO_NOISE)
    attacks = [case.arsenal.plain("ce"), case.arsenal.plain("dlr")]
    random = union([case.bench.run(attack) for attack in attacks])
    twins = [on_twin(case, attack) for attack in attacks]
    fixed = twins[0].there.minimum(twins[1].there)
    comparison = compare(random, fixed)
    moved = union(twins).double().mean().item()
    reason = (
        f"the plain attacks leave {percent(comparison.first)} of the random network, {percent(comparison.second)} of "
        f"the same weights with one state; those images leave {percent(moved)} of the random network"
    )
    if comparison.stronger:
        reason = f"the noise is the defence: {reason}"
    return FIXED_RANDOM.answer(not comparison.stronger, reason, comparison.figures() | {"transferred": moved})


def held_fresh(case: Case) -> Check:
    """Ask whether an attack whose noise changes at every step misses what one with held noise finds."""
    if not case.stochastic:
        return HELD_FRESH.not_run(NO_NOISE)
    fresh, held = (case.bench.run(case.arsenal.reference(noise=noise)) for noise in ("fresh", "held"))
    comparison = compare(fresh.right, held.right)
    reason = (
        f"with {case.budget.usual_k} draws a gradient, fresh ones leave {percent(comparison.first)} and held ones "
        f"{percent(comparison.second)}"
    )
    return HELD_FRESH.answer(not comparison.stronger, reason, comparison.figures())


def draws(case: Case) -> Check:
    """Ask whether the last increase of the draws a gradient still broke images."""
    if not case.stochastic:
        return DRAWS.not_run(NO_NOISE)
    rungs = case.budget.k
    runs = [case.bench.run(case.arsenal.reference(k=k)) for k in rungs]
    series = {"held draws": [run.accuracy for run in runs]}
    case.add_curve("k", "Accuracy against the draws behind a gradient", "held draws", list(rungs), series)
    comparison = compare(runs[-2].right, runs[-1].right)
    ladder = ", ".join(f"{percent(run.accuracy)} with {k}" for k, run in zip(rungs, runs, strict=True))
    return DRAWS.answer(not comparison.stronger, f"held draws leave {ladder}", comparison.figures())
