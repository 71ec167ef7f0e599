"""A certificate from Python, of a network that lies in memory."""

from typing import Any

import numpy as np
import pytest
import torch

import sslkuramoto as sk
from sslkuramoto.errors import UserError


def test_a_certificate_of_a_plain_network_is_the_bracket_of_its_vote_under_noise(plain, some):
    few = {"n0": 20, "n": 100, "draws": 40, "attacks": [{"name": "pgd", "k": 2, "iterations": 2}]}
    found = sk.certify(plain(), some[0][:6], some[1][:6], 0.2, radii=[0.1], options=few)
    assert found["certified_accuracy_0.1"].value <= found["attacked_accuracy_0.1"].value
    assert any(note.startswith("between ") and "at l2 0.1, sigma 0.2" in note for note in found.notes)
    both = sk.certify(plain(), some[0][:2], some[1][:2], [0.1, 0.2], options={**few, "attacks": []})
    assert {"sigma_0.1/smoothed_accuracy", "sigma_0.2/certified_accuracy_0.2"} <= {*both.metrics}
    wrong: list[Any] = [0.0, -1.0, "0.2", [], True]
    for sigma in wrong:
        with pytest.raises(UserError, match="sigma"):
            sk.certify(plain(), some[0], some[1], sigma)


@pytest.mark.parametrize("draws", [False, True])
def test_a_network_that_answers_by_its_batch_gets_no_certificate_unless_it_answers_alone(plain, some, draws):
    """With BatchNorm in training mode copies of one image are normalised by themselves."""
    network = plain(torch.nn.BatchNorm2d(3))
    network.change.train()
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    few: dict[str, Any] = {"n0": 20, "n": 100, "draws": 40, "attacks": []}

    def noisy(images):
        return network(images + 0.1 * torch.randn_like(images) if draws else images)

    def alone(images):
        return torch.cat([noisy(image[None]) for image in images])

    if draws:  # its images are asked one by one in any case
        sk.certify(noisy, some[0][:4], some[1][:4], 0.2, radii=[0.1], options=few)
    else:
        with pytest.raises(UserError, match=r"depends on the other images of its batch .* no certificate holds"):
            sk.certify(network, some[0][:4], some[1][:4], 0.2, radii=[0.1], options=few)
        assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    sk.certify(alone, some[0][:4], some[1][:4], 0.2, radii=[0.1], options=few)


def test_a_network_that_has_no_answer_to_some_noise_is_certified(plain, some):
    """nan to an image alone is no dependence on its batch; it counts as a wrong vote."""
    network = plain()

    def sometimes(images):
        return network(images).where(images.amax(dim=(1, 2, 3))[:, None] < 1.3, torch.nan)

    few: dict[str, Any] = {"n0": 20, "n": 100, "draws": 40, "attacks": []}
    found = sk.certify(sometimes, some[0][:4], some[1][:4], 0.2, radii=[0.1], options=few)
    assert 0 <= found["certified_accuracy_0.1"].value < 1


def test_sigma_and_radii_may_be_numbers_of_numpy_and_torch_and_one_radius_is_a_list(plain, some):
    few: dict[str, Any] = {"n0": 20, "n": 100, "draws": 40, "attacks": []}
    listed = sk.certify(plain(), some[0][:4], some[1][:4], [0.25], radii=[0.125], options=few)
    for sigma, radii in ((np.float32(0.25), np.array([0.125])), (torch.tensor([0.25]), torch.tensor([0.125]))):
        found = sk.certify(plain(), some[0][:4], some[1][:4], sigma, radii=radii, options=few)  # pyright: ignore
        assert found.metrics == listed.metrics
    with pytest.raises(UserError, match=r"radii=0\.125: must be a list"):
        sk.certify(plain(), some[0][:4], some[1][:4], radii=0.125)  # pyright: ignore[reportArgumentType]
