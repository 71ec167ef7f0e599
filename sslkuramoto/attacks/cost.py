"""What a battery costs before it runs: forward passes, and hours on this device after timing a few of them."""

import time
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.attack import Attack
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.cost import Cost, Passes


def starts_of(classifier: Classifier) -> int:
    """Return the passes of the network behind a forward of the classifier."""
    return classifier.draws if classifier.mode == "averaged" and classifier.encoder.stochastic else 1


def cost_of(
    classifier: Classifier,
    attacks: Sequence[Attack],
    images: Float[Tensor, "b 3 y x"],
    count: int,
    draws: int,
    select_draws: int,
) -> Cost:
    """Return the cost of attacking ``count`` images.

    Args:
        classifier: in its mode.
        attacks: prepared.
        images: one chunk, to time passes with.
        count: images in all.
        draws: draws of a score.
        select_draws: draws that judge a candidate.
    """
    stochastic = classifier.stochastic
    classes = int(_timed(classifier, images, gradient=False)[1].shape[1])
    starts = starts_of(classifier)
    seconds = _seconds(classifier, images, starts)
    alone: tuple[float, float] | None = None
    each, elsewhere, extra = {}, {}, {}
    for attack in attacks:
        once = attack.passes(classes, stochastic)
        judged = select_draws + 1
        if attack.source is not None:
            each[attack.label] = Passes(attack.restarts * judged, 0)
            elsewhere[attack.label] = Passes(attack.restarts * once.forward, attack.restarts * once.backward)
            own = _seconds(attack.source, images, 1)
            extra[attack.label] = attack.restarts * (own[0] * once.forward + own[1] * once.backward)
            continue
        each[attack.label] = Passes(attack.restarts * (once.forward + judged), attack.restarts * once.backward)
        if attack.one_by_one and classifier.at(torch.arange(1)).bound:
            alone = alone or _seconds(classifier, images[:1], 1)
            more = (alone[0] - seconds[0]) * once.forward + (alone[1] - seconds[1]) * once.backward
            extra[attack.label] = attack.restarts * more
    forward, backward = seconds
    # the clean images are checked for logits and judged; clean, worst and wrapper are scored
    # a network that says it is deterministic is called twice more
    scoring = 1 + (0 if stochastic else 2) + select_draws + 1 + 3 * draws
    return Cost(each, scoring, count, forward, backward, starts=starts, elsewhere=elsewhere, extra=extra)


def _seconds(classifier: Classifier, images: Tensor, starts: int) -> tuple[float, float]:
    """Return the seconds that one image takes in a pass, without and with a gradient; the best of three."""
    best = (min(_timed(classifier, images, gradient=flag)[0] for _ in range(3)) for flag in (False, True))
    forward, backward = (seconds / (len(images) * starts) for seconds in best)
    return forward, backward


def _timed(classifier: Classifier, images: Tensor, *, gradient: bool) -> tuple[float, Tensor]:
    bound = classifier.at(torch.arange(len(images)))
    draw = torch.Generator(device=images.device).manual_seed(0)
    synchronise = torch.cuda.synchronize if images.device.type == "cuda" else lambda: None
    synchronise()
    start = time.perf_counter()
    with frozen(classifier), torch.set_grad_enabled(gradient):
        moved = images.clone().requires_grad_(gradient)
        logits = bound(moved, draw=draw)
        if gradient:
            torch.autograd.grad(F.cross_entropy(logits, logits.argmax(dim=1)), moved)
    synchronise()
    return time.perf_counter() - start, logits.detach()
