"""Attacks, audit, corruptions and calibration keep their promises on a CUDA device too."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_attacks import NAMES, directly, few
from torch import nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.evaluation import PROTOCOLS, Result
from sslkuramoto.evaluation.classification.subset import chosen_images
from sslkuramoto.evaluation.corruptions import CORRUPTIONS, ImageDraws, corrupted
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import Threat

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICE = torch.device("cuda")


@pytest.fixture
def measured(subject_of: Callable[..., Any], tmp_path) -> Callable[..., Result]:
    """Measure a network by a protocol on the device."""

    def measure(network: tuple[Encoder, nn.Linear], protocol: str, **options: Any) -> Result:
        moved = (network[0].to(DEVICE), network[1].to(DEVICE))
        subject = subject_of(moved, device=DEVICE, run_dir=tmp_path / "run")
        return PROTOCOLS.build(protocol, options)(subject)

    return measure


@pytest.fixture
def akorn() -> tuple[Encoder, nn.Linear]:
    """An oscillator network of random weights."""
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build("akorn", {"channels": 4, "kernel_sizes": [3, 3, 3]})
        head = nn.Linear(encoder.num_features, 10)
    return encoder.eval(), head.eval()


@pytest.mark.parametrize("network", ["random", "fixed", "fixed_per_image"])
def test_every_attack_keeps_to_the_ball_and_returns_the_image_at_eps_0(akorn, measured, network):
    """The protocol asserts both, the latter on the images of the control."""
    before = torch.cuda.get_rng_state(), torch.get_rng_state()
    found = measured(
        akorn,
        "robustness",
        attacks=[few(name) for name in NAMES],
        initial=network,
        eps=0.1,
        images=8,
        chunk=8,
        select_draws=20,
        control=2,
    )
    assert torch.equal(before[0], torch.cuda.get_rng_state())
    assert torch.equal(before[1], torch.get_rng_state())
    assert found.metrics["control_accuracy"] == found.metrics["control_clean_accuracy"]
    assert found.metrics["robust_accuracy"].value <= found.metrics["clean_accuracy"].value + 0.05


def test_autoattack_agrees_with_pyautoattack_called_directly(cnn, measured, subject_of):
    counts = {"iterations": 5, "queries": 15, "targets": 3}
    found = measured(
        cnn,
        "robustness",
        attacks=[{"name": "autoattack", "version": "standard", **counts}],
        eps=0.1,
        images=20,
        chunk=20,
        control=0,
    )
    chosen = chosen_images(subject_of(cnn, device=DEVICE), "test", 20, 20)
    images, labels = chosen.pixels, chosen.labels
    classifier = Classifier(*cnn)
    adversarial = directly(classifier, images, labels, Threat("linf", 0.1), "standard", 0, **counts)
    standing = (classifier(adversarial).argmax(1) == labels).tolist()
    assert [by is None for by in found.per_image["broken_by"]] == standing
    assert 0 < sum(standing) < 20, "the example must hold both outcomes"


@pytest.mark.parametrize("plant", ["quantised", "scaled", "noisy"])
def test_the_audit_exposes_a_fake_defence(cnn, measured, plant):
    found = measured(cnn, "audit", eps=0.3, plant=plant)
    assert found.details["audit"]["word"] == "masked"


def test_the_audit_of_an_oscillator_network_answers_every_question(akorn, measured):
    found = measured(akorn, "audit", eps=0.1, images=16, chunk=16)
    assert {check["status"] for check in found.details["audit"]["checks"]} <= {"pass", "fail", "not run"}
    assert next(check for check in found.details["audit"]["checks"] if check["name"] == "control")["status"] == "pass"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_that_of_the_cpu(name, digits):
    images = digits["test"].images[:16].float().div(255)
    here, there = (
        corrupted(name, images.to(device), 3, ImageDraws(torch.arange(16), device, name)).cpu()
        for device in (torch.device("cpu"), DEVICE)
    )
    assert (here - there).abs().mean() < 1e-3
    assert (here - images).abs().mean() > 1e-3


def test_calibration_is_that_of_the_cpu(cnn, subject_of, digits):
    values = []
    for device in (torch.device("cpu"), DEVICE):
        data = {**digits, "val": digits["train"]}
        subject = subject_of((cnn[0].to(device), cnn[1].to(device)), device=device, data=data.__getitem__)
        values.append(PROTOCOLS.build("calibration", {})(subject).metrics)
    assert values[0].keys() == values[1].keys()
    for name, metric in values[0].items():
        assert values[1][name].value == pytest.approx(metric.value, abs=1e-3), name
