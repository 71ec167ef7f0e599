"""The protocol: what it takes, what it refuses, what it leaves behind."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Result, Subject
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.protocol import CHECKS
from sslkuramoto.evaluation.planted import NoisyEncoder

TINY = {
    "eps": 0.2,
    "images": 6,
    "steps": [1, 2],
    "k": [1, 2],
    "restarts": 1,
    "queries": 2,
    "samples": 2,
    "directions": 2,
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


def test_the_oscillators_of_a_network_are_looked_at(subject_of) -> None:
    encoder = AKOrN(channels=4, kernel_sizes=(3, 3), num_steps=2).eval()
    asked = ("saturation", "surrogate")
    only = [question.name for question in CHECKS if question.name not in asked]
    result = Audit(**TINY, skip=only)(subject_of((encoder, nn.Linear(8, 10))))
    checks = {check["name"]: check for check in result.details["audit"]["checks"]}
    assert checks["saturation"]["status"] in ("pass", "fail")
    assert set(checks["saturation"]["figures"]) == {f"layer {a}, step {b}" for a in (1, 2) for b in (1, 2)}
    assert checks["surrogate"]["status"] in ("pass", "fail")
    assert "|gamma F|, layer 1, step 1" in result.details["audit"]["histograms"]


def test_in_l2_the_same_questions_are_answered(small) -> None:
    result = Audit(**{**TINY, "eps": 0.5, "norm": "l2"}, skip=["black_box", "logit_scale", "one_step"])(small)
    assert result.details["audit"]["threat"] == "l2, eps 0.5"
    assert result.metrics["robust_accuracy"].value <= result.metrics["clean_accuracy"].value


def test_the_planted_defence_is_named(small) -> None:
    result = Audit(**TINY, plant="quantised", skip=[question.name for question in CHECKS])(small)
    assert result.notes[0] == "audited with the planted defence 'quantised'"
    assert not isinstance(small.encoder, NoisyEncoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 0.0}, "eps=0: an audit needs room"),
        ({"eps": 8.0}, "did you mean 8/255"),
        ({"grid": [0.0, 0.1]}, "radii must be above 0"),
        ({"steps": [5]}, r"steps=\[5\]: needs at least two"),
        ({"steps": [5, 5]}, r"steps=\[5, 5\]: needs at least two"),
        ({"k": [4, 1]}, r"k=\[4, 1\]"),
        ({"queries": 0}, "queries=0: must be at least 1"),
        ({"chunk": 0}, "chunk=0"),
        ({"skip": ["blackbox"]}, "unknown check to skip 'blackbox': did you mean 'black_box'"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_options_that_cannot_be_are_answered_in_one_line(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Audit(**options)


def test_a_source_that_is_no_run_is_refused(small, tmp_path) -> None:
    with pytest.raises(UserError, match="transfer"):
        Audit(**TINY, sources=[str(tmp_path)], skip=["black_box"])(small)


def test_an_encoder_without_a_classifier_is_told_to_be_finetuned_first(subject_of, cnn) -> None:
    with pytest.raises(UserError, match=r"audit needs a classifier.*finetune it first"):
        Audit(**TINY)(subject_of((cnn[0], None)))


def test_fewer_than_twenty_draws_of_a_randomised_network_are_refused(subject_of, noisy) -> None:
    with pytest.raises(UserError, match="draws=19"):
        Audit(**TINY, draws=19)(subject_of(noisy))
