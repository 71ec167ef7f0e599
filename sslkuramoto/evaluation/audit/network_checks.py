"""Checks of the network itself: the rules of RobustBench, and diagnostics of the gradient.

RobustBench (Croce et al. 2021, 2010.09670, section 3.1) lists no network that has zero gradients with respect to the
input, that is randomised, or that optimises at inference.
"""

import math
from typing import cast

import torch
from torch import Tensor

from sslkuramoto.attacks.gradients import CUT
from sslkuramoto.classifier import Classifier, not_deterministic
from sslkuramoto.evaluation.audit.check import Check, Question
from sslkuramoto.evaluation.audit.compare import percent
from sslkuramoto.evaluation.audit.context import Case, median
from sslkuramoto.evaluation.audit.gradients import LOSSES, draws_for_direction
from sslkuramoto.evaluation.audit.runner import copy_of
from sslkuramoto.evaluation.audit.saturation import CLOSED, EDGES, SATURATED, StepFields, step_fields, step_turns
from sslkuramoto.model_checks import ASKS_FOR_GRADIENTS, SAME_LOGITS, in_other_company, share_apart

ZERO_SHARE = 0.05
"""Largest share of images with an exactly zero gradient that passes: ReLU networks have a few dead units."""

STEADY = 0.25
"""Cosine between two draws' gradients below which one draw points more than 60 degrees away from the expected gradient
(its cosine with that is the square root)."""

AGREES = 0.5**0.5
"""Correlation below which the gradient explains less than half of the variance of the change in margin."""
AGREES_AT = 1 / 4
"""Distance, times eps, at which they are compared: an iterative attack takes steps of about that size."""
NEAR = (1.0, 1 / 8)
"""Sizes, times eps, of the random signs that are added to an image to detect a network that remembers images."""


DETERMINISTIC = Question("deterministic", "RobustBench: the network is not randomised", "rule")
NO_OPTIMISATION = Question("no_optimisation", "RobustBench: no optimisation at test time", "rule")
ZERO_GRADIENTS = Question("zero_gradients", "RobustBench: gradients are not zero", "masking")
FINITE_DIFFERENCES = Question("finite_differences", "The gradient agrees with finite differences", "masking")
GRADIENT_DRAWS = Question("gradient_draws", "The gradient is the same from draw to draw", "noise")
SATURATION = Question("saturation", "The oscillator steps are not saturated", "hint")


def deterministic(case: Case) -> Check:
    """Check whether two calls on the same images agree."""
    if not case.stochastic:
        differences = case.bench.differences_of_two_calls()
        fault = not_deterministic(case.classifier, differences)
        reason = fault or f"two calls on the same {len(differences)} images return the same logits"
        return DETERMINISTIC.answer(fault is None, reason, {"difference_of_two_calls": differences.max().item()})
    predictions = case.bench.predictions(case.bench.images, "select")
    differs = (predictions != predictions[0]).any(dim=0).double().mean().item()
    reason = (
        f"every call uses new draws; on {percent(differs)} of the clean images the predictions of {len(predictions)} "
        "draws differ"
    )
    return DETERMINISTIC.answer(False, reason, {"clean_images_that_differ": differs})


@torch.no_grad()
def no_optimisation(case: Case) -> Check:
    """Check that a forward pass takes no gradient, changes no weight, uses no other image and remembers none.

    Memory is detected by comparing the audited network, after all attacks, with a copy that has seen no images: both
    must give the same answers to images near the audited ones.
    """
    classifier, images = case.classifier, case.bench.images[:8]
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    start = case.start(images, "rule")
    try:
        with torch.inference_mode():  # autograd raises an error in here
            together = classifier(images, initial=start).clone()
    except RuntimeError as error:
        if not ASKS_FOR_GRADIENTS.search(str(error)):
            raise
        reason = f"the forward pass asks for gradients: {str(error).splitlines()[0]}"
        return NO_OPTIMISATION.answer(False, reason)
    after = classifier.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    apart = share_apart(in_other_company(lambda batch: classifier(batch, initial=start), images), together)
    figures: dict[str, float] = {"changed_tensors": len(changed), "difference_in_other_company": apart}
    if changed:
        return NO_OPTIMISATION.answer(False, f"a forward pass changes {changed[0]}", figures)
    if not apart <= SAME_LOGITS:  # also nan
        reason = f"the logits of an image depend on the other images of its batch (by {apart:.2g} of their spread)"
        return NO_OPTIMISATION.answer(False, reason, figures)
    unseen = case.bench.unseen
    if isinstance(unseen, str):
        return NO_OPTIMISATION.not_run(f"whether the network remembers images cannot be tested: {unseen}")
    pairs = (_both(case, near, start) for near in _near(case, len(images)))
    kept = figures["difference_unseen"] = max(share_apart(*pair) for pair in pairs)
    if not kept <= SAME_LOGITS:
        reason = (
            f"its answers depend on images seen before (they differ by {kept:.2g} of their spread from those of a "
            "copy that saw none)"
        )
        return NO_OPTIMISATION.answer(False, reason, figures)
    reason = (
        "a forward pass takes no gradient and changes no weight, and the logits of an image depend neither on its "
        "batch nor on images seen before"
    )
    return NO_OPTIMISATION.answer(True, reason, figures)


def _both(case: Case, near: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the answers of the audited network, and those of a copy that has seen no image."""
    fresh = copy_of(cast(Classifier, case.bench.unseen))  # copied again: the copy may remember images too
    return case.classifier(near, initial=start), cast(Classifier, fresh)(near, initial=start)


def _near(case: Case, count: int) -> list[Tensor]:
    """Return images near the audited ones: with random signs of two sizes, and the strongest attack's candidates.

    An attack that breaks nothing returns the images themselves. The random signs detect a memory in that case too.
    """
    images, threat = case.bench.images[:count], case.threat
    noise = torch.randn(images.shape, generator=case.draw("near"), device=images.device)
    moved = [threat.project(images + size * threat.eps * threat.steepest(noise), images) for size in NEAR]
    runs = [run for (*_, ball), run in case.bench.runs.items() if ball == threat]
    return [*moved, *(run.candidates[:count] for run in sorted(runs, key=lambda run: run.accuracy)[:1])]


def zero_gradients(case: Case) -> Check:
    """Check how often the gradient is exactly zero."""
    shares = {loss: case.gradients.zero[loss].double().mean().item() for loss in LOSSES}
    for loss in LOSSES:
        norms = case.gradients.norms[loss]
        _histogram(case, f"gradient norm, {loss}", f"l1 norm of the gradient of the {loss}, per image", norms)
    shown = ", ".join(f"{percent(share)} of the images with the {loss}" for loss, share in shares.items())
    passed = max(shares.values()) <= ZERO_SHARE
    reason = f"the gradient is exactly zero on {shown} (at most {percent(ZERO_SHARE)} passes)"
    if case.gradients.cut:
        reason = f"{CUT}: the logits have no autograd graph to them; {reason}"
    return ZERO_GRADIENTS.answer(passed, reason, {f"zero_{loss.replace(' ', '_')}": s for loss, s in shares.items()})


def finite_differences(case: Case) -> Check:
    """Check whether the gradient predicts the change of the margin at the distance of an attack's steps."""
    facts = case.gradients
    medians = {times: median(values) for times, values in facts.agreement.items()}
    assert facts.rises is not None
    rises = facts.rises.double().mean().item()
    case.add_curve(
        "finite differences",
        "Correlation of the gradient with finite differences",
        "step, times eps",
        list(medians),
        {"median over images": list(medians.values())},
        "correlation",
        ("from", AGREES),
    )
    case.add_curve(
        "loss along the gradient",
        "Margin of the best wrong class along a line, mean over images",
        "distance, times eps",
        facts.positions,
        facts.along,
        "logits",
    )
    case.add_curve(
        "loss on a plane",
        "Margin of the best wrong class on a random plane through one image",
        "distance along one direction, times eps",
        facts.positions,
        {f"{row:g} eps along the other": values for row, values in facts.plane.items()},
        "logits",
    )
    seen = medians[AGREES_AT]
    others = ", ".join(f"{value:.2f} at {times:g} eps" for times, value in medians.items() if times != AGREES_AT)
    reason = (
        f"their correlation at {AGREES_AT:g} eps is {seen:.2f} (median; {others}; {AGREES:.2f} or more passes, half of "
        f"the variance); a step of that size along the gradient increases the loss of {percent(rises)} of the images"
    )
    figures = {f"correlation_{times:g}_eps": value for times, value in medians.items()} | {"rises": rises}
    return FINITE_DIFFERENCES.answer(seen >= AGREES, reason, figures)


def gradient_draws(case: Case) -> Check:
    """Check how much the gradient depends on the draw."""
    if case.gradients.cosine is None:
        return GRADIENT_DRAWS.not_run("the network is deterministic")
    cosine = case.gradients.cosine
    middle, mean = median(cosine), cosine.double().mean().item()
    edges = [round(-1 + k / 20, 2) for k in range(41)]
    count = torch.histc(cosine.float(), bins=40, min=-1, max=1).long().tolist()
    title = "Cosine of the gradients of two draws, per image"
    case.add_histogram("cosine between draws", title, "cosine", edges, count, ("from", STEADY))
    needed = draws_for_direction(mean)
    shown = f"a mean over {needed:.0f} draws" if needed < 1e6 else "no mean over draws"
    reason = (
        f"two draws' gradients have a median cosine of {middle:.3f} ({STEADY:g} or more passes); "
        f"at the mean cosine, {mean:.3f}, {shown} has cosine 0.9 with the expected gradient"
    )
    figures = {"median_cosine": middle, "mean_cosine": mean, "draws_for_0.9": min(needed, 1e9)}
    return GRADIENT_DRAWS.answer(middle >= STEADY, reason, figures)


def saturation(case: Case) -> Check:
    """Check how far the oscillators turn in a Kuramoto step, or how many fields of a Winfree step are open."""
    images, encoder = case.bench.images[: case.bench.chunk], case.classifier.encoder
    start = case.start(images, "saturation")
    turns = step_turns(encoder, images, start)
    if not turns:
        return _fields(case, step_fields(encoder, images, start))
    figures = {}
    for turn in turns:
        place = f"layer {turn.layer}, step {turn.step}"
        title, limit = f"|gamma F| of {place}", math.log10(SATURATED)
        case.add_histogram(f"|gamma F|, {place}", title, "log10 |gamma F|", EDGES, turn.count, ("up to", limit))
        figures[place] = {"median": turn.median, "saturated": turn.saturated, "backwards": turn.backwards}
        if turn.least is not None:
            figures[place] |= {"singular_value_least": turn.least, "singular_value_most": turn.most}
    worst = max(turns, key=lambda turn: turn.median)
    most = max(turns, key=lambda turn: turn.saturated)
    reason = (
        f"the median |gamma F| is largest in layer {worst.layer}, step {worst.step}: {worst.median:.2f} (for n = 2 the "
        "gradient of a step is 1 / (1 + |gamma F|^2) times that at rest); at most "
        f"{percent(most.saturated)} of the oscillators of a step are above {SATURATED:g} (layer {most.layer}, step "
        f"{most.step})"
    )
    return SATURATION.answer(worst.median <= SATURATED, reason, figures)


def _fields(case: Case, fields: list[StepFields]) -> Check:
    """Answer from the fields of Winfree steps: where nearly all are closed, the image does not act through them."""
    if not fields:
        return SATURATION.not_run("the encoder has no Kuramoto layers and no rectified Winfree layers")
    places = {f"layer {field.layer}, step {field.step}": field for field in fields}
    figures = {}
    for place, field in places.items():
        title = f"|1 + gamma S'(theta) f| of {place}"
        case.add_histogram(f"locking, {place}", title, "log10 of the derivative by the phase", EDGES, field.count)
        figures[place] = {"open": field.open, "median_field": field.median, "median_passed": field.passed}
    place, least = min(places.items(), key=lambda item: item[1].open)
    locked, tightest = min(places.items(), key=lambda item: item[1].passed)
    reason = (
        f"the rectifier of Winfree steps lets at least {percent(least.open)} of the fields pass ({place}); where one "
        "is closed, the image acts on its phases through their frequencies only. Where fields are open, a step passes "
        "the gradient of its phases on times |1 + gamma S'(theta) f|, in the median at least "
        f"{tightest.passed:.2f} ({locked})"
    )
    return SATURATION.answer(least.open >= CLOSED, reason, figures)


def _histogram(case: Case, name: str, title: str, values: Tensor) -> None:
    """Add a histogram of log10; exact zeros are counted in the first bin."""
    logs = values.double().clamp_min(1e-30).log10()
    edges = [float(k) for k in range(-12, 9)]
    places = (logs - edges[0]).floor().clamp(0, len(edges) - 2).long()
    case.add_histogram(name, title, "log10", edges, torch.bincount(places, minlength=len(edges) - 1).tolist())
