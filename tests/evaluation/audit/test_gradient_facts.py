"""Gradient diagnostics on functions whose gradient is known."""

import pytest
import torch
from torch import nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import AKOrN, Encoder, Features
from sslkuramoto.evaluation.audit.gradients import (
    correlation,
    draws_for_direction,
    gradient_facts,
    losses,
    mean_cosine,
)
from sslkuramoto.randomness import generator


class Flat(Encoder):
    """Pixels as features, with a wave on top: the finer the wave, the less its gradient says."""

    num_features = 48

    def __init__(self, height: float = 0.0, length: float = 1.0) -> None:
        super().__init__()
        self.height, self.length = height, length
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        pixels = images.flatten(1) * self.scale
        wave = self.height * self.length * torch.sin(pixels / self.length)
        return Features(pixels + wave, images)


def facts_of(encoder: Encoder, **changes):
    head = nn.Linear(encoder.num_features, 5)
    draw = generator("cpu", "gradient test")
    nn.init.normal_(head.weight, generator=draw)
    nn.init.zeros_(head.bias)
    side = 4 if isinstance(encoder, Flat) else 8
    images = torch.rand(6, 3, side, side, generator=draw)
    labels = torch.randint(0, 5, (6,), generator=draw)
    options = {"eps": 0.1, "seed": 0, "chunk": 4, "directions": 40} | changes
    return gradient_facts(Classifier(encoder.eval(), head), images, labels, **options)


def test_a_linear_network_agrees_with_finite_differences_and_rises_along_its_gradient() -> None:
    facts = facts_of(Flat(), eps=1e-3)
    for seen in facts.agreement.values():
        assert seen.min() > 0.99
    assert facts.rises is not None
    assert facts.rises.mean() == 1.0
    assert facts.cosine is None
    assert float(facts.zero["margin"].sum()) == 0.0
    line = facts.along["gradient"]
    assert line == sorted(line)


def test_a_gradient_that_is_right_at_a_point_only_disagrees_at_the_distance_of_eps() -> None:
    facts = facts_of(Flat(height=30.0, length=0.002))
    assert facts.agreement[1.0].median() < 0.4
    smooth = facts_of(Flat(height=0.3, length=2.0))
    assert smooth.agreement[1.0].median() > 0.95


def test_rounded_outputs_have_no_gradient_and_no_agreement() -> None:
    class Rounded(Flat):
        def forward(self, images, **given) -> Features:
            pooled, grid, _ = super().forward(images)
            return Features(pooled.round(), grid)

    facts = facts_of(Rounded())
    for dead in facts.zero.values():
        assert dead.mean() == 1.0
    assert all(float(seen.abs().max()) == 0.0 for seen in facts.agreement.values())
    assert facts.rises is not None
    assert facts.rises.mean() == 0.0


def test_a_stochastic_network_has_a_cosine_between_draws_below_one() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = AKOrN(channels=4, kernel_sizes=(3, 3), num_steps=1)
    facts = facts_of(encoder, directions=4)
    assert facts.cosine is not None
    assert facts.cosine.shape == (6,)
    assert float(facts.cosine.max()) < 0.999
    again = facts_of(encoder, directions=4).cosine
    assert again is not None
    assert torch.equal(facts.cosine, again)


def test_mean_cosine_is_that_of_all_pairs() -> None:
    a, b, c = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 3.0]])
    assert float(mean_cosine([a, b, c])) == pytest.approx((0 + 2 * 0.5**0.5) / 3)
    assert float(mean_cosine([a, torch.zeros(1, 2)])) == 0.0


def test_correlation_of_a_vanishing_column_is_zero() -> None:
    predicted = torch.tensor([[1.0, 0.0], [-2.0, 0.0]])
    seen = torch.tensor([[-1.0, 3.0], [2.0, 4.0]])
    assert correlation(predicted, seen).tolist() == pytest.approx([-1.0, 0.0])


def test_draws_for_a_direction_follow_from_the_mean_of_unit_vectors() -> None:
    # K unit vectors of mutual cosine r: their mean has cosine sqrt(K r / (1 + (K - 1) r)) with the expected one
    r, count = 0.05, draws_for_direction(0.05)
    assert (count * r / (1 + (count - 1) * r)) ** 0.5 == pytest.approx(0.9)
    assert draws_for_direction(1.0) == 1.0
    assert draws_for_direction(0.0) == float("inf")


def test_the_losses_rise_as_the_right_class_loses() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    label = torch.tensor([0])
    assert float(losses(logits, label, "margin")) == -2.0
    assert losses(logits, label, "cross entropy") < losses(logits.flip(1), label, "cross entropy")
