"""Checks that look at the network: rules of RobustBench, and what its gradient says about itself.

RobustBench (Croce et al. 2021, 2010.09670, section 3.1) lists no network that has zero gradients with respect to the
input, that is randomised, or that optimises at inference.
"""

import math
import re
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
from sslkuramoto.evaluation.audit.saturation import EDGES, SATURATED, step_turns

ZERO_SHARE = 0.05
"""Share of images with an exactly zero gradient that passes: ReLU networks have a few dead or saturated ones."""

STEADY = 0.25
"""Cosine between two draws' gradients below which one draw points more than 60 degrees away from the expected gradient
(its cosine with that is the square root)."""

AGREES = 0.5**0.5
"""Correlation below which the gradient explains less than half of the variance of what the network does."""
AGREES_AT = 1 / 4
"""Distance, times eps, at which it must: an iterated attack takes steps of about that size."""
NEAR = (1.0, 1 / 8)
"""Sizes, times eps, of the random signs under which an image must be answered as if it had never been seen."""

SAME_LOGITS = 1e-3
"""Difference of two answers to an image, as a share of the largest logit, that is rounding."""
ASKS_FOR_GRADIENTS = re.compile("does not require grad|requires_grad|[Ii]nference tensor")
"""What autograd says in inference mode; another error is another fault."""

DETERMINISTIC = Question("deterministic", "RobustBench: the network is not randomised", "rule")
NO_OPTIMISATION = Question("no_optimisation", "RobustBench: no optimisation at test time", "rule")
ZERO_GRADIENTS = Question("zero_gradients", "RobustBench: gradients are not zero", "masking")
FINITE_DIFFERENCES = Question("finite_differences", "The gradient agrees with finite differences", "masking")
GRADIENT_DRAWS = Question("gradient_draws", "The gradient is the same from draw to draw", "noise")
SATURATION = Question("saturation", "The Kuramoto steps are not saturated", "hint")


def deterministic(case: Case) -> Check:
    """Ask whether two calls on the same images agree."""
    if not case.stochastic:
        differences = case.bench.differences_of_two_calls()
        fault = not_deterministic(case.classifier, differences)
        reason = fault or f"two calls on the same {len(differences)} images give the same logits"
        return DETERMINISTIC.answer(fault is None, reason, {"difference_of_two_calls": differences.max().item()})
    predictions = case.bench.predictions(case.bench.images, "select")
    differs = (predictions != predictions[0]).any(dim=0).double().mean().item()
    reason = f"every call draws anew; on {percent(differs)} of the clean images {len(predictions)} draws do not agree"
    return DETERMINISTIC.answer(False, reason, {"clean_images_that_differ": differs})


@torch.no_grad()
def no_optimisation(case: Case) -> Check:
    """Ask whether a forward pass is one: it takes no gradient, changes no weight, reads no other image, keeps nothing.

    What it keeps shows where the audited network, after all attacks, answers images near the audited ones otherwise
    than a copy of it that never saw any.
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
    apart = _apart(_in_other_company(classifier, images, start), together)
    figures: dict[str, float] = {"changed_tensors": len(changed), "difference_in_other_company": apart}
    if changed:
        return NO_OPTIMISATION.answer(False, f"a forward pass changes {changed[0]}", figures)
    if apart > SAME_LOGITS:
        reason = f"an image's logits depend on the other images of its batch (by {apart:.2g} of their size)"
        return NO_OPTIMISATION.answer(False, reason, figures)
    unseen = case.bench.unseen
    if isinstance(unseen, str):
        return NO_OPTIMISATION.not_run(f"whether it keeps what it has seen cannot be told: {unseen}")
    kept = figures["difference_unseen"] = max(_apart(*_both(case, near, start)) for near in _near(case, len(images)))
    if kept > SAME_LOGITS:
        reason = (
            f"its answers depend on what it has seen before (by {kept:.2g} of their size, of a copy that saw nothing)"
        )
        return NO_OPTIMISATION.answer(False, reason, figures)
    reason = (
        "a forward pass takes no gradient, changes no weight, and an image's logits depend neither on its batch nor on "
        "what was seen before"
    )
    return NO_OPTIMISATION.answer(True, reason, figures)


def _apart(first: Tensor, second: Tensor) -> float:
    """Return how far two sets of logits lie apart, as a share of the largest one.

    The median image's: oscillators magnify rounding on single images.
    """
    return median((first - second).abs().amax(dim=1)) / second.abs().amax().clamp_min(1e-12).item()


def _both(case: Case, near: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what the audited network answers, and what a copy answers that never saw an image."""
    fresh = copy_of(cast(Classifier, case.bench.unseen))  # of the copy, which may keep what it is asked too
    return case.classifier(near, initial=start), cast(Classifier, fresh)(near, initial=start)


def _near(case: Case, count: int) -> list[Tensor]:
    """Return images near the audited ones: random signs of two sizes, and what the strongest attack in the ball made.

    An attack that breaks nothing gives the images themselves back; so a memory that no attack gets past would not show.
    """
    images, threat = case.bench.images[:count], case.threat
    noise = torch.randn(images.shape, generator=case.draw("near"), device=images.device)
    moved = [threat.project(images + size * threat.eps * threat.steepest(noise), images) for size in NEAR]
    runs = [run for (*_, ball), run in case.bench.runs.items() if ball == threat]
    return [*moved, *(run.candidates[:count] for run in sorted(runs, key=lambda run: run.accuracy)[:1])]


def zero_gradients(case: Case) -> Check:
    """Ask how often the gradient is exactly zero."""
    shares = {loss: case.gradients.zero[loss].double().mean().item() for loss in LOSSES}
    for loss in LOSSES:
        norms = case.gradients.norms[loss]
        _histogram(case, f"gradient norm, {loss}", f"l1 norm of the gradient of the {loss}, an image", norms)
    shown = ", ".join(f"{percent(share)} with the {loss}" for loss, share in shares.items())
    passed = max(shares.values()) <= ZERO_SHARE
    reason = f"the gradient is exactly zero on {shown} (at most {percent(ZERO_SHARE)} passes)"
    if case.gradients.cut:
        reason = f"{CUT}: the logits carry no graph that leads there; {reason}"
    return ZERO_GRADIENTS.answer(passed, reason, {f"zero_{loss.replace(' ', '_')}": s for loss, s in shares.items()})


def finite_differences(case: Case) -> Check:
    """Ask whether the gradient describes the network at the distance that an attack moves."""
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
        AGREES,
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
        f"at {AGREES_AT:g} eps they correlate by {seen:.2f} (median; {others}; {AGREES:.2f} is half of the variance), "
        f"and a step of that size along the gradient raises the loss on {percent(rises)} of the images"
    )
    figures = {f"correlation_{times:g}_eps": value for times, value in medians.items()} | {"rises": rises}
    return FINITE_DIFFERENCES.answer(seen >= AGREES, reason, figures)


def gradient_draws(case: Case) -> Check:
    """Ask how much of the gradient is chance."""
    if case.gradients.cosine is None:
        return GRADIENT_DRAWS.not_run("the network is deterministic")
    cosine = case.gradients.cosine
    middle, mean = median(cosine), cosine.double().mean().item()
    edges = [round(-1 + k / 20, 2) for k in range(41)]
    count = torch.histc(cosine.float(), bins=40, min=-1, max=1).long().tolist()
    title = "Cosine of two draws' gradients, an image"
    case.add_histogram("cosine between draws", title, "cosine", edges, count, STEADY)
    needed = draws_for_direction(mean)
    shown = f"{needed:.0f} draws" if needed < 1e6 else "no number of draws"
    reason = (
        f"two draws' gradients have a median cosine of {middle:.3f} ({STEADY:g} or more passes); "
        f"by the mean, {mean:.3f}, {shown} a gradient would reach 0.9 of its direction"
    )
    figures = {"median_cosine": middle, "mean_cosine": mean, "draws_for_0.9": min(needed, 1e9)}
    return GRADIENT_DRAWS.answer(middle >= STEADY, reason, figures)


def saturation(case: Case) -> Check:
    """Ask how far the oscillators turn in a step."""
    images, encoder = case.bench.images[: case.bench.chunk], case.classifier.encoder
    start = case.start(images, "saturation")
    turns = step_turns(encoder, images, start)
    if not turns:
        return SATURATION.not_run("the encoder has no Kuramoto layers")
    figures = {}
    for turn in turns:
        place = f"layer {turn.layer}, step {turn.step}"
        title, passes = f"|gamma F| of {place}", math.log10(SATURATED)
        case.add_histogram(f"|gamma F|, {place}", title, "log10 |gamma F|", EDGES, turn.count, passes)
        figures[place] = {"median": turn.median, "saturated": turn.saturated, "backwards": turn.backwards}
        if turn.least is not None:
            figures[place] |= {"singular_value_least": turn.least, "singular_value_most": turn.most}
    worst = max(turns, key=lambda turn: turn.median)
    most = max(turns, key=lambda turn: turn.saturated)
    reason = (
        f"the median |gamma F| is largest in layer {worst.layer}, step {worst.step}: {worst.median:.2f} (a step of "
        f"n = 2 passes 1 / (1 + that^2) of its gradient at rest); at most {percent(most.saturated)} of a step's "
        f"oscillators are above {SATURATED:g} (layer {most.layer}, step {most.step})"
    )
    return SATURATION.answer(worst.median <= SATURATED, reason, figures)


def _in_other_company(classifier: Classifier, images: Tensor, start: Tensor | None) -> Tensor:
    """Return the logits of images in batches whose every other image is inverted.

    Of the same size: with another one, convolutions in TF32 differ by as much as counts here.
    """
    odd = torch.arange(len(images), device=images.device) % 2 == 1
    mixed = [torch.where(own[:, None, None, None], images, 1 - images) for own in (odd, ~odd)]
    of_odd, of_even = (classifier(batch, initial=start) for batch in mixed)
    return torch.where(odd[:, None], of_odd, of_even)


def _histogram(case: Case, name: str, title: str, values: Tensor) -> None:
    """Keep a histogram of log10; exact zeros fall into the first bin."""
    logs = values.double().clamp_min(1e-30).log10()
    edges = [float(k) for k in range(-12, 9)]
    places = (logs - edges[0]).floor().clamp(0, len(edges) - 2).long()
    case.add_histogram(name, title, "log10", edges, torch.bincount(places, minlength=len(edges) - 1).tolist())
