"""A network that draws only where it is unsure looks deterministic until it is attacked."""

import pytest
import torch

import sslkuramoto as sk


def test_a_network_that_draws_on_attacked_images_only_is_refused_and_not_scored_by_one_draw(plain, some):
    network, (images, labels) = plain(), some
    with torch.no_grad():
        margins = network(images).softmax(dim=1).amax(dim=1, keepdim=True)

    def unsure(pixels: torch.Tensor) -> torch.Tensor:
        logits = network(pixels)
        sure = logits.softmax(dim=1).amax(dim=1, keepdim=True) >= margins.min() - 1e-4
        return logits.where(sure, logits + torch.randn_like(logits))

    attack = [{"name": "pgd", "iterations": 3}]
    assert sk.calibration(unsure, images, labels)["accuracy"].draws == 1, "no image makes it draw"
    with pytest.raises(sk.UserError, match="on attacked images the encoder counts as deterministic"):
        sk.robust_accuracy(unsure, images, labels, eps=0.1, attacks=attack)
