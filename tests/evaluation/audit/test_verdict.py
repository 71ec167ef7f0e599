"""What the verdict says for each pattern of answers."""

import pytest
import torch

from sslkuramoto.evaluation.audit.check import Check, Kind, Question, Status
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.audit.verdict import (
    CLEAN_WORDS,
    ESSENTIAL,
    ESSENTIAL_WITH_NOISE,
    KINDS,
    Headline,
    Verdict,
    reported,
    verdict_of,
)
from sslkuramoto.noise_draws import share_over_draws
from sslkuramoto.results import Metric

N = 64


def bound(standing: int, n: int = N) -> Metric:
    return share_over_draws((torch.arange(n) < standing)[None])


def shares(standing: int, n: int = N) -> torch.Tensor:
    return (torch.arange(n) < standing).float()


def check(kind: Kind, status: Status, name: str = "", **figures) -> Check:
    return Check(name or kind, f"the {kind} question", kind, status, f"because of {kind}", figures)


def verdict(
    *checks: Check,
    plain: int = 30,
    tightest: int = 30,
    eot: int | None = None,
    control: Status = "pass",
    clean: int = 60,
    guess: float = 0.2,
    n: int = N,
    without: tuple[str, ...] = (),
) -> Verdict:
    """Judge the given checks beside essential ones that passed, those of ``without`` left out."""
    essential = [*ESSENTIAL, *(ESSENTIAL_WITH_NOISE if eot is not None else ())]
    given = {each.name for each in checks}
    asked = [check("hint", "pass", name) for name in essential if name not in given and name not in without]
    usual = {"plain": shares(plain, n)} | ({} if eot is None else {"eot": shares(eot, n)})
    asked += [*checks, reported(usual, shares(tightest, n), shares(tightest, n))]
    if not any(each.kind == "control" for each in checks):
        asked.insert(0, check("control", control))
    figures = Headline(plain / n, bound(tightest, n), bound(clean, n), guess, clean, None if eot is None else eot / n)
    return verdict_of(asked, figures)


def word(*checks: Check, **figures) -> str:
    return verdict(*checks, **figures).word


def test_a_broken_control_voids_everything() -> None:
    assert word(check("control", "fail"), check("masking", "fail"), plain=60, tightest=0) == "void"
    assert verdict_of([check("control", "fail"), check("masking", "not run")], None).word == "void"


def test_a_plain_figure_far_above_the_tightest_bound_is_masked() -> None:
    assert word(check("masking", "fail"), plain=60, tightest=30) == "masked"
    assert word(check("noise", "fail"), plain=60, tightest=0) == "masked"


@pytest.mark.parametrize("weak", [(), (check("masking", "fail", "logit_scale"),), (check("strength", "fail"),)])
def test_a_gap_without_other_evidence_is_a_weak_attack_and_no_masking(weak) -> None:
    found = verdict(*weak, plain=40, tightest=30)
    assert found.word == "plain figure too high"
    assert "in place of the 62.5 % under the plain attack report the tightest bound found, 46.9 %" in found.sentence
    assert "no sign of masked gradients: the attack is weak" in found.sentence
    unasked = verdict(*weak, plain=40, tightest=30, without=("black_box",)).sentence
    assert "masked gradients cannot be ruled out without black_box" in unasked
    assert word(*weak, check("masking", "fail", "eps"), plain=40, tightest=30) == "masked"


def test_the_strongest_usual_figure_is_the_one_that_must_hold() -> None:
    held = verdict(plain=40, eot=31, tightest=30)
    assert held.word == "no sign of masking"
    assert "the 62.5 % under the plain attack are too high" in held.sentence
    assert word(plain=40, eot=40, tightest=30) == "plain figure too high"
    both = verdict(check("noise", "fail"), plain=59, eot=57, tightest=30).sentence
    assert "the 92.2 % under the plain attack and the 89.1 % under EoT overstate the robustness" in both
    one = verdict(check("noise", "fail"), plain=59, eot=31, tightest=30).sentence
    assert "the 92.2 % under the plain attack overstate the robustness, while the 48.4 % under EoT agree" in one


def test_the_gap_is_told_for_the_strongest_single_attack_and_for_the_union() -> None:
    found = reported({"plain": shares(40)}, shares(30), shares(38))
    assert found.status == "fail"
    assert found.figures["gain"] == pytest.approx(10 / 64)
    assert found.figures["gain_of_single"] == pytest.approx(2 / 64)
    assert "59.4 % under the strongest single attack, 46.9 % under all" in found.reason


@pytest.mark.parametrize("clean", [6, 14, 19])
def test_a_network_no_better_than_a_constant_answer_has_nothing_to_audit(clean: int) -> None:
    found = verdict(check("masking", "fail"), clean=clean, guess=0.2, plain=clean, tightest=2)
    assert found.word == "nothing to audit"
    assert "a constant prediction has 20.0 %" in found.sentence
    assert word(check("masking", "fail"), clean=40, guess=0.2, plain=40, tightest=38) == "suspect"


@pytest.mark.parametrize("name", ESSENTIAL)
@pytest.mark.parametrize("failing", [(), (check("noise", "fail"),), (check("strength", "fail", "restarts"),)])
def test_nothing_good_is_said_without_the_essential_answers(name: str, failing) -> None:
    for missing in ((), (check("masking", "not run", name),)):
        found = verdict(*failing, *missing, without=(name,))
        assert found.word == "incomplete"
        assert name in found.sentence
    assert word(*failing) in CLEAN_WORDS


@pytest.mark.parametrize("name", ESSENTIAL_WITH_NOISE)
def test_of_a_randomised_network_the_questions_about_noise_are_essential_too(name: str) -> None:
    assert word(eot=30, without=(name,)) == "incomplete"
    assert word(eot=30) == "no sign of masking"
    assert word(without=(name,)) == "no sign of masking", "a deterministic one has no noise"


def test_what_is_essential_is_asked() -> None:
    assert {*ESSENTIAL, *ESSENTIAL_WITH_NOISE} <= {question.name for question in CHECKS}


def test_a_gap_within_the_sampling_error_is_none() -> None:
    assert word(plain=33, tightest=30) == "no sign of masking"


def test_failing_diagnostics_without_a_better_attack_are_suspect() -> None:
    assert word(check("masking", "fail")) == "suspect"


def test_nothing_left_is_said_before_what_would_have_hidden_it() -> None:
    assert word(check("masking", "fail"), plain=1, tightest=0) == "no robustness left"


def test_robustness_that_a_fixed_state_loses_rests_on_noise() -> None:
    assert word(check("noise", "fail", "fixed_random"), check("strength", "fail")) == "rests on noise"


def test_unsteady_gradients_alone_do_not_say_that_robustness_rests_on_noise() -> None:
    unsteady = check("noise", "fail", "gradient_draws")
    found = verdict(unsteady, check("noise", "pass", "fixed_random"), eot=30)
    assert found.word == "not settled"
    assert "the gradient differs from draw to draw" in found.sentence
    assert "carry" not in found.sentence
    assert "had not converged" in verdict(unsteady, check("strength", "fail", "k"), eot=30).sentence
    assert word(unsteady, plain=59, eot=57) == "masked"


def test_attacks_that_still_gain_leave_it_unsettled() -> None:
    assert word(check("strength", "fail"), check("rule", "fail")) == "not settled"


def test_a_weak_loss_where_eot_holds_accuses_no_honest_network_that_draws() -> None:
    weak = check("masking", "fail", "logit_scale")
    found = verdict(weak, plain=40, eot=32, tightest=30)
    assert found.word == "no sign of masking"
    assert found.sentence.endswith("the 62.5 % under the plain attack are too high")
    assert word(weak, plain=32, eot=32, tightest=30) == "suspect", "nothing explains it"
    assert word(weak, check("masking", "fail", "eps"), plain=32, eot=32, tightest=30) == "suspect"


def test_a_forward_pass_that_does_more_than_compute_an_answer_is_suspect() -> None:
    """Such as a memory of clean images, which no attack gets past and no gradient shows."""
    optimises = check("rule", "fail", "no_optimisation")
    found = verdict(optimises)
    assert found.word == "suspect"
    assert "a forward pass does more than compute an answer from its image" in found.sentence
    assert word(optimises, check("strength", "fail")) == "suspect"
    assert word(optimises, plain=1, tightest=1) == "no robustness left", "an upper bound that is low stays one"
    assert word(check("rule", "fail", "deterministic")) == "no sign of masking"


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
    assert verdict(*asked).sentence.endswith("; 2 of 13 checks were not run")
    assert verdict(*asked, plain=60).sentence.endswith("; 2 of 13 checks were not run")
    assert "not run" not in verdict(check("masking", "pass")).sentence


@pytest.mark.parametrize("failing", [(), (check("noise", "fail"),), (check("strength", "fail", "restarts"),)])
def test_too_few_images_that_are_right_when_clean_give_no_clean_verdict(failing) -> None:
    few, enough = (verdict(*failing, clean=clean, plain=10, tightest=10, guess=0.1) for clean in (19, 20))
    assert few.word == "incomplete"
    told = "19 of 64 images are classified correctly without an attack; with fewer than 20 the differences"
    assert told in few.sentence
    assert few.reasons[-1].startswith(told)
    assert enough.word in CLEAN_WORDS
    assert "20 of them correct without an attack" in enough.reasons[-1]


def test_without_its_control_an_audit_is_incomplete() -> None:
    found = verdict(check("masking", "pass"), control="not run")
    assert found.word == "incomplete"
    assert found.sentence.startswith("incomplete: a verdict also needs the control at eps 0")
    assert "1 of 11 checks were not run" in found.sentence


@pytest.mark.parametrize("status", ["pass", "fail", "not run"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "control"])
@pytest.mark.parametrize("figures", [(30, 30), (60, 30), (2, 0)])
def test_no_pattern_of_answers_is_no_sign_of_masking_without_the_control(kind, status, figures) -> None:
    plain, tightest = figures
    for control in ("not run", "fail"):
        found = verdict(check(kind, status), plain=plain, tightest=tightest, control=control)
        assert found.word != "no sign of masking"
        assert "no sign of masking" not in found.sentence
    asked = [check(kind, status), *(check("masking", "pass", name) for name in ESSENTIAL)]
    asked.append(reported({"plain": shares(plain)}, shares(tightest), shares(tightest)))
    figures = Headline(plain / N, bound(tightest), bound(60), 0.2, 60)
    assert verdict_of(asked, figures).word != "no sign of masking", "no control at all"


def test_convergence_that_the_images_cannot_prove_is_said() -> None:
    unproven = check("strength", "pass", "steps", proven=False)
    found = verdict(unproven, check("strength", "pass", "restarts", proven=True))
    assert found.word == "no sign of masking"
    assert "these images cannot prove that the attacks had converged (steps)" in found.sentence
    assert "prove" not in verdict(check("strength", "pass", "steps", proven=True)).sentence


def test_the_reasons_name_what_was_not_run_and_what_the_images_cannot_show() -> None:
    found = verdict(check("masking", "not run", "transfer"), plain=9, tightest=9)
    assert "not run: transfer" in found.reasons
    assert "with 64 images, 60 of them correct without an attack, differences below about 10.9 %" in found.reasons[-1]


def test_the_sentence_holds_both_figures_and_the_interval() -> None:
    metric = bound(6)
    found = verdict(check("masking", "fail"), plain=48, tightest=6)
    assert found.sentence.startswith(
        "masked: the 75.0 % under the plain attack overstate the robustness; the tightest bound found is 9.4 %"
    )
    assert metric.high is not None
    assert f"to {100 * metric.high:.1f} %" in found.sentence


def test_a_check_prints_its_status_title_and_reason() -> None:
    question = Question("eps", "Accuracy falls", "masking")
    assert question.answer(True, "it does").shown() == "pass  Accuracy falls: it does"
    assert question.not_run("no time").shown() == "not run  Accuracy falls: no time"
