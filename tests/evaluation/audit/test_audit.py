"""The protocol: what it takes, what it refuses, what it leaves behind."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import ENCODERS, AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Result, Subject
from sslkuramoto.evaluation import subject_of as loaded
from sslkuramoto.evaluation.audit import Audit, network_checks
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import GradientFacts, gradient_facts
from sslkuramoto.evaluation.audit.plants.altered import DrawingEncoder
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.audit.runner import Bench
from sslkuramoto.recipe import recipe_from
from sslkuramoto.threat import Threat
from sslkuramoto.training import train

TINY = {
    "eps": 0.2,
    "images": 6,
    "steps": [1, 2],
    "k": [1, 2],
    "restarts": 2,
    "queries": 100,
    "samples": 2,
    "directions": 8,
    "select_draws": 20,
}


@pytest.fixture
def small(subject_of, cnn) -> Subject:
    return subject_of(cnn)


@pytest.fixture(scope="module")
def result(_trained, digits, tmp_path_factory) -> Result:
    """The smallest audit of the small CNN, once; ``repeated`` reads its ledger."""
    return Audit(**TINY, skip=["steps"])(_subject(_trained, digits, tmp_path_factory.getbasetemp() / "audited"))


@pytest.fixture
def repeated(result, _trained, digits, tmp_path_factory) -> tuple[Result, Path]:
    subject = _subject(_trained, digits, tmp_path_factory.getbasetemp() / "audited")
    return Audit(**TINY, skip=["steps"])(subject), subject.run_dir


def _subject(network, digits, path: Path) -> Subject:
    encoder, head = network
    fields = {"data": digits.__getitem__, "run_dir": path, "encoder_hash": "0" * 64, "batch_size": 64}
    return Subject(encoder=encoder, head=head, device=torch.device("cpu"), **fields)


def test_every_check_is_answered_and_a_skipped_one_says_so(result: Result) -> None:
    checks = {check["name"]: check for check in result.details["audit"]["checks"]}
    assert set(checks) == {question.name for question in CHECKS} | {"reported"}
    assert checks["steps"]["status"] == "not run"
    assert checks["black_box"]["status"] in ("pass", "fail")
    assert all(check["reason"] for check in checks.values())
    for check in checks.values():
        line = f"{check['status']}  {check['title']}: {check['reason']}"
        assert line in result.notes
    for name in ("k", "held_fresh", "fixed_random", "gradient_draws", "saturation", "surrogate", "transfer"):
        assert checks[name]["status"] == "not run", name


def test_its_details_are_plain_and_hold_curves_and_histograms(result: Result) -> None:
    audit = json.loads(json.dumps(result.details, allow_nan=False))["audit"]
    assert set(audit) >= {"verdict", "reasons", "checks", "curves", "histograms"}
    curve = audit["curves"]["eps"]
    assert curve["x"] == sorted(curve["x"])
    for values in curve["series"].values():
        assert len(values) == len(curve["x"]) == 7
    plane = audit["curves"]["loss on a plane"]
    assert len(plane["series"]) == 5
    assert all(len(values) == len(plane["x"]) == 17 for values in plane["series"].values())
    middles = {label: values[8] for label, values in plane["series"].items()}
    assert len(set(middles.values())) > 1
    for histogram in audit["histograms"].values():
        assert len(histogram["edges"]) == len(histogram["count"]) + 1


def test_the_headline_is_the_union_of_everything_in_the_ball(result: Result) -> None:
    in_ball = [accuracy for name, accuracy in result.details["audit"]["attacks"].items() if "(linf, eps 0.2)" in name]
    assert len(in_ball) > 10
    assert result.metrics["robust_accuracy"].value <= min(in_ball) + 1e-6
    broken = [by for by in result.per_image["broken_by"] if by is not None]
    assert len(broken) == result.per_image["correct"].count(0.0)


def test_it_is_repeatable_and_keeps_a_ledger(result: Result, repeated: tuple[Result, Path]) -> None:
    again, run = repeated
    assert again.per_image == result.per_image
    assert again.details == result.details
    assert any((run / "ledger").rglob("*.safetensors"))


def test_a_randomised_network_answers_the_questions_about_noise(subject_of, noisy) -> None:
    result = Audit(**TINY, skip=["black_box"])(subject_of(noisy))
    checks = {check["name"]: check["status"] for check in result.details["audit"]["checks"]}
    for name in ("k", "held_fresh", "fixed_random", "gradient_draws", "transfer"):
        assert checks[name] in ("pass", "fail"), name
    assert checks["deterministic"] == "fail"
    assert result.metrics["robust_accuracy"].draws == 20
    assert result.metrics["fixed/plain_accuracy"].draws == 1


def test_averaged_logits_still_draw_and_answer_the_questions_about_noise(subject_of, noisy) -> None:
    skip = [question.name for question in CHECKS if question.name not in ("k", "fixed_random", "gradient_draws", "eps")]
    subject = subject_of(noisy)
    result = Audit(**TINY, initial="averaged", average=3, skip=skip)(subject)
    checks = {check["name"]: check for check in result.details["audit"]["checks"]}
    for name in ("k", "fixed_random", "gradient_draws", "eps"):
        assert checks[name]["status"] in ("pass", "fail"), name
    assert "3 held states" in checks["fixed_random"]["reason"]
    assert result.initial == "averaged"
    assert result.metrics["robust_accuracy"].draws == 20
    assert result.metrics["fixed/plain_accuracy"].draws == 1


def test_the_ledger_tells_averages_over_different_numbers_of_draws_apart(subject_of, noisy) -> None:
    subject, counts = subject_of(noisy), []
    for average in (2, 3, 3):
        options = {"initial": "averaged", "average": average, "skip": [question.name for question in CHECKS]}
        Audit(**TINY, **options)(subject)
        counts.append(len(list((subject.run_dir / "ledger").rglob("battery.json"))))
    assert counts[1] == counts[2] == 2 * counts[0]


def test_the_gradients_of_averaged_logits_are_steadier_than_those_of_single_draws(noisy) -> None:
    images, labels = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    options = {"eps": 0.1, "seed": 0, "chunk": 6, "directions": 1}
    single, averaged = (
        gradient_facts(Classifier(*noisy, mode, draws=16), images, labels, **options).cosine
        for mode in ("random", "averaged")
    )
    assert single is not None
    assert averaged is not None
    assert float(averaged.mean()) > float(single.mean()) + 0.1


def test_the_twin_of_averaged_logits_holds_as_many_states(subject_of, noisy) -> None:
    bench = Bench(
        Classifier(*noisy, "averaged", draws=5),
        torch.rand(4, 3, 8, 8),
        torch.arange(4),
        threat=Threat("linf", 0.1),
        seed=0,
        chunk=4,
        draws=20,
    )
    budget = BUDGETS["quick"]
    twin = Case(bench, Arsenal(subject_of(noisy), budget, True, 10), budget, (), (), GradientFacts()).fixed_version()
    assert not twin.stochastic
    assert (twin.mode, twin.draws, twin.held) == ("averaged", 5, True)


def test_fab_meets_a_deterministic_network_at_the_full_budget(small, subject_of, noisy) -> None:
    skip = [question.name for question in CHECKS if question.name not in ("fab", "control")]
    full = {**TINY, "eps": 0.1, "images": 16, "steps": [1, 5]}
    result = Audit(**full, budget="full", skip=skip)(small)
    audit = result.details["audit"]
    checks = {check["name"]: check for check in audit["checks"]}
    found = audit["attacks"]["fab-t-5 (linf, eps 0.1)"]
    assert checks["fab"]["figures"]["second"] == found < result.metrics["clean_accuracy"].value
    assert result.metrics["robust_accuracy"].value <= found
    assert checks["control"]["figures"]["fab-t-5"] == 1.0, "of the images that are right without an attack"
    for options, subject in (
        ({"budget": "quick"}, small),
        ({"budget": "full"}, subject_of(noisy, encoder_hash="1" * 64)),
    ):
        (left,) = (
            check
            for check in Audit(**TINY, **options, skip=[*skip, "control"])(subject).details["audit"]["checks"]
            if check["name"] == "fab"
        )
        assert left["status"] == "not run"
        assert left["reason"] != "skipped (option skip)"


def test_an_audit_without_its_control_never_reads_no_sign_of_masking(small) -> None:
    told = TINY | {"eps": 0.002, "images": 24, "chunk": 24}
    with_it = Audit(**told)(small).details["audit"]
    without = Audit(**told, skip=["control"])(small).details["audit"]
    assert with_it["word"] == "no sign of masking"
    assert without["word"] == "incomplete"
    assert "control" in next(reason for reason in without["reasons"] if reason.startswith("not run"))


@pytest.mark.parametrize("plant", ["scaled", "quantised"])
def test_a_fake_defence_whose_telling_checks_are_skipped_is_given_no_clean_word(small, plant) -> None:
    skip = [question.name for question in CHECKS if question.name not in ("control", "one_step")]
    audit = Audit(**TINY | {"eps": 0.3, "images": 32}, plant=plant, skip=skip)(small).details["audit"]
    assert audit["word"] in ("incomplete", "plain figure too high")
    needed = "eps, black_box, logit_scale, zero_gradients, finite_differences, steps"
    assert needed in audit["verdict"]


def test_the_quick_budget_tries_half_of_the_step_size_as_a_surrogate() -> None:
    assert {"half_gamma", "small_gamma"} <= set(BUDGETS["quick"].surrogates) < set(BUDGETS["full"].surrogates)


def test_the_oscillators_of_a_network_are_looked_at(subject_of) -> None:
    encoder = AKOrN(channels=4, kernel_sizes=(3, 3), num_steps=2).eval()
    asked = ("saturation", "surrogate")
    only = [question.name for question in CHECKS if question.name not in asked]
    result = Audit(**TINY, skip=only)(subject_of((encoder, nn.Linear(8, 10))))
    checks = {check["name"]: check for check in result.details["audit"]["checks"]}
    assert checks["saturation"]["status"] in ("pass", "fail")
    assert set(checks["saturation"]["figures"]) == {f"layer {a}, step {b}" for a in (1, 2) for b in (1, 2)}
    assert checks["surrogate"]["status"] in ("pass", "fail")
    place = checks["saturation"]["figures"]["layer 1, step 1"]
    assert 0 < place["singular_value_least"] == place["singular_value_most"] < 1, "two dimensions: along the force only"
    turns = result.details["audit"]["histograms"]["|gamma F|, layer 1, step 1"]
    assert (turns["passes"], round(10 ** turns["threshold"], 3)) == ("up to", 3.0)


def test_in_l2_the_same_questions_are_answered(small) -> None:
    result = Audit(**{**TINY, "eps": 0.5, "norm": "l2"}, skip=["black_box", "logit_scale", "one_step"])(small)
    assert result.details["audit"]["threat"] == "l2, eps 0.5"
    assert result.metrics["robust_accuracy"].value <= result.metrics["clean_accuracy"].value


def test_the_fake_defence_is_named(small) -> None:
    result = Audit(**TINY, plant="quantised", skip=[question.name for question in CHECKS])(small)
    assert result.notes[0] == "audited with the fake defence 'quantised'"
    assert not isinstance(small.encoder, DrawingEncoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "eps=0: an audit needs eps > 0"),
        ({"eps": 8.0}, "did you mean 8/255"),
        ({"grid": [0.0, 0.1]}, "radii must be above 0"),
        ({"steps": [5]}, r"steps=\[5\]: needs at least two"),
        ({"steps": [5, 5]}, r"steps=\[5, 5\]: needs at least two"),
        ({"k": [4, 1]}, r"k=\[4, 1\]"),
        ({"grid": []}, r"grid=\[\]: needs at least one radius"),
        ({"grid": [8.0]}, r"grid=\[8\.0\]: pixels lie in \[0,1\]: did you mean 8/255"),
        ({"grid": ["eight"]}, r"grid=\['eight'\]: must be a number"),
        ({"queries": 99}, "queries=99: must be at least 100"),
        ({"restarts": 1}, "restarts=1: must be at least 2"),
        ({"directions": 7}, "directions=7: must be at least 8"),
        ({"samples": 0}, "samples=0: must be at least 1"),
        ({"chunk": 0}, "chunk=0"),
        ({"average": 0}, "average=0: must be >= 1"),
        ({"skip": ["blackbox"]}, "unknown check to skip 'blackbox': did you mean 'black_box'"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_options_that_cannot_be_are_answered_in_one_line(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Audit(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 14.0}, r"eps=14: an l2 ball of radius 13\.86 contains every image of 3 x 8 x 8 pixels"),
        ({"eps": 1.0, "grid": [1.0, 20.0]}, r"grid=20: an l2 ball"),
    ],
)
def test_a_ball_that_holds_every_image_is_refused_before_anything_is_attacked(small, options, message) -> None:
    for act in (Audit(**TINY | options | {"norm": "l2"}), Audit(**TINY | options | {"norm": "l2"}).estimate):
        with pytest.raises(UserError, match=message):
            act(small)


def test_no_radius_of_the_curve_is_wider_than_the_cube_of_images(small) -> None:
    skip = [question.name for question in CHECKS if question.name != "eps"]
    audit = Audit(**TINY | {"eps": 6.0, "norm": "l2"}, skip=skip)(small).details["audit"]
    radii = audit["curves"]["eps"]["x"]
    assert radii == sorted(radii)
    assert len(radii) == 6, "none, a quarter, a half, one, two times eps, no bounds"


def test_eot_is_reported_beside_the_plain_attack_for_a_network_that_draws(small, subject_of, noisy) -> None:
    skip = [question.name for question in CHECKS]
    result = Audit(**TINY, skip=skip)(subject_of(noisy, encoder_hash="1" * 64))  # a ledger of its own
    attacks = result.details["audit"]["attacks"]
    eot = [share for name, share in attacks.items() if name.startswith(("eot apgd-ce-k16-2", "eot apgd-dlr-k16-2"))]
    assert len(eot) == 2
    assert result.metrics["eot_accuracy"].draws == 20
    assert result.metrics["robust_accuracy"].value <= result.metrics["eot_accuracy"].value + 0.05, "but for the draws"
    assert len(result.per_image["eot_correct"]) == TINY["images"]
    (found,) = (check for check in result.details["audit"]["checks"] if check["name"] == "reported")
    assert found["figures"]["first"] == pytest.approx(result.metrics["eot_accuracy"].value, abs=1e-6)
    assert "% under EoT" in found["reason"]
    assert "eot_accuracy" not in Audit(**TINY, skip=skip)(small).metrics


def test_a_source_that_is_no_run_is_refused(small, tmp_path) -> None:
    with pytest.raises(UserError, match="transfer"):
        Audit(**TINY, sources=[str(tmp_path)], skip=["black_box"])(small)


def test_an_encoder_without_a_classifier_is_told_to_be_finetuned_first(subject_of, cnn) -> None:
    with pytest.raises(UserError, match=r"audit needs a classifier.*finetune it first"):
        Audit(**TINY)(subject_of((cnn[0], None)))


def test_fewer_than_twenty_draws_of_a_randomised_network_are_refused(subject_of, noisy) -> None:
    with pytest.raises(UserError, match="draws=19"):
        Audit(**TINY, draws=19)(subject_of(noisy))


def _case(subject: Subject) -> Case:
    bench = Bench(
        Classifier(subject.encoder, subject.head),
        torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
        torch.arange(10),
        threat=Threat("linf", 0.1),
        seed=0,
        chunk=4,
        draws=20,
    )
    return Case(bench, Arsenal(subject, BUDGETS["quick"], False, 10), BUDGETS["quick"], (), (), GradientFacts())


def test_a_network_that_wrongly_says_it_is_deterministic_fails_the_rule(small) -> None:
    encoder, case = small.encoder, _case(small)
    assert network_checks.deterministic(case).status == "pass"
    late = 3 * 2  # calls that see the first two chunks; the third alone shows it

    def drop(module, arguments, out):
        return out._replace(pooled=F.dropout(out.pooled, 0.3)) if module.calls >= late else None

    encoder.calls = 1  # two calls a chunk: 2 to 3, 4 to 5, 6 to 7
    handle = encoder.register_forward_hook(drop)
    found = network_checks.deterministic(case)
    handle.remove()
    assert found.status == "fail"
    assert found.reason.startswith("the encoder counts as deterministic (stochastic = False), but two calls on")
    assert "on 2 of 10 images" in found.reason
    assert found.figures["difference_of_two_calls"] > 0


def test_such_a_network_is_refused_before_anything_is_attacked(subject_of, cnn) -> None:
    lines: list[str] = []
    cnn[0].register_forward_hook(lambda _, __, out: out._replace(pooled=F.dropout(out.pooled, 0.3)))
    subject = subject_of(cnn, report=lines.append)
    for act in (Audit(**TINY), Audit(**TINY).estimate):
        with pytest.raises(UserError, match=r"counts as deterministic .* but two calls on the same images differ"):
            act(subject)
    assert lines == []


class OfAnotherPackage(AKOrN):
    """An encoder with Kuramoto layers and an option ``step_size``, but none called ``project``."""

    def __init__(self, *, channels: int = 4, step_size: float = 1.0) -> None:
        super().__init__(channels=channels, kernel_sizes=(3,), num_steps=1, step_size=step_size, initial="fixed")


def test_a_relative_that_cannot_be_built_is_left_out_and_says_why(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(ENCODERS._members, "of_another_package", OfAnotherPackage)
    recipe = {
        "data": {"name": "digits", "size": 8, "limit": 64},
        "views": {"name": "plain"},
        "encoder": {"name": "of_another_package"},
        "objective": {"name": "classification"},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "epochs": 1,
        "batch_size": 64,
        "measure": {"monitor_every": 0, "checkpoint_every": 100},
        "engine": {"device": "cpu"},
    }
    subject = loaded(train(recipe_from(recipe), tmp_path / "run").path)
    audit = Audit(**TINY, skip=[question.name for question in CHECKS if question.name != "transfer"])
    audited = audit(subject).details["audit"]
    (check,) = (check for check in audited["checks"] if check["name"] == "transfer")
    assert check["status"] in ("pass", "fail")
    assert "its own weights without projection not run (transfer: " in check["reason"]
    assert "'project'" in check["reason"]
    assert any(name.startswith("transfer from its own weights, step 0.25") for name in audited["attacks"])

    class WithoutOptions(OfAnotherPackage):
        def __init__(self, *, channels: int = 4) -> None:
            super().__init__(channels=channels)

    monkeypatch.setitem(ENCODERS._members, "of_another_package", WithoutOptions)
    (check,) = (check for check in audit(subject).details["audit"]["checks"] if check["name"] == "transfer")
    assert check["status"] == "not run"
    assert check["reason"].count(" not run (transfer: ") == 2
