"""The fake defences look robust and are not."""

import pytest
import torch
from torch.nn import functional as F

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.audit.fake_defences import NoisyEncoder, planted
from sslkuramoto.randomness import generator


@pytest.fixture
def images(digits) -> torch.Tensor:
    return digits["test"].images[:16].float() / 255


def test_a_detached_head_gives_the_same_logits_and_no_graph(cnn, images) -> None:
    plain, fake = Classifier(*cnn), Classifier(*planted("detached", *cnn))
    moved = images.clone().requires_grad_()
    assert torch.equal(fake(moved), plain(images))
    assert plain(moved).requires_grad
    assert not fake(moved).requires_grad


def gradient(classifier: Classifier, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    moved = images.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(classifier(moved), labels, reduction="sum"), moved)[0]


@pytest.mark.parametrize("plant", ["quantised", "scaled"])
def test_it_keeps_the_classes_and_takes_the_gradient(plant, cnn, images) -> None:
    plain, fake = Classifier(*cnn), Classifier(*planted(plant, *cnn))
    labels = plain(images).argmax(dim=1)
    same = fake(images).argmax(dim=1) == labels  # rounded logits may tie
    assert float(same.float().mean()) > 0.8
    assert float(gradient(plain, images, labels).abs().flatten(1).amax(dim=1).min()) > 0
    dead = gradient(fake, images, labels).abs().flatten(1).amax(dim=1) == 0
    assert float(dead.float().mean()) > 0.9


def test_noise_is_drawn_at_every_call_and_can_be_held(cnn, images) -> None:
    noisy = planted("noisy", *cnn)
    assert noisy[0].stochastic
    random, fixed = Classifier(*noisy), Classifier(*noisy, "fixed")
    assert random.stochastic
    assert not torch.equal(random(images), random(images))
    assert torch.equal(fixed(images), fixed(images))
    field = noisy[0].sample_initial(images, generator("cpu", 1))
    expected = Classifier(*cnn)(images + noisy[0].sigma * field)
    assert torch.equal(random(images, initial=field), expected)


def test_noise_before_oscillators_carries_both_in_one_field() -> None:
    inner = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    noisy = NoisyEncoder(inner, sigma=0.1)
    images = torch.rand(2, 3, 8, 8)
    field = noisy.sample_initial(images, generator("cpu", 2))
    assert field.shape == (2, 3 + 4, 8, 8)
    expected = inner(images + 0.1 * field[:, :3], initial=field[:, 3:]).pooled
    assert torch.equal(noisy(images, initial=field).pooled, expected)


def test_noise_wants_a_source(cnn, images) -> None:
    with pytest.raises(UserError, match="needs draw="):
        planted("noisy", *cnn)[0](images)


def test_no_plant_leaves_the_network_as_it_is(cnn) -> None:
    assert planted(None, *cnn) == cnn
