"""Targets of targeted attacks: the most probable wrong classes of each image, one search for each.

As APGD-T and FAB-T of AutoAttack (Croce and Hein 2020, 2003.01690), which take nine. A targeted attack pulls towards
one class of its choice, but is scored as any other: an image is broken when it is misclassified.

Shapes: b batch, y x pixels, q classes.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack
from sslkuramoto.attacks.gradients import Objective, fitted
from sslkuramoto.attacks.losses import Loss, is_targeted
from sslkuramoto.errors import UserError
from sslkuramoto.values import Count

Targets = Count | Literal["all"]
"""How many of the most probable wrong classes are targets, or all of them; 1: the most probable one."""
TARGETS = 9  # of AutoAttack
AIMED, REACHED = "candidates of targeted searches", "classified as their target"  # counted by an attack


def targets_of(loss: Loss, targets: Targets | None) -> Targets | None:
    """Return the targets of an attack: those given, nine if none are; None for a loss that has none.

    Raises:
        UserError: targets for an untargeted loss.
    """
    if is_targeted(loss):
        return TARGETS if targets is None else targets
    if targets is not None:
        raise UserError(f"targets={targets}: the loss {loss} has no targets; choose one that ends in _targeted")
    return None


A = TypeVar("A", bound=Attack)


def aimed(attack: A, num_classes: int) -> A:
    """Return a copy of an attack with a loss and as many targets as the number of classes allows, and notes."""
    own: Any = fitted(attack, num_classes)
    most = num_classes - 1
    if own.targets is not None and (own.targets == "all" or own.targets > most):
        if own.targets != "all":
            own.notes.append(
                f"{attack.label}: {most} target classes in place of {own.targets}: there are {num_classes} classes"
            )
        own.targets = most
        own.options = {**own.options, "targets": most}
    return own


def likeliest_others(
    objective: Objective, images: Float[Tensor, "b 3 y x"], targets: Targets
) -> list[Int64[Tensor, " b"]]:
    """Return the most probable wrong classes of each image, in order: the targets of a targeted attack."""
    log = objective.log_probabilities(images)
    log = log.scatter(1, objective.labels[:, None], -torch.inf)
    others = log.shape[1] - 1
    return list(log.topk(others if targets == "all" else min(targets, others), dim=1).indices.unbind(dim=1))


def towards_each(objective: Objective, images: Float[Tensor, "b 3 y x"], targets: Targets | None) -> list[Objective]:
    """Return the objective of each search: one for each target, or the objective itself without targets."""
    if targets is None:
        return [objective]
    return [objective.towards(each) for each in likeliest_others(objective, images, targets)]


def count_reached(noticed: Counter[str], reached: Bool[Tensor, " b"], targets: Targets | None) -> None:
    """Count the candidates that a targeted attack returns, and those classified as the class they were aimed at."""
    if targets is not None:
        noticed[AIMED] += len(reached)
        noticed[REACHED] += int(reached.sum())


def reached_targets(label: str, noticed: Mapping[str, int]) -> list[str]:
    """Return a sentence on how many candidates of a targeted attack reached their target."""
    if not noticed.get(AIMED):
        return []
    return [
        f"{label}: {noticed.get(REACHED, 0)} of {noticed[AIMED]} candidates are classified as the class that they were "
        "aimed at, by most of the attack's own draws"
    ]
