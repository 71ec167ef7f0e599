"""Objectives on a plain module that returns features, without ``draw``."""

import pytest
import torch
from torch import nn

from sslkuramoto.encoders import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, encode

SMALL = {"projector_hidden": 8, "projector_out": 8}
OPTIONS = {
    "simclr": SMALL,
    "simsiam": {**SMALL, "predictor_hidden": 8},
    "byol": {**SMALL, "predictor_hidden": 8},
    "phinet": {**SMALL, "predictor_hidden": 8},
    "xphinet": {**SMALL, "predictor_hidden": 8},
    "vicreg": SMALL,
    "classification": {},
}


def backbone() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.num_features = 6
    return network


@pytest.mark.parametrize("name", OPTIONS)
def test_an_objective_trains_a_plain_module_without_draws(name):
    network = backbone()
    objective = OBJECTIVES.build(name, OPTIONS[name], network, 3)
    images = torch.rand(8, 3, 8, 8)
    views = {view: images + 0.01 * number for number, view in enumerate(objective.views)}
    step = objective(network, views, labels=torch.arange(8) % 3)
    step.loss.backward()
    assert step.features.shape == (8, 6)
    assert any(float(each.grad.abs().sum()) > 0 for each in network.parameters() if each.grad is not None)
    objective.after_step(network, 0.5)


def test_a_module_that_does_not_say_how_long_its_features_are_is_refused():
    with pytest.raises(UserError, match="Sequential does not say how long its features are: set its num_features"):
        OBJECTIVES.build("simclr", SMALL, nn.Sequential(nn.Flatten()), 3)


def test_an_encoder_that_draws_still_says_that_it_needs_a_draw():
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1)
    with pytest.raises(UserError, match="needs draw="):
        encode(encoder, torch.rand(2, 3, 8, 8))


def test_features_of_an_encoder_in_a_wrapper_are_drawn_too():
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1)

        def forward(self, *arguments, **keywords):
            return self.module(*arguments, **keywords)

    draw = torch.Generator().manual_seed(0)
    assert encode(Wrapped(), torch.rand(2, 3, 8, 8), draw).shape[0] == 2
