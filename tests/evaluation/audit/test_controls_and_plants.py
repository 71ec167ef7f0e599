"""The audit is right about networks whose robustness is known: honest ones, and three fake defences.

An audit that stops once its verdict is decided (option ``stop``) gives the same verdict.
"""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from audited_networks import FEWER, robust_of_linear

from sslkuramoto.evaluation import Result, Subject
from sslkuramoto.evaluation.audit import Audit

HONEST_ONE = {"seed": 1, "eps": 0.2, "images": 64}  # of fewer, no comparison could raise a false alarm
UNTOLD = ["black_box", "eps", "transfer", "surrogate"]  # take time and tell nothing of this noise
PLANTS = {
    "quantised": {"queries": 300},  # only queries break it
    "scaled": {},
    "noisy": {"images": 64, "k": [1, 4, 16], "skip": UNTOLD},  # figures are means over draws too
}
TRUSTED = ("reported", "eps", "one_step", "black_box", "logit_scale", "zero_gradients", "finite_differences")


def audit_of(result: Result) -> dict:
    return result.details["audit"]


def statuses(result: Result) -> dict[str, str]:
    return {check["name"]: check["status"] for check in audit_of(result)["checks"]}


@pytest.fixture(scope="module")
def plain(audited: Callable[..., Result]) -> Result:
    return audited("classification", eps=0.3)


def test_a_plain_cnn_has_no_robustness_and_hides_nothing(plain: Result) -> None:
    assert audit_of(plain)["word"] == "no robustness left"
    assert plain.metrics["robust_accuracy"].value <= 0.02
    assert plain.metrics["clean_accuracy"].value > 0.9
    assert plain.metrics["control_accuracy"] == plain.metrics["clean_accuracy"]
    assert "fail" not in statuses(plain).values()
    assert all(statuses(plain)[name] == "pass" for name in TRUSTED)


def test_a_linear_classifier_keeps_what_theory_says_image_by_image(linear: Subject) -> None:
    eps = 0.1
    result = Audit(**{**FEWER, "eps": eps})(linear)
    assert audit_of(result)["word"] == "no sign of masking"
    assert "fail" not in statuses(result).values()
    assert all(statuses(result)[name] == "pass" for name in TRUSTED)
    images = linear.images("test")
    index = torch.tensor(result.per_image["index"])
    assert len(index) == FEWER["images"]
    assert linear.head is not None
    kept = robust_of_linear(linear.head, images.images[index] / 255, images.labels[index], eps)
    assert 0.3 < kept.double().mean() < 0.8
    assert result.per_image["correct"] == kept.tolist()
    assert result.metrics["robust_accuracy"].value == kept.double().mean()
    assert 0 <= result.metrics["plain_accuracy"].value - kept.double().mean() < 0.05, "a few steps come close"


def test_an_adversarially_trained_cnn_is_truly_robust(audited: Callable[..., Result]) -> None:
    result = audited("adversarial", **HONEST_ONE)
    assert audit_of(result)["word"] == "no sign of masking"
    assert 0.3 < result.metrics["robust_accuracy"].value < 0.8
    assert result.metrics["plain_accuracy"].value - result.metrics["robust_accuracy"].value < 0.1
    assert "fail" not in statuses(result).values()
    assert all(statuses(result)[name] == "pass" for name in TRUSTED)


HONEST = ("no sign of masking", "not settled", "plain figure too high")


def test_noise_on_an_adversarially_trained_cnn_hides_nothing(audited: Callable[..., Result]) -> None:
    result = audited("adversarial", noise=0.1, eps=0.2, images=64)
    assert audit_of(result)["word"] in HONEST
    assert all(statuses(result)[name] == "pass" for name in (*TRUSTED[1:], "held_fresh", "fixed_random"))
    plain, eot, tightest = (result.metrics[f"{name}_accuracy"].value for name in ("plain", "eot", "robust"))
    assert plain - tightest > 0.05, "what would have been called masking: one draw a forward is a weak attack"
    assert eot - tightest < 0.05
    assert 0.3 < tightest < 0.8


def test_a_cnn_trained_by_trades_hides_nothing(audited: Callable[..., Result]) -> None:
    result = audited("trades", eps=0.2, images=64)
    assert audit_of(result)["word"] in HONEST
    assert 0.3 < result.metrics["robust_accuracy"].value < 0.8


def test_a_constant_answer_is_nothing_to_audit(trained: Callable[..., Subject]) -> None:
    subject = trained("classification")
    head = copy.deepcopy(subject.head)
    assert head is not None
    torch.nn.init.zeros_(head.weight)
    run = subject.run_dir / "constant"
    audit = audit_of(Audit(**{**FEWER, "steps": [1, 2]}, eps=0.1)(replace(subject, head=head, run_dir=run)))
    assert audit["word"] == "nothing to audit"
    assert audit["verdict"].startswith("nothing to audit: ")


@pytest.mark.parametrize(
    ("plant", "failing", "at_least_reported"),
    [
        ("quantised", {"reported", "eps", "black_box", "zero_gradients", "finite_differences"}, 0.8),
        ("scaled", {"reported", "eps", "logit_scale", "zero_gradients"}, 0.8),
        ("noisy", {"fixed_random", "deterministic"}, 0.12),  # EoT finds what there is: its figure holds
    ],
)
def test_a_fake_defence_is_exposed(
    plant: str, failing: set[str], at_least_reported: float, audited: Callable[..., Result], plain: Result
) -> None:
    result = audited("classification", eps=0.3, plant=plant, **PLANTS[plant])
    audit = audit_of(result)
    assert audit["word"] == "masked"
    assert audit["verdict"] in result.notes
    assert {name for name, status in statuses(result).items() if status == "fail"} >= failing
    reported, tightest = result.metrics["plain_accuracy"].value, result.metrics["robust_accuracy"].value
    assert reported >= at_least_reported
    assert tightest < 0.12
    assert f"{100 * reported:.1f} % under the plain attack overstate the robustness" in audit["verdict"]
    assert any(check["reason"] in reason for check in audit["checks"] for reason in audit["reasons"])
    assert plain.metrics["robust_accuracy"].value <= 0.02, "the same weights without the plant"


def attacks(result: Result) -> int:
    return len(audit_of(result)["attacks"])


@pytest.mark.parametrize("plant", [None, *PLANTS])
def test_a_verdict_that_is_decided_early_is_the_same_with_half_the_attacks(
    plant: str | None, audited: Callable[..., Result]
) -> None:
    options = {"eps": 0.3} if plant is None else {"eps": 0.3, "plant": plant, **PLANTS[plant]}
    whole, early = audited("classification", **options), audited("classification", **options, stop="decided")
    assert audit_of(early)["word"] == audit_of(whole)["word"]
    assert attacks(early) <= attacks(whole) / 2
    assert "the verdict is decided without it" in audit_of(early)["checks"][-3]["reason"]
    for name in ("plain_accuracy", "clean_accuracy"):
        assert early.metrics[name] == whole.metrics[name]
    assert early.metrics["robust_accuracy"].value >= whole.metrics["robust_accuracy"].value - 0.02


def test_a_network_that_hides_nothing_is_asked_everything(audited: Callable[..., Result]) -> None:
    whole, early = audited("adversarial", **HONEST_ONE), audited("adversarial", **HONEST_ONE, stop="decided")
    assert early.metrics == whole.metrics
    assert [*statuses(early).items()] == [*statuses(whole).items()]
