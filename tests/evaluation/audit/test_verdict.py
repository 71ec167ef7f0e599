"""What the verdict says for each pattern of answers."""

import pytest
import torch

from sslkuramoto.evaluation.audit.check import Check, Kind, Question, Status
from sslkuramoto.evaluation.audit.verdict import reported, verdict_of
from sslkuramoto.evaluation.intervals import Metric, share_over_draws

N = 64


def bound(standing: int) -> Metric:
    return share_over_draws((torch.arange(N) < standing)[None])


def shares(standing: int) -> torch.Tensor:
    return (torch.arange(N) < standing).float()


def check(kind: Kind, status: Status, name: str = "") -> Check:
    return Check(name or kind, f"the {kind} question", kind, status, f"because of {kind}")


def word(*checks: Check, plain: int = 30, tightest: int = 30) -> str:
    asked = [*checks, reported(shares(plain), shares(tightest))]
    return verdict_of(asked, plain / N, bound(tightest)).word


def test_a_broken_control_voids_everything() -> None:
    assert word(check("control", "fail"), check("masking", "fail"), plain=60, tightest=0) == "void"


def test_a_plain_figure_far_above_the_tightest_bound_is_masked() -> None:
    assert word(plain=60, tightest=30) == "masked"
    assert word(plain=60, tightest=0) == "masked"


def test_a_gap_within_the_sampling_error_is_none() -> None:
    assert word(plain=33, tightest=30) == "no sign of masking"


def test_failing_diagnostics_without_a_better_attack_are_suspect() -> None:
    assert word(check("masking", "fail")) == "suspect"


def test_nothing_left_is_said_before_what_would_have_hidden_it() -> None:
    assert word(check("masking", "fail"), plain=1, tightest=0) == "no robustness left"


def test_robustness_that_a_fixed_state_loses_rests_on_noise() -> None:
    assert word(check("noise", "fail"), check("strength", "fail")) == "rests on noise"


def test_attacks_that_still_gain_leave_it_unsettled() -> None:
    assert word(check("strength", "fail"), check("rule", "fail")) == "not settled"


@pytest.mark.parametrize("kind", ["rule", "hint"])
def test_rules_and_hints_are_reasons_but_no_verdict(kind: Kind) -> None:
    failed = check(kind, "fail")
    verdict = verdict_of([failed, reported(shares(30), shares(30))], 30 / N, bound(30))
    assert verdict.word == "no sign of masking"
    assert any(failed.reason in reason for reason in verdict.reasons)


def test_the_reasons_name_what_was_not_run_and_what_the_images_cannot_show() -> None:
    verdict = verdict_of([check("masking", "not run", "transfer"), reported(shares(9), shares(9))], 9 / N, bound(9))
    assert "not run: transfer" in verdict.reasons
    assert "with 64 images, differences below about 10.9 %" in verdict.reasons[-1]


def test_the_sentence_holds_both_figures_and_the_interval() -> None:
    metric = bound(6)
    verdict = verdict_of([reported(shares(48), shares(6))], 0.75, metric)
    assert verdict.sentence.startswith("masked: the 75.0 % of the plain attack are not to be trusted; 9.4 %")
    assert metric.high is not None
    assert f"to {100 * metric.high:.1f} %" in verdict.sentence


def test_a_check_prints_its_status_title_and_reason() -> None:
    question = Question("eps", "Accuracy falls", "masking")
    assert question.answer(True, "it does").shown() == "pass  Accuracy falls: it does"
    assert question.not_run("no time").shown() == "not run  Accuracy falls: no time"
