"""What the verdict says for each pattern of answers."""

import pytest
import torch

from sslkuramoto.evaluation.audit.check import Check, Kind, Question, Status
from sslkuramoto.evaluation.audit.verdict import KINDS, Verdict, reported, verdict_of
from sslkuramoto.evaluation.intervals import Metric, share_over_draws

N = 64


def bound(standing: int) -> Metric:
    return share_over_draws((torch.arange(N) < standing)[None])


def shares(standing: int) -> torch.Tensor:
    return (torch.arange(N) < standing).float()


def check(kind: Kind, status: Status, name: str = "", **figures) -> Check:
    return Check(name or kind, f"the {kind} question", kind, status, f"because of {kind}", figures)


def verdict(*checks: Check, plain: int = 30, tightest: int = 30, control: Status = "pass") -> Verdict:
    asked = [*checks, reported(shares(plain), shares(tightest))]
    if not any(each.kind == "control" for each in checks):
        asked.insert(0, check("control", control))
    return verdict_of(asked, plain / N, bound(tightest))


def word(*checks: Check, **figures) -> str:
    return verdict(*checks, **figures).word


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
    found = verdict(failed)
    assert found.word == "no sign of masking"
    assert any(failed.reason in reason for reason in found.reasons)


@pytest.mark.parametrize("plain", [30, 60])
def test_the_sentence_names_the_rules_of_robustbench_that_fail(plain: int) -> None:
    rules = [check("rule", "fail", "deterministic"), check("rule", "pass", "other"), check("rule", "fail", "optimised")]
    found = verdict(*rules, plain=plain)
    assert found.sentence.endswith("; fails RobustBench's rules: deterministic, optimised")
    assert "RobustBench" not in verdict(check("rule", "pass"), check("hint", "fail")).sentence


def test_the_sentence_counts_what_was_not_run() -> None:
    asked = [check("masking", "not run", "transfer"), check("noise", "not run", "k"), check("masking", "pass")]
    assert verdict(*asked).sentence.endswith("; 2 of 5 checks were not run")
    assert verdict(*asked, plain=60).sentence.endswith("; 2 of 5 checks were not run")
    assert "not run" not in verdict(check("masking", "pass")).sentence


@pytest.mark.parametrize(("n", "said"), [(6, "incomplete"), (7, "no sign of masking")])
def test_too_few_images_to_tell_anything_give_no_clean_verdict(n: int, said: str) -> None:
    standing = torch.ones(n)
    asked = [check("control", "pass"), reported(standing, standing)]
    found = verdict_of(asked, 1.0, share_over_draws(standing.bool()[None]))
    assert found.word == said
    told = "no difference between two attacks can be told from chance, at least 7 are needed"
    assert (told in found.sentence) == (told in found.reasons[-1]) == (n < 7)
    assert "100.0 %" in found.reasons[-1] or n < 7, "seven of seven images are the least that can be told"


def test_without_its_control_an_audit_is_incomplete() -> None:
    found = verdict(check("masking", "pass"), control="not run")
    assert found.word == "incomplete"
    assert found.sentence.startswith("incomplete: the control at eps 0 was not run")
    assert "1 of 3 checks were not run" in found.sentence


@pytest.mark.parametrize("status", ["pass", "fail", "not run"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "control"])
@pytest.mark.parametrize("figures", [(30, 30), (60, 30), (2, 0)])
def test_no_pattern_of_answers_is_no_sign_of_masking_without_the_control(kind, status, figures) -> None:
    plain, tightest = figures
    for control in ("not run", "fail"):
        found = verdict(check(kind, status), plain=plain, tightest=tightest, control=control)
        assert found.word != "no sign of masking"
        assert "no sign of masking" not in found.sentence
    asked = [check(kind, status), reported(shares(plain), shares(tightest))]
    assert verdict_of(asked, plain / N, bound(tightest)).word != "no sign of masking", "no control at all"


def test_convergence_that_the_images_cannot_prove_is_said() -> None:
    open_ = check("strength", "pass", "steps", proven=False)
    found = verdict(open_, check("strength", "pass", "restarts", proven=True))
    assert found.word == "no sign of masking"
    assert "that the attacks had converged is not proven (steps)" in found.sentence
    assert "proven" not in verdict(check("strength", "pass", "steps", proven=True)).sentence


def test_the_reasons_name_what_was_not_run_and_what_the_images_cannot_show() -> None:
    found = verdict(check("masking", "not run", "transfer"), plain=9, tightest=9)
    assert "not run: transfer" in found.reasons
    assert "with 64 images, differences below about 10.9 %" in found.reasons[-1]


def test_the_sentence_holds_both_figures_and_the_interval() -> None:
    metric = bound(6)
    found = verdict(plain=48, tightest=6)
    assert found.sentence.startswith("masked: the 75.0 % of the plain attack are not to be trusted; 9.4 %")
    assert metric.high is not None
    assert f"to {100 * metric.high:.1f} %" in found.sentence


def test_a_check_prints_its_status_title_and_reason() -> None:
    question = Question("eps", "Accuracy falls", "masking")
    assert question.answer(True, "it does").shown() == "pass  Accuracy falls: it does"
    assert question.not_run("no time").shown() == "not run  Accuracy falls: no time"
