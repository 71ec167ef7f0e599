"""Protocol ``calibration`` on small networks: every number again from the logits, and whence the temperature comes."""

import json
import math
from pathlib import Path

import pytest
import torch

from sslkuramoto.classifier import Classifier
from sslkuramoto.data import DATA
from sslkuramoto.earlier_trainings import Training
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.protocol import Calibration
from sslkuramoto.evaluation.calibration.scores import (
    brier_score,
    expected_calibration_error,
    mixture_logits,
    negative_log_likelihood,
)
from sslkuramoto.evaluation.calibration.temperature import fit_temperature
from sslkuramoto.evaluation.classification.clean import Clean
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Part

EVERY = ("ece", "ece_equal_mass", "ece_10", "ece_20", "nll", "brier")


@pytest.fixture(scope="module")
def kept_back() -> dict:
    """Digits of a run that kept val images back."""
    return {split: DATA.build("digits", {"holdout": 0.1}, split) for split in ("train", "val", "test")}


def trained_on(run: str = "run", **options) -> Training:
    """Return a training on digits."""
    return Training(Path(run), Part("digits", options))


def logits_of(network, images, draws: int, *key: str) -> torch.Tensor:
    """Return logits with the noise that the protocol names: chunk i of draw k."""
    classifier = Classifier(*network)
    pixels = images.images.float() / 255
    with torch.no_grad():
        return torch.stack(
            [
                torch.cat(
                    [
                        classifier(chunk, draw=generator("cpu", 0, *key, k, i))
                        for i, chunk in enumerate(pixels.split(64))
                    ]
                )
                for k in range(draws)
            ]
        )


def measured(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return the mean over draws of every measure."""
    found = dict.fromkeys(EVERY, 0.0)
    for one in logits:
        confidence, predicted = one.double().softmax(dim=1).max(dim=1)
        pair = (confidence, predicted == labels)
        values = {
            "ece": 100 * expected_calibration_error(*pair),
            "ece_equal_mass": 100 * expected_calibration_error(*pair, kind="equal-mass"),
            "ece_10": 100 * expected_calibration_error(*pair, 10),
            "ece_20": 100 * expected_calibration_error(*pair, 20),
            "nll": float(negative_log_likelihood(one, labels).mean()),
            "brier": float(brier_score(one.softmax(dim=1), labels).mean()),
        }
        found = {name: total + values[name] / len(logits) for name, total in found.items()}
    return found


@pytest.mark.parametrize("kind", ["cnn", "noisy"])
def test_every_number_comes_again_from_the_logits(kind, request, subject_of, kept_back):
    network = request.getfixturevalue(kind)
    draws = 20 if kind == "noisy" else 1
    known = (trained_on(holdout=0.1),)
    result = Calibration()(subject_of(network, data=kept_back.__getitem__, trainings=known))
    test, val = kept_back["test"], kept_back["val"]
    logits = logits_of(network, test, draws, "clean")
    held = logits_of(network, val, draws, "calibration", "temperature")
    for prefix, own, kept in (
        ("", logits, held),
        ("mixture/", mixture_logits(logits)[None], mixture_logits(held)[None]),
    ):
        temperature = fit_temperature(kept.flatten(0, 1), val.labels.repeat(len(kept))).value
        assert result.metrics[f"{prefix}temperature"].value == pytest.approx(temperature, rel=1e-4)
        for ending, scaled in (("", own), ("_scaled", own / temperature)):
            for name, value in measured(scaled, test.labels).items():
                metric = result.metrics[f"{prefix}{name}{ending}"]
                assert metric.value == pytest.approx(value, rel=1e-3, abs=1e-6), f"{prefix}{name}{ending}"
                assert (metric.n, metric.draws) == (360, draws)
                assert 0 <= metric.low < metric.value < metric.high
    assert result.metrics["temperature"].n == len(val) == 144
    for name, metric in result.metrics.items():  # what all draws share has no deviation, least of all one of zero
        shared = name.startswith("mixture/") or name == "temperature"
        assert (metric.std_over_draws is None) == shared, name
        if kind == "noisy" and not shared:
            assert metric.std_over_draws > 0, name
    assert "144 val images, which the network was not trained on" in result.notes[0]


def test_its_accuracy_is_that_of_protocol_clean(noisy, subject_of, kept_back):
    subject = subject_of(noisy, data=kept_back.__getitem__)
    result, clean = Calibration()(subject), Clean()(subject)
    assert result.metrics["accuracy"] == clean.metrics["accuracy"]
    assert result.per_image["correct"] == clean.per_image["correct"]
    assert result.metrics["mixture/accuracy"].value > clean.metrics["accuracy"].value + 0.02


def test_one_draw_and_the_mixture_of_a_deterministic_network_are_the_same(cnn, subject_of, kept_back):
    result = Calibration()(subject_of(cnn, data=kept_back.__getitem__))
    for name in ("accuracy", "temperature", *EVERY, *(f"{name}_scaled" for name in EVERY)):
        assert result.metrics[name].value == pytest.approx(result.metrics[f"mixture/{name}"].value, rel=1e-9)
    assert result.initial == "deterministic"


def test_scaling_undoes_what_sharpened_the_logits(cnn, subject_of, kept_back):
    before = Calibration()(subject_of(cnn, data=kept_back.__getitem__)).metrics
    with torch.no_grad():
        cnn[1].weight.mul_(16)
        cnn[1].bias.mul_(16)
    after = Calibration()(subject_of(cnn, data=kept_back.__getitem__)).metrics
    assert after["temperature"].value == pytest.approx(16 * before["temperature"].value, rel=1e-4)
    for name in ("ece", "nll", "brier"):
        assert after[f"{name}_scaled"].value == pytest.approx(before[f"{name}_scaled"].value, rel=1e-3)
    assert after["nll_scaled"].value < 0.5 * after["nll"].value


def test_the_result_can_be_written_and_its_diagrams_hold_every_answer(noisy, subject_of, kept_back):
    result = Calibration(bins=(8,))(subject_of(noisy, data=kept_back.__getitem__))
    details = json.loads(json.dumps(result.details, allow_nan=False))
    kinds = [f"8 {kind}{ending}" for kind in ("equal-width", "equal-mass") for ending in ("", " scaled")]
    assert set(details["reliability"]) == {*kinds, *(f"mixture {kind}" for kind in kinds)}
    for name, diagram in details["reliability"].items():
        answers = 360 if name.startswith("mixture") else 20 * 360
        assert sum(diagram["count"]) == answers
        assert len(diagram["edges"]) == len(diagram["count"]) + 1
        gaps = [
            count / answers * abs(accuracy - confidence)
            for count, accuracy, confidence in zip(
                diagram["count"], diagram["accuracy"], diagram["confidence"], strict=True
            )
            if count
        ]
        assert diagram["ece"] == pytest.approx(100 * sum(gaps), abs=1e-3)
    # triangle inequality: errors of single draws can only cancel in the bins of all
    assert details["reliability"]["8 equal-width"]["ece"] <= result.metrics["ece"].value + 1e-6
    assert details["temperature"]["one draw"]["value"] == result.metrics["temperature"].value
    assert 0 < details["if_calibrated"]["one draw"]["mean"] < details["if_calibrated"]["one draw"]["q95"]
    assert {metric.unit for metric in result.metrics.values()} == {"fraction", "percent", "nats", "score", "factor"}


def test_it_repeats_itself_and_leaves_the_global_generator_alone(noisy, subject_of, kept_back):
    before = torch.get_rng_state()
    first, second = (Calibration(images=40)(subject_of(noisy, data=kept_back.__getitem__)) for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert len(first.per_image["index"]) == first.data["n"] == first.metrics["ece"].n == 40
    assert first.per_image["index"] == sorted(set(first.per_image["index"]))


def test_a_run_that_kept_no_images_back_has_no_temperature_and_a_note(cnn, subject_of):
    result = Calibration()(subject_of(cnn, data=lambda split: DATA.build("digits", {}, split)))
    assert not any("scaled" in name or "temperature" in name for name in result.metrics)
    assert "training held out no val images" in result.notes[0]
    assert math.isfinite(result.metrics["ece"].value)
    without = Calibration(temperature=False)(subject_of(cnn))
    assert without.metrics == result.metrics
    assert len(without.notes) == 1


def test_val_images_of_a_changed_split_are_refused_for_the_network_may_have_seen_them(cnn, subject_of, kept_back):
    own = (trained_on(holdout=0.0),)
    subject = subject_of(cnn, data=kept_back.__getitem__, data_options={"holdout": 0.1}, trainings=own)
    with pytest.raises(
        UserError, match=r"held_out=val: the run was trained with data\.holdout=0\.0.*temperature=false"
    ):
        Calibration()(subject)
    assert "temperature" not in Calibration(temperature=False)(subject).metrics


def test_nothing_is_claimed_of_val_images_where_a_training_is_not_known(cnn, subject_of, kept_back):
    gone = (trained_on(holdout=0.1), Training(Path("gone"), None))
    for trainings in ((), gone):
        result = Calibration(images=40)(subject_of(cnn, data=kept_back.__getitem__, trainings=trainings))
        assert result.notes[0] == "temperature fitted on 144 val images"


def test_the_run_that_a_network_started_from_may_have_seen_its_val_images(cnn, subject_of, kept_back):
    trainings = (trained_on(holdout=0.1), trained_on(holdout=0.0, run="runs/pre"))
    (note, _) = Calibration()(subject_of(cnn, data=kept_back.__getitem__, trainings=trainings)).notes[:2]
    assert note.endswith(
        "images; runs/pre, from which it started, was trained with data.holdout=0.0, perhaps on some of them"
    )


def test_a_share_of_the_training_images_is_taken_with_a_warning(cnn, subject_of):
    result = Calibration(held_out=0.25)(subject_of(cnn))
    assert result.metrics["temperature"].n == round(0.25 * 1437)
    assert "training images, which biases it low" in result.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": ()}, r"bins=\[\]: must be a list"),
        ({"bins": (15, 15)}, r"bins=\[15, 15\]: must be a list of different"),
        ({"bins": (0,)}, r"bins=\[0\]"),
        ({"average": 0}, "average=0: must be >= 1"),
        ({"images": 0}, "images=0: must be >= 1"),
        ({"held_out": 1.5}, r"held_out=1.5: must be in \(0, 1\], or val"),
        ({"split": "val"}, "split=val: a temperature is not measured on the images it was fitted on"),
        ({"draws": 0}, "draws=0"),
    ],
)
def test_a_bad_option_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Calibration(**options)


def test_few_draws_and_a_run_without_classifier_are_refused(noisy, cnn, subject_of):
    with pytest.raises(UserError, match=r"draws=19.*at least 20"):
        Calibration(draws=19)(subject_of(noisy))
    with pytest.raises(UserError, match="calibration needs a classifier"):
        Calibration()(subject_of((cnn[0], None)))


def test_probabilities_in_place_of_logits_are_refused(cnn, subject_of):
    encoder, head = cnn

    class Sure(torch.nn.Linear):
        def forward(self, features):
            return super().forward(features).softmax(dim=1)

    sure = Sure(24, 10)
    sure.load_state_dict(head.state_dict())
    with pytest.raises(UserError, match="returns probabilities"):
        Calibration()(subject_of((encoder, sure)))
