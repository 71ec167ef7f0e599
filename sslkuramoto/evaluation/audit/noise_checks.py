"""Checks on what the random draws of a network do to attacks, and how far the reported figure holds.

A randomised network can hide from an attack that draws once (Athalye, Carlini and Wagner 2018, 1802.00420, section
5.3). What it hides shows when the state is fixed, when the attack averages over draws, and when it holds them.
"""

from sslkuramoto.evaluation.audit.attack_checks import on_twin
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import compare, convergence, percent
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.runner import union

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
    held = f"{case.classifier.draws} held states" if case.classifier.mode == "averaged" else "one state"
    reason = (
        f"the plain attacks leave {percent(comparison.first)} of the random network, {percent(comparison.second)} of "
        f"the same weights with {held}; those images leave {percent(moved)} of the random network"
    )
    if comparison.stronger:
        reason = f"the noise is the defence: {reason}"
    return FIXED_RANDOM.answer(not comparison.stronger, reason, comparison.figures() | {"transferred": moved})


def held_fresh(case: Case) -> Check:
    """Ask whether an attack whose noise changes at every step misses what one with held noise finds."""
    if not case.stochastic:
        return HELD_FRESH.not_run(NO_NOISE)
    reasons, figures, found = [], {}, False
    for k in (case.budget.usual_k, case.budget.k[-1]):
        fresh, held = (case.bench.run(case.arsenal.reference(k=k, noise=noise)) for noise in ("fresh", "held"))
        comparison = compare(fresh.right, held.right)
        found = found or comparison.stronger
        figures[f"k={k}"] = comparison.figures()
        reasons.append(f"{k} draws a gradient leave {percent(fresh.accuracy)} fresh and {percent(held.accuracy)} held")
    return HELD_FRESH.answer(not found, "; ".join(reasons), figures)


def draws(case: Case) -> Check:
    """Ask whether the last increase of the draws a gradient still broke images, held or fresh."""
    if not case.stochastic:
        return DRAWS.not_run(NO_NOISE)
    rungs = case.budget.k
    held = [case.bench.run(case.arsenal.reference(k=k)) for k in rungs]
    fresh = [case.bench.run(case.arsenal.reference(k=k, noise="fresh")) for k in rungs[-2:]]
    series = {"held draws": [run.accuracy for run in held]}
    case.add_curve("k", "Accuracy against the draws behind a gradient", "draws", rungs, series)
    found = {"held": convergence(held[-2].right, held[-1].right), "fresh": convergence(fresh[0].right, fresh[1].right)}
    ladder = ", ".join(f"{percent(run.accuracy)} with {k}" for k, run in zip(rungs, held, strict=True))
    last = ", ".join(f"{percent(run.accuracy)} with {k}" for k, run in zip(rungs[-2:], fresh, strict=True))
    reason = f"held draws leave {ladder} ({found['held'].remark()}); fresh ones {last} ({found['fresh'].remark()})"
    figures = {name: each.figures() for name, each in found.items()}
    proven = all(each.proven for each in found.values())
    return DRAWS.answer(not any(each.gains for each in found.values()), reason, figures | {"proven": proven})
