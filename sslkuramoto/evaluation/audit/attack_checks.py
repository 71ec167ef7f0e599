"""Checks that compare attacks with one another.

If gradients are not masked (Carlini et al. 2019, 1902.06705; Athalye, Carlini and Wagner 2018, 1802.00420, section
3.1), iterative attacks are stronger than single steps and white-box attacks stronger than black-box attacks. Unbounded
attacks reach 100 % success, a larger eps never helps the network, and random sampling finds nothing that gradients
miss.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.attacks import Attack
from sslkuramoto.dynamics.surrogate import Surrogate, kuramoto_layers, lacking, surrogates_for, surrogates_of_kind
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
from sslkuramoto.evaluation.audit.context import FIXED_VERSION, Case, median
from sslkuramoto.evaluation.audit.plants.logits import scaled_head
from sslkuramoto.evaluation.audit.runner import Run, union
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.statistics import at_least, holm, sign_test
from sslkuramoto.threat import Threat

NOISE_SAMPLES = 4
NOISE_SIZES = (4 / 255, 8 / 255, 16 / 255, 32 / 255, 64 / 255, 128 / 255)  # of the noise curve
NOISE_TAKES = 3 / 4
"""If random noise lowers the accuracy by more than this share of what an attack does, the attack is no better than
noise."""
MOST_LOGIT = 1e36
"""Size of scaled logits up to which differences of logits stay finite in float32, on all images and candidates."""
LEFT_UNBOUNDED = 0.01
"""Share of images that may survive an unbounded attack: an ascent can get stuck on single images."""

EPS = Question("eps", "Accuracy decreases with eps, to 0 % without a bound", "masking")
BLACK_BOX = Question("black_box", "No black-box attack is stronger than gradient attacks", "masking")
TRANSFER = Question("transfer", "No transfer attack is stronger than gradient attacks", "masking")
FAB = Question("fab", "FAB, the search for the nearest boundary, is not stronger than gradient ascents", "masking")
ONE_STEP = Question("one_step", "A single step is not stronger than many steps", "masking")
LOGIT_SCALE = Question("logit_scale", "The scale of the logits and the choice of loss do not matter", "masking")
SURROGATE = Question("surrogate", "No surrogate derivative is a better guide than autograd", "masking")
NOISE_ACCURACY = Question("noise_accuracy", "Attacks are much stronger than random noise of the same size", "masking")
STEPS = Question("steps", "More steps do not make the attack stronger", "strength")
RESTARTS = Question("restarts", "More restarts do not make the attack stronger", "strength")


def eps(case: Case) -> Check:
    """Check that accuracy decreases with eps, and that an unbounded attack breaks every image."""
    threats = [Threat(case.threat.norm, radius) for radius in case.grid]
    unbounded = Threat("linf", 1.0)
    curves: dict[str, list[Run]] = {}
    attacks = {"plain": case.arsenal.plain("ce"), "reference": case.arsenal.reference(steps=case.budget.usual_steps)}
    for name, attack in attacks.items():
        curves[name] = [case.bench.run(attack, threat=threat) for threat in [*threats, unbounded]]
    case.add_curve(
        "eps",
        "Accuracy against eps (last point: unbounded)",
        f"eps, {case.threat.norm}",
        [0.0, *(threat.eps for threat in threats), _widest(case)],
        {
            name: [case.bench.clean.double().mean().item(), *(run.accuracy for run in runs)]
            for name, runs in curves.items()
        },
    )
    radii = [*(str(threat) for threat in threats), "unbounded"]
    last = len(threats)
    pairs = [*((k, k + 1) for k in range(last)), *([(0, last - 1)] if last > 2 else [])]  # neighbours, and both ends
    asked = [(name, *pair) for name in curves for pair in pairs]
    met = [compare(curves[name][larger].right, curves[name][smaller].right) for name, smaller, larger in asked]
    rises = [
        f"{name}: {percent(curves[name][smaller].accuracy)} at {radii[smaller]} and "
        f"{percent(curves[name][larger].accuracy)} at {radii[larger]}"
        for (name, smaller, larger), rise in zip(asked, stronger(met), strict=True)
        if rise
    ]
    surviving = {name: int((runs[-1].right > BROKEN).sum()) for name, runs in curves.items()}
    left = {name: count / case.n for name, count in surviving.items()}
    too_many = {name: left[name] for name, count in surviving.items() if more_than(count, case.n, LEFT_UNBOUNDED)}
    figures = {name: [round(run.accuracy, 6) for run in runs] for name, runs in curves.items()}
    if too_many:
        shown = ", ".join(f"{percent(share)} under the {name} attack" for name, share in too_many.items())
        return EPS.answer(False, f"images survive even without a bound on the perturbation: {shown}", figures)
    if rises:
        return EPS.answer(False, f"accuracy is higher at a larger eps ({'; '.join(rises[:2])})", figures)
    shown = ", ".join(f"{percent(share)} ({name})" for name, share in left.items())
    return EPS.answer(True, f"monotone within the sampling error; accuracy without a bound: {shown}", figures)


def black_box(case: Case) -> Check:
    """Check whether black-box attacks break images that gradient attacks do not."""
    return _never_better(case, BLACK_BOX, [case.bench.run(attack) for attack in case.arsenal.black_boxes()])


def transfer(case: Case) -> Check:
    """Check the same for attacks made on other networks."""
    attacks = [case.arsenal.transferred(source, run=source) for source in case.sources]
    missing = []
    for name, changes in _relatives(case).items():
        try:
            attacks.append(case.arsenal.transferred(name, encoder=changes))
        except UserError as error:  # such as an encoder of another package, which has no such option
            missing.append(f"{name} not run ({error})")
    runs = [case.bench.run(attack) for attack in attacks]
    if case.stochastic:
        runs += [on_fixed_version(case, case.arsenal.plain(loss)) for loss in ("ce", "margin")]
    if not runs:
        nothing = "no source network is given (sources: [RUN, ...]) and none can be made of the network itself"
        return TRANSFER.not_run("; ".join([nothing, *missing]))
    check = _never_better(case, TRANSFER, runs)
    return replace(check, reason="; ".join([check.reason, *missing]))


def _relatives(case: Case) -> dict[str, dict[str, Any]]:
    """Return changed options of an oscillator network under which the same weights saturate less."""
    subject = case.arsenal.subject
    if not surrogates_for(subject.encoder) or not RunDirectory(subject.run_dir).finished:
        return {}
    if not kuramoto_layers(subject.encoder):
        return {"its own weights, step 0.025": {"step_size": 0.025}}
    return {"its own weights without projection": {"project": False}, "its own weights, step 0.25": {"step_size": 0.25}}


def fab(case: Case) -> Check:
    """Check whether FAB (Croce and Hein 2020, 1907.02044) is stronger: it has no step size and no loss to saturate."""
    if case.stochastic:
        return FAB.not_run("FAB searches for a fixed decision boundary, which a network that draws does not have")
    if not case.arsenal.fab():
        return FAB.not_run("part of the full budget only")
    ascents = union([*case.plain(), *map(case.bench.run, (case.arsenal.targeted(), case.arsenal.reference()))])
    (found,) = map(case.bench.run, case.arsenal.fab())
    comparison = compare(ascents, found.right)
    reason = f"{percent(comparison.first)} under all ascents together, {percent(found.accuracy)} under FAB"
    return FAB.answer(not comparison.stronger, reason, comparison.figures())


def one_step(case: Case) -> Check:
    """Check, for each loss, whether a single step is stronger than many steps."""
    found, figures = [], {}
    for loss in ("ce", "dlr"):
        single, many = case.bench.run(case.arsenal.one_step(loss)), case.bench.run(case.arsenal.plain(loss))
        comparison, new = compare(many.right, single.right), newly_broken(many.right, single.right)
        figures[loss] = comparison.figures() | {"newly_broken": new}
        if comparison.stronger or more_than(new, case.n, TOLERANCE):
            found.append(
                f"with the loss {loss} {percent(single.accuracy)} after one step and {percent(many.accuracy)} after "
                f"many; {new} images are broken by the single step only"
            )
    shown = ", ".join(
        f"{loss}: {percent(f['second'])} after one step, {percent(f['first'])} after many"
        for loss, f in figures.items()
    )
    return ONE_STEP.answer(not found, "; ".join(found) or shown, figures)


def logit_scale(case: Case) -> Check:
    """Check whether smaller logits, or a loss that is invariant to their scale, make the attack stronger.

    The attack may be weaker on a copy with larger logits, which saturates by itself. A stronger attack with smaller
    logits or a scale-invariant loss shows that the cross entropy of the network saturates.
    """
    bench, plain = case.bench, case.arsenal.plain("ce")
    native = bench.run(plain)
    with torch.no_grad():
        logits = case.classifier(bench.images[: bench.chunk], draw=case.draw("logit scale"))
    two, largest = logits.topk(2, dim=1).values, logits.abs().max().item()
    spread = max(median(two[:, 0] - two[:, 1]), 1e-12)
    factors = {"x0.1": 0.1, "x10": 10.0, "margin of 1": 1 / spread}
    small = {name: factor for name, factor in factors.items() if factor * largest < MOST_LOGIT}
    runs = {
        name: bench.run(
            plain,
            against=case.with_head(scaled_head(case.classifier.head, factor)),
            name=f"logits {name}",
            rescaled=True,
        )
        for name, factor in small.items()
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
    left_out = "".join(f"; {name} not run, since its logits would overflow" for name in factors if name not in small)
    ours = f"{percent(native.accuracy)} with the cross entropy"
    if found:
        reason = f"{ours}, but {', '.join(found)}: its gradient misleads{left_out}"
        return LOGIT_SCALE.answer(False, reason, figures)
    return LOGIT_SCALE.answer(True, f"{ours}; {others}{left_out}", figures)


def surrogate(case: Case) -> Check:
    """Check whether a surrogate derivative that does not saturate makes the attack stronger than the true one.

    All runs are the same attack with the same held draws, start, steps and loss. The reference attack at this budget
    uses other held draws; it counts for the union only.
    """
    allowed = surrogates_for(case.classifier.encoder)
    if not allowed:
        return SURROGATE.not_run("the encoder has no oscillator layers, or none with a surrogate")
    others = other_surrogates(case)
    if not others:
        return SURROGATE.not_run(
            f"none of the budget's surrogates is defined for this network: {', '.join(case.budget.surrogates)}"
        )
    case.bench.run(case.arsenal.reference(steps=case.budget.usual_steps))
    own = case.bench.run(case.arsenal.surrogate("autograd"))
    runs = {name: case.bench.run(case.arsenal.surrogate(name)) for name in others}
    compared = {name: compare(own.right, run.right) for name, run in runs.items()}
    figures = {name: comparison.figures() for name, comparison in compared.items()}
    found = [name for name, better in zip(compared, stronger(list(compared.values())), strict=True) if better]
    shown = ", ".join(f"{name} {percent(run.accuracy)}" for name, run in runs.items())
    kind = surrogates_of_kind(case.classifier.encoder)
    senseless = [name for name in case.budget.surrogates if name in kind and name not in allowed]
    reason = f"accuracy with autograd {percent(own.accuracy)}; {shown}"
    why = (
        "they need a projected drive" if kuramoto_layers(case.classifier.encoder) else lacking(case.classifier.encoder)
    )
    reason += f"; not run, since {why}: {', '.join(senseless)}" if senseless else ""
    if not found:
        return SURROGATE.answer(True, reason, figures)
    best = max(found, key=lambda name: compared[name].gain)
    more = case.bench.run(case.arsenal.surrogate(best, most=True))  # for the union: the strongest derivative found
    reason = f"stronger with {', '.join(found)}: {reason}; {best} at the full budget {percent(more.accuracy)}"
    return SURROGATE.answer(False, reason, figures)


def other_surrogates(case: Case) -> list[Surrogate]:
    """Return the surrogates of the budget that are defined for the network, autograd aside."""
    allowed = surrogates_for(case.classifier.encoder)
    return [name for name in case.budget.surrogates if name in allowed and name != "autograd"]


def noise_accuracy(case: Case) -> Check:
    """Check whether an attack is much stronger than random noise of the same size.

    The attack is the plain one or, if that breaks next to nothing, the strongest attack run at this eps. Image by
    image, the loss of accuracy under noise is compared with ``NOISE_TAKES`` times the loss under the attack, by signs.
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
            f"no attack breaks more than {percent(TOLERANCE)} of the images, so there is nothing to compare: {shown}"
        )
    excess = (clean - noise) - NOISE_TAKES * (clean - attack.right.double())
    figures = left | {"excess": excess.mean().item(), "excess_at_least": _at_least(excess)}
    shaken = figures["excess_at_least"] > 0 and sign_test(int((excess > 0).sum()), int((excess < 0).sum())) < ALPHA
    return NOISE_ACCURACY.answer(not shaken, shown, figures)


def steps(case: Case) -> Check:
    """Check whether the last increase of the steps still broke images."""
    counts = case.budget.steps
    plain = [case.bench.run(case.arsenal.plain("ce", count)) for count in counts]
    reference = [case.bench.run(case.arsenal.reference(steps=count)) for count in counts]
    series = {"plain": [run.accuracy for run in plain], "reference": [run.accuracy for run in reference]}
    case.add_curve("steps", "Accuracy against the steps of the attack", "steps", list(counts), series)
    found = convergence(reference[-2].right, reference[-1].right)
    reason = (
        f"{found.remark()}; under the reference attack {percent(reference[-2].accuracy)} after {counts[-2]} steps and "
        f"{percent(reference[-1].accuracy)} after {counts[-1]}"
    )
    return STEPS.answer(not found.gains, reason, found.figures())


def restarts(case: Case) -> Check:
    """Check whether more restarts broke further images."""
    once = case.bench.run(case.arsenal.reference())
    again = case.bench.run(case.arsenal.reference(restarts=case.budget.restarts))
    found = convergence(once.right, again.right)
    reason = (
        f"{found.remark()}; under the reference attack {percent(once.accuracy)} with one start and "
        f"{percent(again.accuracy)} with {case.budget.restarts}"
    )
    return RESTARTS.answer(not found.gains, reason, found.figures())


def on_fixed_version(case: Case, attack: Attack) -> Run:
    """Attack the same weights with fixed oscillators; its candidates are also scored on the audited network."""
    return case.bench.run(attack, against=case.fixed_version(), name=FIXED_VERSION)


def _widest(case: Case) -> float:
    """Return the radius whose ball contains every image."""
    return 1.0 if case.threat.norm == "linf" else case.bench.images[0].numel() ** 0.5


def stronger(comparisons: Sequence[Comparison]) -> list[bool]:
    """Return which second attacks are stronger, by more than the tolerance and significantly, of several comparisons.

    Holm's correction (1979) keeps the probability of any false positive below ``ALPHA``.
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
    """Compare attacks that use no gradient of the network with the plain attacks and with all gradient attacks.

    Each attack is tested three times: against the plain attacks, against all gradient attacks, and for images that
    only it breaks. The p values are corrected together (Holm 1979). All are scored on draws that chose no candidate:
    the smallest of many scores would make gradient attacks look stronger than they are.
    """
    plain, white = case.bench.looked(case.plain()), case.bench.looked(case.white_box())
    leaves = [case.bench.looked([run]) for run in runs]
    pairs = [(compare(plain, left), compare(white, left)) for left in leaves]
    new = [newly_broken(white, left) for left in leaves]
    chances = [pair[which].p for which in range(2) for pair in pairs]
    p = holm([*chances, *(at_least(count, case.n, TOLERANCE) for count in new)])
    figures, found, m = {}, [], len(runs)
    for i, run in enumerate(runs):
        figures[run.label] = {**pairs[i][0].figures(), "white_box": pairs[i][1].first, "newly_broken": new[i]}
        better = any(pairs[i][which].gain > TOLERANCE and p[which * m + i] < ALPHA for which in range(2))
        if better or p[2 * m + i] < ALPHA:
            found.append(
                f"{percent(pairs[i][0].second)} under {run.label}, which breaks {new[i]} images that gradient attacks "
                "do not"
            )
    shares = [percent(left.double().mean().item()) for left in (plain, white)]
    ours = f"accuracy under gradient attacks {shares[0]} (plain) and {shares[1]} (all)"
    if found:
        return question.answer(False, f"{'; '.join(found)}; {ours}", figures)
    theirs = ", ".join(f"{run.label} {percent(pair[0].second)}" for run, pair in zip(runs, pairs, strict=True))
    return question.answer(True, f"{ours}; {theirs}", figures)


def _noise_curve(case: Case) -> None:
    """Add the curve of accuracy against the size of random signs and Gaussian noise, one sample each."""
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
