"""The nearest confirmed mistake on a ray: against a boundary that is known."""

import pytest
import torch

from sslkuramoto.evaluation.robustness.ray import CLOSE, LOOKS, nearest_on_rays
from sslkuramoto.threat import Threat

GREY = torch.full((5, 3, 2, 2), 0.5)


def beyond(boundary):
    """Return a rule of mistakes, for images whose distance in l-inf from grey is at least ``boundary``."""
    looks = []

    def mistaken(points):
        looks.append(len(points))
        return (points - GREY).abs().flatten(1).amax(dim=1) >= torch.tensor(boundary)

    return mistaken, looks


def moved(*lengths):
    return GREY + torch.tensor(lengths)[:, None, None, None]


def test_the_length_found_is_the_shortest_confirmed_one_to_five_percent():
    boundary = [0.1, 0.1, 0.123, 0.3, 0.4]
    mistaken, looks = beyond(boundary)
    points, distances = nearest_on_rays(moved(0.01, 0.09, 0.5, 0.1, 0.5), GREY, Threat("linf", 0.5), mistaken)
    assert (distances >= torch.tensor(boundary)).all()
    assert (distances <= CLOSE * torch.tensor(boundary)).all()
    torch.testing.assert_close((points - GREY).abs().flatten(1).amax(dim=1), distances)
    assert len(looks) <= LOOKS


def test_nothing_is_found_beyond_the_ball_and_the_edge_of_the_ball_is_tried():
    mistaken, _ = beyond([0.21, 0.2 - 1e-6, 0.21, 0.21, 0.21])
    points, distances = nearest_on_rays(moved(0.07, 0.07, 0.0, 0.2, 0.19), GREY, Threat("linf", 0.2), mistaken)
    assert distances[1] == pytest.approx(0.2, abs=1e-6)
    assert distances[[0, 2, 3, 4]].tolist() == [torch.inf] * 4
    assert torch.equal(points[[0, 2, 3, 4]], GREY[:4])
    Threat("linf", 0.2).check(points, GREY, "points")


def test_one_look_keeps_the_length_of_every_perturbation():
    mistaken, looks = beyond([0.05, 0.2, 0.2, 0.2, 0.2])
    _, distances = nearest_on_rays(moved(0.1, 0.1, 0.1, 0.1, 0.1), GREY, Threat("linf", 0.5), mistaken, looks=1)
    assert distances.tolist() == pytest.approx([0.1, *[torch.inf] * 4])
    assert len(looks) == 1


def test_perturbations_stay_pixels():
    mistaken, _ = beyond([0.5] * 5)
    points, _ = nearest_on_rays(moved(0.1, 0.2, 0.3, 0.4, 0.45), GREY, Threat("linf", 1.0), mistaken)
    assert torch.equal(points, torch.ones_like(GREY))
