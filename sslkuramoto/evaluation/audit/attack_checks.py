"""Checks that let attacks meet: what must be stronger than what, and where everything must end.

Carlini et al. 2019 (1902.06705) and Athalye, Carlini and Wagner 2018 (1802.00420, section 3.1): iterated attacks are
stronger than single steps, white boxes than black boxes, unbounded attacks reach 100 % success, a larger ball is easier
to attack, and random sampling never finds what gradients miss.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.dynamics.surrogate import Surrogate, surrogates_for
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import (
    ALPHA,
    BROKEN,
    TOLERANCE,
    Comparison,
    compare,
    convergence,
    more_than,
    newly_broken,
    percent,
)
from sslkuramoto.evaluation.audit.context import Case, median
from sslkuramoto.evaluation.audit.fake_defences import ScaledHead
from sslkuramoto.evaluation.audit.runner import Run, union
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.statistics import at_least, holm
from sslkuramoto.threat import Threat

NOISE_SAMPLES = 4
NOISE_SIZES = (4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255, 128 / 255)  # of the curve
NOISE_TAKES = 3 / 4
"""Share of what an attack takes that random noise must take before the attack is said to shake only."""
LEFT_UNBOUNDED = 0.01
"""Share of images that may stand when any image is allowed: an ascent can get stuck on single ones."""

EPS = Question("eps", "Accuracy falls with eps, to 0 % without bounds", "masking")
BLACK_BOX = Question("black_box", "No black box does better than gradients", "masking")
TRANSFER = Question("transfer", "No transferred attack does better than gradients", "masking")
FAB = Question("fab", "The search for the nearest boundary does no better than ascents", "masking")
ONE_STEP = Question("one_step", "One step is no stronger than many", "masking")
LOGIT_SCALE = Question("logit_scale", "The scale of the logits and the loss do not matter", "masking")
SURROGATE = Question("surrogate", "No surrogate backward does better than autograd", "masking")
NOISE_ACCURACY = Question("noise_accuracy", "Attacks do much more than random noise of the same size", "masking")
STEPS = Question("steps", "More steps add nothing", "strength")
RESTARTS = Question("restarts", "More restarts add nothing", "strength")


def eps(case: Case) -> Check:
    """Ask whether larger balls are easier to attack, and whether no ball at all leaves nothing."""
    threats = [Threat(case.threat.norm, radius) for radius in case.grid]
    unbounded = Threat("linf", 1.0)
    curves: dict[str, list[Run]] = {}
    attacks = {"plain": case.arsenal.plain("ce"), "reference": case.arsenal.reference(steps=case.budget.usual_steps)}
    for name, attack in attacks.items():
        curves[name] = [case.bench.run(attack, threat=threat) for threat in [*threats, unbounded]]
    case.add_curve(
        "eps",
        "Accuracy against eps (last point: no bounds)",
        f"eps, {case.threat.norm}",
        [0.0, *(threat.eps for threat in threats), _widest(case)],
        {
            name: [case.bench.clean.double().mean().item(), *(run.accuracy for run in runs)]
            for name, runs in curves.items()
        },
    )
    radii = [*(str(threat) for threat in threats), "no bounds"]
    last = len(threats)
    pairs = [*((k, k + 1) for k in range(last)), *([(0, last - 1)] if last > 2 else [])]  # neighbours, the grid's ends
    asked = [(name, *pair) for name in curves for pair in pairs]
    met = [compare(curves[name][larger].right, curves[name][smaller].right) for name, smaller, larger in asked]
    rises = [
        f"{name}: {percent(curves[name][smaller].accuracy)} at {radii[smaller]} and "
        f"{percent(curves[name][larger].accuracy)} at {radii[larger]}"
        for (name, smaller, larger), rise in zip(asked, stronger(met), strict=True)
        if rise
    ]
    standing = {name: int((runs[-1].right > BROKEN).sum()) for name, runs in curves.items()}
    left = {name: count / case.n for name, count in standing.items()}
    stand = {name: left[name] for name, count in standing.items() if more_than(count, case.n, LEFT_UNBOUNDED)}
    figures = {name: [round(run.accuracy, 6) for run in runs] for name, runs in curves.items()}
    if stand:
        shown = ", ".join(f"{percent(share)} against the {name} attack" for name, share in stand.items())
        return EPS.answer(False, f"without bounds there still stand {shown}", figures)
    if rises:
        return EPS.answer(False, f"a larger ball leaves more images right ({'; '.join(rises[:2])})", figures)
    shown = ", ".join(f"{percent(share)} ({name})" for name, share in left.items())
    return EPS.answer(True, f"monotone within the sampling error, and without bounds {shown} stand", figures)


def black_box(case: Case) -> Check:
    """Ask whether attacks that see no gradient find what those with gradients miss."""
    return _never_better(case, BLACK_BOX, [case.bench.run(attack) for attack in case.arsenal.black_boxes()])


def transfer(case: Case) -> Check:
    """Ask the same of attacks made on other networks."""
    attacks = [case.arsenal.transferred(source, run=source) for source in case.sources]
    missing = []
    for name, changes in _relatives(case).items():
        try:
            attacks.append(case.arsenal.transferred(name, encoder=changes))
        except UserError as error:  # such as an encoder of another package, which has no such option
            missing.append(f"{name} not run ({error})")
    runs = [case.bench.run(attack) for attack in attacks]
    if case.stochastic:
        runs += [on_twin(case, case.arsenal.plain("ce")), on_twin(case, case.arsenal.plain("margin"))]
    if not runs:
        nothing = "no source is given (sources: [RUN, ...]) and the network has no relatives of its own"
        return TRANSFER.not_run("; ".join([nothing, *missing]))
    check = _never_better(case, TRANSFER, runs)
    return replace(check, reason="; ".join([check.reason, *missing]))


def _relatives(case: Case) -> dict[str, dict[str, Any]]:
    """Return changes to an oscillator network's own options, under which the same weights saturate less."""
    subject = case.arsenal.subject
    if not surrogates_for(subject.encoder) or not RunDirectory(subject.run_dir).finished:
        return {}
    return {"its own weights without projection": {"project": False}, "its own weights, step 0.25": {"step_size": 0.25}}


def fab(case: Case) -> Check:
    """Ask whether FAB (Croce and Hein 2020, 1907.02044), which has no loss to saturate and no step size, finds more."""
    if case.stochastic:
        return FAB.not_run("FAB follows single gradients to a boundary that moves from draw to draw")
    if not case.arsenal.fab():
        return FAB.not_run("left to the full budget")
    ascents = union([*case.plain(), *map(case.bench.run, (case.arsenal.targeted(), case.arsenal.reference()))])
    (found,) = map(case.bench.run, case.arsenal.fab())
    comparison = compare(ascents, found.right)
    reason = f"ascents leave {percent(comparison.first)} together, FAB leaves {percent(found.accuracy)}"
    return FAB.answer(not comparison.stronger, reason, comparison.figures())


def one_step(case: Case) -> Check:
    """Ask whether one step gets further than the attack that takes many, loss by loss."""
    found, figures = [], {}
    for loss in ("ce", "dlr"):
        single, many = case.bench.run(case.arsenal.one_step(loss)), case.bench.run(case.arsenal.plain(loss))
        comparison, new = compare(many.right, single.right), newly_broken(many.right, single.right)
        figures[loss] = comparison.figures() | {"newly_broken": new}
        if comparison.stronger or more_than(new, case.n, TOLERANCE):
            found.append(
                f"with the loss {loss} one step leaves {percent(single.accuracy)} and many leave "
                f"{percent(many.accuracy)}, {new} images fall to one step alone"
            )
    shown = ", ".join(
        f"{loss}: {percent(f['second'])} after one, {percent(f['first'])} after many" for loss, f in figures.items()
    )
    return ONE_STEP.answer(not found, "; ".join(found) or shown, figures)


def logit_scale(case: Case) -> Check:
    """Ask whether the cross entropy is as good a guide as losses, and copies of the network, that cannot saturate.

    A copy with larger logits may well be attacked less successfully: that is its own saturation. What must not be is
    that smaller logits, or a loss without a scale, break images which the network as it is does not lose.
    """
    bench, plain = case.bench, case.arsenal.plain("ce")
    native = bench.run(plain)
    with torch.no_grad():
        two = case.classifier(bench.images[: bench.chunk], draw=case.draw("logit scale")).topk(2, dim=1).values
        spread = max(median(two[:, 0] - two[:, 1]), 1e-12)
    factors = {"x0.1": 0.1, "x10": 10.0, "margin of 1": 1 / spread}
    runs = {
        name: bench.run(plain, against=case.with_head(ScaledHead(case.classifier.head, factor)), name=f"logits {name}")
        for name, factor in factors.items()
    }
    runs["dlr"] = bench.run(case.arsenal.plain("dlr"))
    compared = [compare(native.right, run.right) for run in runs.values()]
    figures = {name: comparison.figures() for name, comparison in zip(runs, compared, strict=True)}
    found = [
        f"{percent(run.accuracy)} with {name}"
        for (name, run), better in zip(runs.items(), stronger(compared), strict=True)
        if better
    ]
    others = ", ".join(f"{percent(run.accuracy)} with {name}" for name, run in runs.items())
    if found:
        reason = f"the cross entropy leaves {percent(native.accuracy)}, but {', '.join(found)}: it misleads"
        return LOGIT_SCALE.answer(False, reason, figures)
    return LOGIT_SCALE.answer(True, f"the cross entropy leaves {percent(native.accuracy)}; {others}", figures)


def surrogate(case: Case) -> Check:
    """Ask whether a backward pass that does not saturate is a better guide than the true one.

    All are the same attack, with the same fields, start, steps and loss; the reference attack at this budget, which has
    fields of its own, joins the union only.
    """
    allowed = surrogates_for(case.classifier.encoder)
    if not allowed:
        return SURROGATE.not_run("the encoder has no Kuramoto layers")
    others = other_surrogates(case)
    if not others:
        return SURROGATE.not_run(
            f"of the budget's surrogates none has a meaning here: {', '.join(case.budget.surrogates)}"
        )
    case.bench.run(case.arsenal.reference(steps=case.budget.usual_steps))
    own = case.bench.run(case.arsenal.surrogate("autograd"))
    runs = {name: case.bench.run(case.arsenal.surrogate(name)) for name in others}
    compared = {name: compare(own.right, run.right) for name, run in runs.items()}
    figures = {name: comparison.figures() for name, comparison in compared.items()}
    found = [name for name, better in zip(compared, stronger(list(compared.values())), strict=True) if better]
    shown = ", ".join(f"{name} {percent(run.accuracy)}" for name, run in runs.items())
    senseless = [name for name in case.budget.surrogates if name not in allowed]
    reason = f"autograd leaves {percent(own.accuracy)}; {shown}"
    reason += f"; not run, for want of a projected drive: {', '.join(senseless)}" if senseless else ""
    if not found:
        return SURROGATE.answer(True, reason, figures)
    best = max(found, key=lambda name: compared[name].gain)
    more = case.bench.run(case.arsenal.surrogate(best, most=True))  # for the union: it is the best guide there is
    reason = f"{', '.join(found)} did better: {reason}; with the full budget {best} leaves {percent(more.accuracy)}"
    return SURROGATE.answer(False, reason, figures)


def other_surrogates(case: Case) -> list[Surrogate]:
    """Return those of the budget that have a meaning for the network."""
    allowed = surrogates_for(case.classifier.encoder)
    return [name for name in case.budget.surrogates if name in allowed and name != "autograd"]


def noise_accuracy(case: Case) -> Check:
    """Ask whether an attack finds much that random noise of the same size does not.

    The attack is the plain one; where that breaks next to nothing, the strongest of all that were run in this ball.
    Image by image, what noise takes is compared with ``NOISE_TAKES`` of what the attack takes.
    """
    bench = case.bench
    shares = [bench.share_right(_random_signs(case, number)) for number in range(NOISE_SAMPLES)]
    noise, clean = torch.stack(shares).mean(dim=0).double(), bench.clean.double()
    attack = bench.run(case.arsenal.plain("ce"))
    if clean.mean().item() - attack.accuracy <= TOLERANCE:
        attack = min((run for (*_, threat), run in bench.runs.items() if threat == case.threat), key=_accuracy)
    _noise_curve(case)
    left = {"clean": clean.mean().item(), "noise": noise.mean().item(), "attacked": attack.accuracy}
    shown = (
        f"{percent(left['clean'])} clean, {percent(left['noise'])} under random signs of size eps, "
        f"{percent(left['attacked'])} under {attack.label}"
    )
    if left["clean"] - left["attacked"] <= TOLERANCE:
        return NOISE_ACCURACY.not_run(
            f"no attack breaks more than next to nothing, there is nothing to compare: {shown}"
        )
    excess = (clean - noise) - NOISE_TAKES * (clean - attack.right.double())
    figures = left | {"excess": excess.mean().item(), "excess_at_least": _at_least(excess)}
    shaken = figures["excess_at_least"] > 0 and compare(excess, torch.zeros_like(excess), 0.0).stronger
    return NOISE_ACCURACY.answer(not shaken, shown, figures)


def steps(case: Case) -> Check:
    """Ask whether the last doubling of the steps still broke images."""
    rungs = case.budget.steps
    plain = [case.bench.run(case.arsenal.plain("ce", count)) for count in rungs]
    reference = [case.bench.run(case.arsenal.reference(steps=count)) for count in rungs]
    series = {"plain": [run.accuracy for run in plain], "reference": [run.accuracy for run in reference]}
    case.add_curve("steps", "Accuracy against the steps of the attack", "steps", list(rungs), series)
    found = convergence(reference[-2].right, reference[-1].right)
    reason = (
        f"{found.remark()}; the reference attack leaves {percent(reference[-2].accuracy)} after {rungs[-2]} steps and "
        f"{percent(reference[-1].accuracy)} after {rungs[-1]}"
    )
    return STEPS.answer(not found.gains, reason, found.figures())


def restarts(case: Case) -> Check:
    """Ask whether starting again broke further images."""
    once = case.bench.run(case.arsenal.reference())
    again = case.bench.run(case.arsenal.reference(restarts=case.budget.restarts))
    found = convergence(once.right, again.right)
    reason = (
        f"{found.remark()}; the reference attack leaves {percent(once.accuracy)} with one start and "
        f"{percent(again.accuracy)} with {case.budget.restarts}"
    )
    return RESTARTS.answer(not found.gains, reason, found.figures())


def on_twin(case: Case, attack: Attack) -> Run:
    """Run an attack on the fixed twin; what it finds is scored on the audited network too."""
    return case.bench.run(attack, against=case.twin(), name="the fixed twin")


def _widest(case: Case) -> float:
    """Return the radius that reaches every image."""
    return 1.0 if case.threat.norm == "linf" else case.bench.images[0].numel() ** 0.5


def stronger(comparisons: Sequence[Comparison]) -> list[bool]:
    """Return which second attacks are stronger, by more than the tolerance and not by chance, of several asked at once.

    Holm 1979: the chance that any of them is called so falsely stays below ``ALPHA``.
    """
    corrected = holm([comparison.p for comparison in comparisons])
    return [
        comparison.gain > comparison.tolerance and p < ALPHA
        for comparison, p in zip(comparisons, corrected, strict=True)
    ]


def _at_least(values: Float[Tensor, " n"]) -> float:
    """Return the lower end of the one-sided interval of the mean over images, at the level ``ALPHA``."""
    spread = values.std().item() if len(values) > 1 else 0.0
    return values.mean().item() - NormalDist().inv_cdf(1 - ALPHA) * spread / len(values) ** 0.5


def _accuracy(run: Run) -> float:
    return run.accuracy


def _never_better(case: Case, question: Question, runs: list[Run]) -> Check:
    """Compare attacks that need no gradient of the network with all that use it, plain ones alone and all together.

    Each is asked three things, and all of them are judged together (Holm), so that many attacks do not fail by chance.
    """
    plain, white = union(case.plain()), union(case.white_box())
    pairs = [(compare(plain, run.right), compare(white, run.right)) for run in runs]
    new = [newly_broken(white, run.right) for run in runs]
    chances = [pair[which].p for which in range(2) for pair in pairs]
    p = holm([*chances, *(at_least(count, case.n, TOLERANCE) for count in new)])
    figures, found, m = {}, [], len(runs)
    for i, run in enumerate(runs):
        figures[run.label] = {**pairs[i][0].figures(), "white_box": pairs[i][1].first, "newly_broken": new[i]}
        better = any(pairs[i][which].gain > TOLERANCE and p[which * m + i] < ALPHA for which in range(2))
        if better or p[2 * m + i] < ALPHA:
            found.append(f"{run.label} leaves {percent(run.accuracy)} and breaks {new[i]} images that gradients do not")
    shares = [percent(leaves.double().mean().item()) for leaves in (plain, white)]
    ours = f"gradients leave {shares[0]} (plain attacks) and {shares[1]} (all)"
    if found:
        return question.answer(False, f"{'; '.join(found)}; {ours}", figures)
    return question.answer(
        True, f"{ours}; {', '.join(f'{run.label} {percent(run.accuracy)}' for run in runs)}", figures
    )


def _noise_curve(case: Case) -> None:
    """Keep the accuracy under random signs and Gaussian noise of rising size, one sample each; decides nothing."""
    images, series = case.bench.images, {}
    noises = {
        "random signs": 2.0 * torch.randint(0, 2, images.shape, generator=case.draw("signs"), device=images.device) - 1,
        "Gaussian": torch.randn(images.shape, generator=case.draw("Gaussian"), device=images.device),
    }
    for name, noise in noises.items():
        shaken = [(images + size * noise.to(images.dtype)).clamp(0.0, 1.0) for size in NOISE_SIZES]
        right = [case.bench.clean, *map(case.bench.share_right, shaken)]
        series[name] = [share.double().mean().item() for share in right]
    sizes = [0.0, *(round(size, 6) for size in NOISE_SIZES)]
    case.add_curve("noise", "Accuracy under random noise", "size or sigma, pixels in [0,1]", sizes, series)


def _random_signs(case: Case, number: int) -> Tensor:
    """Return the images with random signs of size eps added (in l2: of length eps)."""
    images = case.bench.images
    bits = torch.randint(0, 2, images.shape, generator=case.draw("random signs", number), device=images.device)
    signs = (2.0 * bits - 1.0).to(images.dtype)
    return case.threat.project(images + case.threat.eps * case.threat.steepest(signs), images)
