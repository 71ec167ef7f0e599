"""Checks of how the random draws of a network affect attacks.

Randomness can defeat an attack that uses a single draw per gradient (Athalye, Carlini and Wagner 2018, 1802.00420,
section 5.3). Three comparisons reveal it: fix the initial state, average gradients over draws, hold the draws fixed.
"""

from dataclasses import replace

from sslkuramoto.evaluation.audit.attack_checks import on_fixed_version
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import compare, convergence, percent
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.runner import union
from sslkuramoto.statistics import sign_test

FIXED_RANDOM = Question("fixed_random", "Fixing the initial oscillators does not reduce the robustness", "noise")
HELD_FRESH = Question("held_fresh", "Holding the draws fixed during an attack does not make it stronger", "masking")
DRAWS = Question("k", "More draws per gradient do not make the attack stronger", "strength")
NO_NOISE = "the network is deterministic"


def fixed_random(case: Case) -> Check:
    """Check whether the same weights with one fixed initial state are as robust against the plain attacks.

    The test is by signs. Weighed by size, the weakness of a plain attack on a network that draws would count as noise:
    a network trained by PGD that keeps 42 % on fixed states and 49 % under EoT keeps 54 % under the plain attacks.
    """
    if not case.stochastic:
        return FIXED_RANDOM.not_run(NO_NOISE)
    attacks = [case.arsenal.plain("ce"), case.arsenal.plain("dlr")]
    random = union([case.bench.run(attack) for attack in attacks])
    runs = [on_fixed_version(case, attack) for attack in attacks]
    fixed = runs[0].there.minimum(runs[1].there)
    comparison = compare(random, fixed)
    comparison = replace(comparison, p=sign_test(comparison.further, comparison.less_far))
    moved = case.bench.looked(runs).double().mean().item()
    held = f"{case.classifier.draws} held states" if case.classifier.mode == "averaged" else "one fixed state"
    reason = (
        f"under the plain attacks the randomised network has {percent(comparison.first)}, the same weights with {held} "
        f"{percent(comparison.second)}; the latter's adversarial images transferred to the randomised network leave it "
        f"{percent(moved)}"
    )
    if comparison.stronger:
        reason = f"{100 * comparison.gain:.1f} points rest on the noise: {reason}"
    return FIXED_RANDOM.answer(not comparison.stronger, reason, comparison.figures() | {"transferred": moved})


def held_fresh(case: Case) -> Check:
    """Check whether an attack with held draws breaks images that one with fresh draws at every step does not."""
    if not case.stochastic:
        return HELD_FRESH.not_run(NO_NOISE)
    reasons, figures, found = [], {}, False
    for k in (case.budget.usual_k, case.budget.k[-1]):
        fresh, held = (case.bench.run(case.arsenal.reference(k=k, noise=noise)) for noise in ("fresh", "held"))
        comparison = compare(fresh.right, held.right)
        found = found or comparison.stronger
        figures[f"k={k}"] = comparison.figures()
        reasons.append(
            f"with {k} draws per gradient {percent(fresh.accuracy)} (fresh) and {percent(held.accuracy)} (held)"
        )
    return HELD_FRESH.answer(not found, "; ".join(reasons), figures)


def draws(case: Case) -> Check:
    """Check whether the last increase of the draws per gradient still broke images, with held or fresh draws."""
    if not case.stochastic:
        return DRAWS.not_run(NO_NOISE)
    counts = case.budget.k
    held = [case.bench.run(case.arsenal.reference(k=k)) for k in counts]
    fresh = [case.bench.run(case.arsenal.reference(k=k, noise="fresh")) for k in counts[-2:]]
    series = {"held draws": [run.accuracy for run in held]}
    case.add_curve("k", "Accuracy against the draws per gradient", "draws", counts, series)
    found = {"held": convergence(held[-2].right, held[-1].right), "fresh": convergence(fresh[0].right, fresh[1].right)}
    all_held = ", ".join(f"{percent(run.accuracy)} with {k}" for k, run in zip(counts, held, strict=True))
    last = ", ".join(f"{percent(run.accuracy)} with {k}" for k, run in zip(counts[-2:], fresh, strict=True))
    reason = f"held draws: {all_held} ({found['held'].remark()}); fresh draws: {last} ({found['fresh'].remark()})"
    figures = {name: each.figures() for name, each in found.items()}
    proven = all(each.proven for each in found.values())
    return DRAWS.answer(not any(each.gains for each in found.values()), reason, figures | {"proven": proven})
