"""Each check fails where it must and passes where it must, on figures made by hand: nothing is attacked or trained.

Shapes: n images.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from hand_made_cases import ALL, NONE, Build, N, NoisyPixels, broken, last_broken, oscillators
from torch import Tensor

from sslkuramoto.evaluation.audit import attack_checks, network_checks, noise_checks
from sslkuramoto.evaluation.audit.check import Check
from sslkuramoto.evaluation.audit.compare import compare
from sslkuramoto.evaluation.audit.context import FIXED_VERSION, Case
from sslkuramoto.evaluation.audit.gradients import LOSSES, TIMES, GradientFacts
from sslkuramoto.evaluation.audit.runner import Run
from sslkuramoto.threat import Threat


def falling(**rises: Tensor) -> dict[str, Tensor]:
    """What plain and reference attack leave at each radius: falling to nothing, where nothing else is said."""
    radii = {"@ 0.05": broken(10), "@ 0.1": broken(30), "@ 0.2": broken(50), "@ 1": NONE}
    return {f"{name} {at}": rises.get(at, right) for at, right in radii.items() for name in (PLAIN, "apgd-margin-20")}


PLAIN, DLR = "plain apgd-ce-40", "plain apgd-dlr-40"
NOISY = {"encoder": NoisyPixels()}
AKORN = {"encoder": oscillators()}

CASES: dict[str, tuple[Callable[[Case], Check], dict, dict]] = {
    "eps, without bounds": (attack_checks.eps, {"found": falling(**{"@ 1": last_broken(50)})}, {"found": falling()}),
    "eps, monotone": (
        attack_checks.eps,
        {"found": falling(**{"@ 0.2": broken(2)})},
        {"found": falling(**{"@ 0.2": broken(26)})},
    ),
    "eps, the ends": (
        attack_checks.eps,
        {"found": falling(**{"@ 0.05": broken(60), "@ 0.1": broken(54), "@ 0.2": broken(48)})},  # 6 and 6 are chance
        {"found": falling(**{"@ 0.05": broken(60), "@ 0.1": broken(60), "@ 0.2": broken(60)})},
    ),
    "black_box": (
        attack_checks.black_box,
        {"found": {"square-500": broken(30)}},
        {"found": {"square-500": broken(30)}, "otherwise": broken(32)},
    ),
    "black_box, other images": (
        attack_checks.black_box,
        {"found": {"hop-skip-jump-500": last_broken(14)}, "otherwise": broken(32)},
        {"found": {"hop-skip-jump-500": last_broken(3)}, "otherwise": broken(32)},
    ),
    "black_box, by chance": (
        attack_checks.black_box,
        {"found": {"gaussian noise": broken(16)}},
        {"found": {"gaussian noise": broken(8)}},  # p = 0.004: of twelve tests one is as low in 5 % of all audits
    ),
    "transfer": (
        attack_checks.transfer,
        {"found": {f"{PLAIN} on {FIXED_VERSION}": broken(40)}, **NOISY},
        {"found": {f"{PLAIN} on {FIXED_VERSION}": broken(10)}, "otherwise": broken(12), **NOISY},
    ),
    "fab": (
        attack_checks.fab,
        {"found": {"fab-t-200": broken(20)}, "size": "full"},
        {"found": {"fab-t-200": broken(20)}, "otherwise": broken(18), "size": "full"},
    ),
    "one_step": (
        attack_checks.one_step,
        {"found": {"fgsm-dlr": broken(20)}},
        {"found": {"fgsm-dlr": broken(20)}, "otherwise": broken(22)},
    ),
    "one_step, other images": (
        attack_checks.one_step,
        {"found": {"fgsm-ce": last_broken(12)}, "otherwise": broken(20)},
        {"found": {"fgsm-ce": last_broken(2)}, "otherwise": broken(20)},
    ),
    "logit_scale": (
        attack_checks.logit_scale,
        {"found": {f"{PLAIN} on logits margin of 1": broken(20)}},
        {"found": {f"{PLAIN} on logits x10": ALL}, "otherwise": broken(20)},
    ),
    "surrogate": (
        attack_checks.surrogate,
        {"found": {"surrogate half_gamma-k16-20": broken(20)}, **AKORN},
        {"found": {"surrogate half_gamma-k16-20": broken(20)}, "otherwise": broken(22), **AKORN},
    ),
    "surrogate, another attack's luck": (
        attack_checks.surrogate,
        {"found": {"surrogate autograd-k16-20": ALL}, "otherwise": broken(30), **AKORN},
        {"found": {"held-k16-20": ALL}, "otherwise": broken(30), **AKORN},
    ),
    "noise_accuracy": (
        attack_checks.noise_accuracy,
        {"found": {PLAIN: broken(32)}, "shaken": broken(32)},
        {"found": {PLAIN: broken(32)}, "shaken": broken(16)},
    ),
    "noise_accuracy, few images": (
        attack_checks.noise_accuracy,
        {"found": {PLAIN: broken(7)}, "shaken": broken(7)},
        {"found": {PLAIN: broken(6)}, "shaken": broken(6)},  # a sign test of 6 images has p = 0.016
    ),
    "noise_accuracy, by chance": (
        attack_checks.noise_accuracy,
        {"found": {PLAIN: broken(20)}, "shaken": broken(20)},
        {"found": {PLAIN: broken(20)}, "shaken": broken(17)},  # more than three quarters, within the interval
    ),
    "steps": (
        attack_checks.steps,
        {"found": {"apgd-margin-40": broken(40)}, "otherwise": broken(30)},
        {"found": {PLAIN: broken(60)}, "otherwise": broken(30)},
    ),
    "restarts": (
        attack_checks.restarts,
        {"found": {"apgd-margin-40 x2": broken(40)}, "otherwise": broken(30)},
        {"otherwise": broken(30)},
    ),
    "k, held": (
        noise_checks.draws,
        {"found": {"held-k64-40": broken(40)}, "otherwise": broken(30), **NOISY},
        {"found": {"held-k1-40": broken(3), "held-k4-40": broken(9)}, "otherwise": broken(30), **NOISY},
    ),
    "k, fresh": (
        noise_checks.draws,
        {"found": {"fresh-k64-40": broken(40)}, "otherwise": broken(30), **NOISY},
        {"found": {"fresh-k64-40": broken(20)}, "otherwise": broken(30), **NOISY},
    ),
    "held_fresh": (
        noise_checks.held_fresh,
        {"found": {"held-k16-40": broken(40)}, "otherwise": broken(30), **NOISY},
        {"found": {"fresh-k16-40": broken(40)}, "otherwise": broken(30), **NOISY},
    ),
    "held_fresh, most draws": (
        noise_checks.held_fresh,
        {"found": {"held-k64-40": broken(40)}, "otherwise": broken(30), **NOISY},
        {"found": {"held-k64-40": broken(32)}, "otherwise": broken(30), **NOISY},
    ),
    "fixed_random": (
        noise_checks.fixed_random,
        {"there": {f"{DLR} on {FIXED_VERSION}": broken(60)}, "otherwise": broken(20), **NOISY},
        {"there": {f"{DLR} on {FIXED_VERSION}": broken(22)}, "otherwise": broken(20), **NOISY},
    ),
    "deterministic": (
        network_checks.deterministic,
        {"differences": broken(1)},
        {"differences": NONE},
    ),
    "deterministic, noise": (
        network_checks.deterministic,
        {"predictions": torch.zeros(20, N, dtype=torch.long), **NOISY},
        {"differences": NONE, "encoder": NoisyPixels(), "mode": "fixed"},
    ),
    "zero_gradients": (
        network_checks.zero_gradients,
        {"facts": GradientFacts(zero=dict.fromkeys(LOSSES, 1 - broken(4)), norms=dict.fromkeys(LOSSES, ALL))},
        {"facts": GradientFacts(zero=dict.fromkeys(LOSSES, 1 - broken(3)), norms=dict.fromkeys(LOSSES, ALL))},
    ),
    "zero_gradients, one loss": (
        network_checks.zero_gradients,
        {"facts": GradientFacts(zero={LOSSES[0]: NONE, LOSSES[1]: ALL}, norms=dict.fromkeys(LOSSES, ALL))},
        {"facts": GradientFacts(zero=dict.fromkeys(LOSSES, NONE), norms=dict.fromkeys(LOSSES, ALL))},
    ),
    "finite_differences": (
        network_checks.finite_differences,
        {
            "facts": GradientFacts(
                agreement={t: torch.full((N,), 0.70 if t == 1 / 4 else 1.0) for t in TIMES}, rises=ALL
            )
        },
        {
            "facts": GradientFacts(
                agreement={t: torch.full((N,), 0.72 if t == 1 / 4 else 0.0) for t in TIMES}, rises=ALL
            )
        },
    ),
    "gradient_draws": (
        network_checks.gradient_draws,
        {"facts": GradientFacts(cosine=torch.full((N,), 0.2))},
        {"facts": GradientFacts(cosine=torch.full((N,), 0.3))},
    ),
    "saturation": (
        network_checks.saturation,
        {"encoder": oscillators(step_size=100.0)},
        {"encoder": oscillators(step_size=0.01)},
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_it_fails_where_it_must_and_passes_where_it_must(name: str, build: Build) -> None:
    ask, failing, passing = CASES[name]
    bad, good = ask(build(**failing)), ask(build(**passing))
    assert (bad.status, good.status) == ("fail", "pass"), f"{bad.reason} | {good.reason}"
    assert bad.name == good.name == name.split(",")[0]
    assert bad.reason != good.reason


def test_every_check_is_asked_here() -> None:
    asked = {ask for ask, *_ in CASES.values()} | {network_checks.no_optimisation}
    for module in (attack_checks, noise_checks, network_checks):
        own = [value for key, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        checks = [
            f
            for f in own
            if getattr(f, "__annotations__", {}).keys() == {"case", "return"} and f.__annotations__["return"] is Check
        ]
        assert checks
        assert set(checks) <= asked


def test_noise_is_compared_with_the_strongest_attack_where_the_plain_one_breaks_next_to_nothing(build: Build) -> None:
    def asked(shaken: Tensor, strongest: Tensor) -> Check:
        case = build({"square-500": strongest, "held @ 0.2": NONE}, shaken=shaken)
        for attack in case.arsenal.black_boxes():
            case.bench.run(attack)
        case.bench.run(case.arsenal.plain("ce"), threat=Threat("linf", 0.2))
        return attack_checks.noise_accuracy(case)

    shaken = asked(broken(32), broken(32))
    assert shaken.status == "fail"
    assert "square-500" in shaken.reason
    assert asked(broken(4), broken(32)).status == "pass"
    assert asked(ALL, ALL).status == "not run"


def test_how_many_points_the_noise_carries_is_said(build: Build) -> None:
    case = build(there={f"{DLR} on {FIXED_VERSION}": broken(60)}, otherwise=broken(20), **NOISY)
    assert noise_checks.fixed_random(case).reason.startswith("62.5 points rest on the noise: ")  # 40 of 64 images


def test_attacks_without_gradients_are_compared_on_draws_that_chose_nothing(build: Build) -> None:
    """What the choosing draws say of a black-box attack, that it is stronger or that it is not, does not matter."""

    def asked(told: Tensor, on_other_draws: Tensor) -> str:
        def looked(runs: Sequence[Run]) -> Tensor:
            return on_other_draws if len(runs) == 1 and runs[0].label.startswith("square") else broken(10)

        return attack_checks.black_box(build({"square-500": told}, otherwise=broken(10), looked=looked, **NOISY)).status

    assert asked(told=broken(10), on_other_draws=broken(40)) == "fail"
    assert asked(told=broken(40), on_other_draws=broken(10)) == "pass"


def test_two_checks_count_signs_where_other_comparisons_weigh_them(build: Build) -> None:
    """Two checks pass where 24 images lose everything and 40 gain a little (docs/audit.md says what that overlooks)."""
    few = torch.arange(64) < 24
    random, fixed = torch.where(few, 1.0, 0.9), torch.where(few, 0.0, 1.0)
    assert compare(random, fixed).stronger
    there = {f"{label} on {FIXED_VERSION}": fixed for label in (PLAIN, DLR)}
    assert noise_checks.fixed_random(build(there=there, otherwise=random, **NOISY)).status == "pass"
    shaken, attacked = torch.where(few, 0.0, 1.0), torch.where(few, 1.0, 0.9)
    assert attack_checks.noise_accuracy(build({PLAIN: attacked}, otherwise=attacked, shaken=shaken)).status == "pass"
    assert (
        attack_checks.noise_accuracy(build({PLAIN: attacked}, otherwise=attacked, shaken=broken(60))).status == "fail"
    )


def test_noise_of_rising_size_is_kept_as_a_curve(build: Build) -> None:
    case = build({PLAIN: broken(32)}, shaken=broken(16))
    attack_checks.noise_accuracy(case)
    curve = case.curves["noise"]
    assert curve["x"][0] == 0.0
    assert round(64 / 255, 6) in curve["x"]
    assert set(curve["series"]) == {"random signs", "Gaussian"}
    assert all(values == [1.0, *[0.75] * 6] for values in curve["series"].values())


def test_many_radii_do_not_fail_by_chance(build: Build) -> None:
    """A rise of 8 images has p = 0.004, and twelve are looked for."""
    rise = falling(**{"@ 0.2": broken(22)})
    assert attack_checks.eps(build(rise)).status == "pass"


def test_in_mode_fixed_the_oscillators_are_seen_from_the_audited_start(build: Build, monkeypatch) -> None:
    starts = []
    monkeypatch.setattr(network_checks, "step_turns", lambda encoder, images, start: starts.append(start) or [])
    for mode in ("fixed", "random", "averaged"):
        case = build(encoder=oscillators(), mode=mode)
        network_checks.saturation(case)
        own = case.classifier.field(case.bench.images)
        assert starts[-1].shape == (N, *own.shape[1:])
        assert torch.equal(starts[-1], own.expand(N, -1, -1, -1)) == (mode == "fixed")
    network_checks.saturation(build())
    assert starts[-1] is None


def test_surrogates_without_a_meaning_are_named_and_alone_no_answer(build: Build) -> None:
    unprojected = {"encoder": oscillators(project=False)}
    found = attack_checks.surrogate(build(**unprojected))
    assert found.status == "pass"
    assert found.reason.endswith("not run, since they need a projected drive: root_arctan")
    found = attack_checks.surrogate(build(budget={"surrogates": ("root_arctan",)}, **unprojected))
    assert found.status == "not run"
    assert "root_arctan" in found.reason
    assert "not run" not in attack_checks.surrogate(build(**AKORN)).reason


@pytest.mark.parametrize("ask", [attack_checks.surrogate, attack_checks.logit_scale])
def test_several_comparisons_of_one_question_are_judged_together(ask, build: Build) -> None:
    """7 images to 0 are p = 0.008: of four comparisons one is as low in 3 % of all audits; 9 are p = 0.002."""
    one = "surrogate half_gamma-k16-20" if ask is attack_checks.surrogate else DLR
    for count, status in ((7, "pass"), (9, "fail")):
        assert ask(build({one: broken(count)}, **AKORN)).status == status
