"""The losses of attacks against their equations, written out image by image."""

import math

import pytest
import torch

from sslkuramoto.attacks.losses import CUT, for_classes, is_targeted, per_image, wrong_by
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator

LOSSES = {"ce": 2, "ce_targeted": 2, "dlr": 3, "dlr_targeted": 4, "margin": 2, "margin_targeted": 2, "log_margin": 2}


def by_hand(loss: str, z: list[float], y: int, t: int) -> float:
    """Return the loss of one image from its equation."""
    ordered = sorted(z, reverse=True)
    log = [value - math.log(sum(math.exp(other) for other in z)) for value in z]
    rival = max(value for j, value in enumerate(z) if j != y)
    if loss == "ce":
        return -log[y]
    if loss == "ce_targeted":
        return log[t]
    if loss == "dlr":
        return -(z[y] - rival) / (ordered[0] - ordered[2])
    if loss == "dlr_targeted":
        return -(z[y] - z[t]) / (ordered[0] - (ordered[2] + ordered[3]) / 2)
    if loss == "log_margin":
        return min(max(value for j, value in enumerate(log) if j != y) - log[y], CUT)
    return (z[t] if loss == "margin_targeted" else rival) - z[y]


def random_logits(n, classes):
    draw = generator("cpu", "logits", n, classes)
    logits = 3 * torch.randn(n, classes, generator=draw, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=draw)
    targets = (labels + 1 + torch.randint(classes - 1, (n,), generator=draw)) % classes
    return logits, labels, targets


@pytest.mark.parametrize(
    ("loss", "classes"), [(loss, n) for loss, fewest in LOSSES.items() for n in (2, 3, 4, 10) if n >= fewest]
)
def test_losses_are_their_equations(loss, classes):
    logits, labels, targets = random_logits(40, classes)
    found = per_image(loss, logits, labels, targets if is_targeted(loss) else None)
    wanted = [by_hand(loss, *each) for each in zip(logits.tolist(), labels.tolist(), targets.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_grows_where_the_right_logit_falls_and_its_gradient_is_finite(loss):
    logits, labels, targets = random_logits(40, 5)
    given = targets if is_targeted(loss) else None
    lower = logits.scatter_add(1, labels[:, None], torch.full((40, 1), -0.01, dtype=torch.float64))
    gained = per_image(loss, lower, labels, given) - per_image(loss, logits, labels, given)
    capped = wrong_by(logits, labels) >= CUT if loss == "log_margin" else torch.zeros(40, dtype=torch.bool)
    assert (gained[~capped] > 0).float().mean() > (0.5 if "dlr" in loss else 0.99)  # 1 of 0 for a label in z1 or z3
    for equal in (logits, torch.zeros_like(logits), 1e4 * logits):
        leaf = equal.clone().requires_grad_()
        per_image(loss, leaf, labels, given).sum().backward()
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("loss", ["dlr", "dlr_targeted"])
def test_the_ratios_do_not_depend_on_scale_and_shift(loss):
    logits, labels, targets = random_logits(40, 6)
    found = [per_image(loss, given, labels, targets) for given in (logits, 1e4 * logits, logits - 7)]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], found[2])


def test_the_sign_of_every_untargeted_margin_says_whether_the_image_is_wrong():
    logits, labels, _ = random_logits(60, 4)
    wrong = logits.argmax(1) != labels
    assert 0.1 < wrong.float().mean() < 0.9
    for loss in ("dlr", "margin", "log_margin"):
        assert torch.equal(per_image(loss, logits, labels) > 0, wrong), loss


def test_a_sure_error_has_no_gradient_in_the_clipped_margin_and_log_probabilities_are_as_good_as_logits():
    logits, labels, _ = random_logits(60, 4)
    leaf = logits.clone().requires_grad_()
    per_image("log_margin", leaf, labels).sum().backward()
    sure = wrong_by(logits, labels) > CUT
    assert sure.any()
    assert torch.equal(leaf.grad.abs().sum(1) == 0, sure)
    torch.testing.assert_close(
        per_image("log_margin", logits, labels), per_image("log_margin", logits.log_softmax(1), labels)
    )


@pytest.mark.parametrize(
    ("loss", "classes", "other"),
    [("dlr", 2, "margin"), ("dlr_targeted", 3, "margin_targeted"), ("dlr", 3, "dlr"),
     ("dlr_targeted", 4, "dlr_targeted"), ("ce", 2, "ce"), ("log_margin", 2, "log_margin")],
)  # fmt: skip
def test_a_ratio_without_its_logits_becomes_a_margin_with_a_word(loss, classes, other):
    found, note = for_classes(loss, classes)
    assert found == other
    assert (note is None) == (found == loss)
    logits, labels, targets = random_logits(12, classes)
    assert per_image(found, logits, labels, targets).isfinite().all()


def test_one_class_cannot_be_attacked():
    with pytest.raises(UserError, match="1 class: an attack needs at least two"):
        for_classes("ce", 1)
