"""The smoothed classifier: closed forms of a linear network, independent draws, gradients through the noise."""

import math
from statistics import NormalDist

import pytest
import torch
from linear_network import Linear, classifier_of, some_images
from scipy.stats import binomtest
from torch import nn

from sslkuramoto.any_network import as_classifier
from sslkuramoto.evaluation.certificates.bound import Plan
from sslkuramoto.evaluation.certificates.bracket import Bracket
from sslkuramoto.evaluation.certificates.smoothed import smoothed, votes
from sslkuramoto.randomness import generator


@pytest.mark.parametrize("coin", [0.0, 2.0])
@pytest.mark.parametrize("sigma", [0.2, 1.0])
def test_the_votes_of_a_linear_network_have_the_probability_of_the_closed_form(sigma, coin) -> None:
    """With a coin the base classifier draws itself, and its draws count among those of the vote."""
    linear = Linear(threshold=0.5, coin=coin)
    classifier = smoothed(classifier_of(linear), sigma)
    for image in some_images(4):
        found = votes(classifier, image, 2000, 300, "test")
        expected = float(linear.probability(image[None], sigma))
        assert int(found.sum()) == 2000
        assert binomtest(int(found[1]), 2000, expected).pvalue > 1e-3


def test_the_certified_radius_of_a_linear_network_is_below_its_distance_to_the_boundary_and_close_to_it() -> None:
    linear = Linear()
    images, sigma = some_images(60), 0.5
    distances = linear.margin(images).abs() / linear.weights.norm()
    labels = (linear.margin(images) > 0).long()
    plan = Plan(sigma, n0=1000, n=4000, alpha=0.001, stages=1, target=9.0)
    bracket = Bracket(smoothed(classifier_of(linear), sigma), images, labels, torch.arange(60), plan, 100, 20, 1000)
    near = 0
    for certificate, distance, label in zip(bracket.certificates(), distances.tolist(), labels.tolist(), strict=True):
        if certificate.abstains:
            assert distance < 0.2 * sigma, "far from the boundary nothing abstains"
            continue
        assert certificate.chosen == label
        assert certificate.radius <= distance
        near += distance <= 2 * sigma
        if distance <= 2 * sigma:
            assert certificate.radius > distance - 0.15 * sigma
    assert near > 20


def test_a_coin_of_the_base_classifier_shrinks_the_radius_as_the_closed_form_says() -> None:
    linear = Linear(coin=3.0)
    image = some_images(1)
    sigma = 0.5
    plan = Plan(sigma, n0=50, n=20_000, alpha=0.001, stages=1, target=9.0)
    bracket = Bracket(
        smoothed(classifier_of(linear), sigma), image, torch.ones(1).long(), torch.arange(1), plan, 20, 1, 5000
    )
    probability = float(linear.probability(image, sigma))
    exact = sigma * NormalDist().inv_cdf(max(probability, 1 - probability))
    (certificate,) = bracket.certificates()
    assert exact - 0.03 < certificate.radius <= exact
    assert exact < float(linear.margin(image).abs() / linear.weights.norm())


def test_noise_is_not_clipped() -> None:
    """An image of zeros: clipped noise would have a positive mean."""
    linear = Linear()
    linear.weights = torch.ones(27)
    found = votes(smoothed(classifier_of(linear), 1.0), torch.zeros(3, 3, 3), 4000, 1000, "test")
    assert binomtest(int(found[1]), 4000, 0.5).pvalue > 1e-3


def test_a_network_that_draws_once_for_a_batch_gives_independent_votes() -> None:
    """One coin a batch decides the class: all votes of a pass would agree if they shared a draw."""

    class OneCoin(nn.Module):
        def forward(self, images):
            side = torch.rand(()).round() * 2 - 1
            return torch.stack([0 * images.sum((1, 2, 3)) + side, 0 * images.sum((1, 2, 3))], dim=1)

    images = some_images(20)
    classifier = smoothed(as_classifier(OneCoin(), images, torch.arange(20) % 2), 0.1)
    found = votes(classifier, images[0], 200, 100, "test")
    assert binomtest(int(found[0]), 200, 0.5).pvalue > 1e-3
    assert min(found[:2]) > 50


def test_the_same_key_repeats_the_votes_and_another_key_does_not() -> None:
    classifier = smoothed(classifier_of(Linear(threshold=0.5, coin=1.0)), 0.5)
    image = some_images(1)[0]
    first, again, other = (votes(classifier, image, 500, 100, key) for key in ("a", "a", "b"))
    assert first.equal(again)
    assert not first.equal(other)


def test_held_noise_gives_the_same_logits_and_gradients_reach_the_pixels() -> None:
    linear = Linear(coin=1.0)
    classifier = smoothed(classifier_of(linear), 0.5)
    images = some_images(3).requires_grad_()
    states = classifier.encoder.sample_initial(images, generator("cpu", "held"))
    logits = classifier(images, initial=states)
    assert logits.equal(classifier(images, initial=states))
    assert not logits.equal(classifier(images, draw=generator("cpu", "fresh")))
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), images)
    assert torch.allclose(gradient, linear.weights.view(1, 3, 3, 3).expand(3, -1, -1, -1))


def test_answers_that_are_not_numbers_are_counted_apart() -> None:
    linear = Linear(threshold=math.nan)
    assert votes(smoothed(classifier_of(linear), 0.5), some_images(1)[0], 50, 20, "test").tolist() == [0, 0, 50]
