"""The losses that attacks maximise: one number per image, larger the closer to a wrong class.

Cross entropy; the difference of logits ratio (DLR) of Croce and Hein 2020 (2003.01690, Eq. 6 and 7); the margin of
Carlini and Wagner 2017 (1608.04644, their f6); the targeted form of each; and that margin clipped from above
(``log_margin``), for means over draws.

Shapes: b batch, q classes.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.errors import UserError

Loss = Literal["ce", "ce_targeted", "dlr", "dlr_targeted", "margin", "margin_targeted", "log_margin"]

CUT = 1.0
"""Value at which ``log_margin`` is clipped: the wrong class is then e times as probable as the true class."""
SMALLEST = 1e-12  # keeps the DLR finite when logits are equal


def wrong_by(logits: Float[Tensor, "b q"], labels: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return max_{j != y} z_j - z_y, positive when misclassified; the same for logits and log-probabilities."""
    right = F.one_hot(labels, logits.shape[1]).bool()
    return logits.masked_fill(right, -torch.inf).amax(dim=1) - _of(logits, labels)


def _of(logits: Float[Tensor, "b q"], classes: Int64[Tensor, " b"]) -> Float[Tensor, " b"]:
    return logits.gather(1, classes[:, None]).squeeze(1)


def _ce(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def _ce_targeted(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    assert targets is not None
    return -F.cross_entropy(logits, targets, reduction="none")


def _dlr(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    ordered = logits.sort(dim=1, descending=True).values
    return wrong_by(logits, labels) / (ordered[:, 0] - ordered[:, 2] + SMALLEST)


def _dlr_targeted(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    ordered = logits.sort(dim=1, descending=True).values
    scale = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    return _margin_targeted(logits, labels, targets) / (scale + SMALLEST)


def _margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return wrong_by(logits, labels)


def _margin_targeted(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    assert targets is not None
    return _of(logits, targets) - _of(logits, labels)


def _log_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return wrong_by(logits, labels).clamp(max=CUT)


_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "ce": _ce,
    "ce_targeted": _ce_targeted,
    "dlr": _dlr,
    "dlr_targeted": _dlr_targeted,
    "margin": _margin,
    "margin_targeted": _margin_targeted,
    "log_margin": _log_margin,
}
_CLASSES = {"dlr": 3, "dlr_targeted": 4}  # logits in their denominators


def per_image(
    loss: Loss,
    logits: Float[Tensor, "b q"],
    labels: Int64[Tensor, " b"],
    targets: Int64[Tensor, " b"] | None = None,
) -> Float[Tensor, " b"]:
    """Return the loss to maximise, one number per image.

    With z the logits, y the label, t the target, and z_1 >= z_2 >= ... the sorted logits:

        ce               -log p_y
        ce_targeted      log p_t
        dlr              (max_{j != y} z_j - z_y) / (z_1 - z_3)
        dlr_targeted     (z_t - z_y) / (z_1 - (z_3 + z_4) / 2)
        margin           max_{j != y} z_j - z_y
        margin_targeted  z_t - z_y
        log_margin       min(max_{j != y} log p_j - log p_y, 1)

    ``log_margin`` is meant for means over draws of a network's oscillators. A draw that errs by the clipped margin adds
    no gradient, so the ascent concentrates on the draws that are still correct.

    Args:
        loss: its name.
        logits: logits or log-probabilities.
        labels: true classes.
        targets: target classes, for the targeted losses.
    """
    return _LOSSES[loss](logits, labels, targets)


def is_targeted(loss: Loss) -> bool:
    """Return whether the loss is targeted: it pulls towards a class of the attacker's choice."""
    return loss.endswith("_targeted")


def for_classes(loss: Loss, num_classes: int) -> tuple[Loss, str | None]:
    """Return the loss to use for this number of classes, and a note if it is not the one that was asked for.

    DLR needs the third largest logit, its targeted form the fourth. With fewer classes the margin is used. It differs
    in one respect: it is not invariant to the scale of the logits.

    Raises:
        UserError: fewer than two classes.
    """
    if num_classes < 2:
        raise UserError(f"{num_classes} class: an attack needs at least two")
    needed = _CLASSES.get(loss, 2)
    if num_classes >= needed:
        return loss, None
    other: Loss = "margin_targeted" if is_targeted(loss) else "margin"
    return other, f"loss {loss} needs {needed} classes, there are {num_classes}; {other} is used in its place"
