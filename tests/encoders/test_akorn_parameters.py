"""Parameter counts equal those of the published AKOrN networks (docs/methods/akorn.md), with the linear classifier."""

import pytest
import torch
from torch import nn

from sslkuramoto.encoders import AKOrN

MIX = ("conv", "conv", "attention")


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def network(classes: int = 10, **options) -> tuple[AKOrN, int]:
    """Return an encoder without memory for its weights, and the number of parameters with a classifier on top."""
    with torch.device("meta"):
        encoder = AKOrN(**options)
    return encoder, trainable(encoder) + (encoder.num_features + 1) * classes


@pytest.mark.parametrize(
    ("count", "classes", "options"),
    [
        (1_758_800, 10, {"channels": 32, "oscillator_dim": 2}),
        (1_758_800, 10, {"channels": 32, "oscillator_dim": 4}),
        (7_023_760, 10, {"channels": 64, "oscillator_dim": 2}),
        (7_023_760, 10, {"channels": 64, "oscillator_dim": 4}),
        (28_072_208, 10, {"channels": 128, "oscillator_dim": 2}),
        (28_072_208, 10, {"channels": 128, "oscillator_dim": 4}),
        (5_648_272, 10, {"channels": 64, "coupling": MIX, "num_steps": (6, 4, 2)}),
        (22_568_720, 10, {"channels": 128, "coupling": MIX, "num_steps": (6, 4, 2)}),
        (4_596_176, 10, {"channels": 64, "oscillator_dim": 4, "coupling": "attention"}),
        (4_619_306, 100, {"channels": 64, "oscillator_dim": 4, "coupling": "attention"}),
        (4_620_650, 100, {"channels": 64, "oscillator_dim": 4, "coupling": "attention", "patch": 4}),  # 4.62M
        (4_626_986, 100, {"channels": 64, "oscillator_dim": 4, "coupling": "attention", "patch": 7}),  # 4.63M
        (4_851_950, 1000, {"channels": 64, "oscillator_dim": 4, "coupling": "attention", "patch": 4}),  # 4.85M
        (6_145_360, 10, {"channels": 64, "oscillator_dim": 4, "coupling": "attention", "readout_dim": 4}),
    ],
)
def test_published_networks_have_their_published_number_of_parameters(count, classes, options):
    assert network(classes, **options)[1] == count


def test_each_part_of_the_network_at_64_channels_has_its_share():
    encoder, total = network(channels=64)
    assert trainable(encoder.stem) == 1_728
    assert [trainable(layer) for layer in encoder.layers] == [331_970, 803_202, 1_639_170]
    assert [trainable(readout) for readout in encoder.readouts] == [185_088, 738_816, 2_952_192]
    assert [trainable(move) for move in encoder.transitions] == [73_856, 295_168]
    parts = [encoder.stem, *encoder.layers, *encoder.readouts, *encoder.transitions]
    assert sum(map(trainable, parts)) + 2_570 == total
    assert not encoder.step_size.requires_grad


def test_the_defaults_are_the_published_network():
    encoder, total = network()
    assert total == 7_023_760
    assert encoder.num_steps == (3, 3, 3)
    assert [layer.coupling.kernel_size for layer in encoder.layers] == [(9, 9), (7, 7), (5, 5)]
    assert encoder.stochastic


@pytest.mark.parametrize(
    ("more", "options"),
    [
        (1, {"learn_step_size": True}),
        (-6, {"learn_frequency": False}),
        (-6, {"natural_frequency": "none"}),
        (-6, {"natural_frequency": "identity"}),
        (sum(w // 2 * 2 for w in (64, 128, 256)) - 6, {"natural_frequency": "per_pair"}),
        (-2 * (64 + 128 + 256), {"stimulus_norm": "none"}),
        (0, {"stimulus_norm": "scale_bias"}),
        (64 * 32 * 32, {"initial": "learned", "image_size": 32}),
        (0, {"initial": "fixed"}),
        (0, {"project": False}),
    ],
)
def test_a_switch_adds_and_removes_just_its_own_parameters(more, options):
    assert network(**options)[1] == 7_023_760 + more
