"""Networks on patches and on boards, and their twins without oscillators: sizes, shapes, starts, switches."""

import pytest
import torch
from torch import nn

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

# published numbers of trained parameters, with the head that the network was trained with
OBJECTS = [
    ("patch_akorn", {"image_size": 32, "patch": 4, "channels": 128}, 278_656),
    ("patch_akorn", {"image_size": 64, "patch": 4, "channels": 128}, 303_232),
    ("patch_akorn", {}, 1_167_616),
    ("patch_akorn", {"layers": 2}, 1_760_256),
    ("patch_akorn", {"layers": 2, "channels": 512}, 6_666_240),
    ("iterative", {"image_size": 32, "patch": 4, "channels": 128}, 278_912),
    ("iterative", {}, 1_168_128),
    ("iterative", {"layers": 2}, 1_695_232),
]
BOARDS = [  # the published AKOrN holds 41,472 further numbers that nothing uses
    ("board_akorn", {}, 2_982_412 - 41_472),
    ("board_iterative", {}, 2_155_017),
    ("board_iterative", {"layers": 8, "num_steps": 1}, 16_874_505),
]


def trained(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def build(name: str, **options):
    with borrowed_global(generator("cpu", "weights")):
        return ENCODERS.build(name, {**ENCODERS[name].small, **options}).eval()


def images(size: int = 16, number: int = 3) -> torch.Tensor:
    return torch.rand(number, 3, size, size, generator=generator("cpu", "images"))


def boards() -> torch.Tensor:
    return torch.randint(0, 5, (3, 4, 4), generator=generator("cpu", "boards"))


def inputs(name: str) -> torch.Tensor:
    return boards() if name.startswith("board") else images()


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", number)


@pytest.mark.parametrize(("name", "options", "number"), OBJECTS)
def test_published_sizes_of_object_networks_are_met(name, options, number) -> None:
    c = options.get("channels", 256)
    assert trained(ENCODERS.build(name, options)) + 4 * c * c + 4 * c + 4 * c * c + c == number


@pytest.mark.parametrize(("name", "options", "number"), BOARDS)
def test_published_sizes_of_sudoku_networks_are_met(name, options, number) -> None:
    assert trained(ENCODERS.build(name, {"side": 9, "symbols": 9, **options})) + 512 * 9 + 9 == number


VARIANTS = [
    ("patch_akorn", {"coupling": "conv", "positions": "ape", "kernel_size": 3}),
    ("patch_akorn", {"coupling": ["conv", "attention"], "layers": 2, "num_steps": [1, 2], "map_oscillators": True}),
    ("patch_akorn", {"coupling": "conv_symmetric", "positions": "none", "oscillator_dim": 8, "channels": 8}),
    ("patch_akorn", {"coupling": "dense_symmetric", "positions": "none", "channels": 4}),
    ("patch_akorn", {"oscillator_dim": 1, "project": False}),
    ("patch_akorn", {"oscillator_dim": 3, "channels": 12, "natural_frequency": "none"}),
    ("patch_akorn", {"update": "residual", "natural_frequency": "shared"}),
    ("patch_akorn", {"initial": "stimulus", "pool": "mean"}),
    ("patch_akorn", {"initial": "learned", "positions": "rope"}),
    ("patch_akorn", {"initial": "fixed", "readout_norm": False, "readout_map": "single"}),
    ("board_akorn", {"coupling": "dense_symmetric", "natural_frequency": "none"}),
    ("board_akorn", {"coupling": "attention_symmetric"}),
    ("board_akorn", {"update": "residual", "positions": "ape"}),
    ("board_akorn", {"positions": "none", "readout_map": "identity", "stimulus_norm": "group"}),
    ("iterative", {"mixer": "conv", "kernel_size": 3}),
    ("iterative", {"mixer": ["conv", "attention"], "layers": 2, "positions": "none"}),
    ("iterative", {"patch": 1, "widen": True, "layers": 3, "mixer": "conv", "kernel_size": [5, 3, 3], "pool": "mean"}),
    ("iterative", {"initial": "random", "positions": "gta"}),
    ("board_iterative", {"initial": "random", "positions": "rope"}),
    ("board_iterative", {"mixer": "conv", "layers": 2, "num_steps": 1}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value)[:60])
def test_every_variant_repeats_with_its_draw_and_learns(name, options) -> None:
    encoder, x = build(name, **options), inputs(name)
    first = encoder(x, draw=draw())
    assert first.pooled.shape == (3, encoder.num_features)
    assert torch.equal(encoder(x, draw=draw()).map, first.map)
    assert torch.equal(encoder(x, draw=draw(1)).map, first.map) is not encoder.stochastic
    first.pooled.square().sum().backward()
    idle = {key for key, value in encoder.named_parameters() if value.grad is None or not value.grad.abs().sum()}
    if options.get("oscillator_dim") == 1:  # the sign of a number has no derivative: only the readout learns
        assert all(key.startswith(("stem", "layers", "place")) for key in idle)
    else:
        assert idle == set()


@pytest.mark.parametrize("name", ["patch_akorn", "board_akorn", "iterative", "board_iterative"])
@torch.no_grad()
def test_more_steps_at_test_time_continue_the_same_trajectory(name) -> None:
    encoder, x = build(name), inputs(name)
    options = {"initial": encoder.sample_initial(x, draw())} if encoder.stochastic else {}
    assert encoder.num_steps == (2,)
    assert torch.equal(encoder(x, **options, num_steps=2).map, encoder(x, **options).map)
    assert not torch.equal(encoder(x, **options, num_steps=9).map, encoder(x, **options).map)
    if encoder.has_energy:
        short = encoder(x, **options, trace=True).trace[0].states
        long = encoder(x, **options, trace=True, num_steps=9).trace[0].states
        assert torch.equal(long[:2], short)
        assert long.shape[0] == 9


@pytest.mark.parametrize("name", ["patch_akorn", "iterative"])
@torch.no_grad()
def test_images_of_another_size_are_read_with_interpolated_positions(name) -> None:
    encoder = build(name, positions="gta")
    assert encoder(images(32), draw=draw()).map.shape[2:] == (8, 8)
    with pytest.raises(UserError, match="images of 18 x 18 pixels: patch=4 does not divide them"):
        encoder(images(18), draw=draw())


@torch.no_grad()
def test_the_residual_update_neither_projects_nor_normalises() -> None:
    encoder = build("patch_akorn", update="residual", natural_frequency="none", stimulus_norm="none")
    x, layer = images(), encoder.layers[0]
    start = encoder.sample_initial(x, draw())
    states = encoder(x, initial=start, trace=True).trace[0].states
    c = encoder.stem(2 * x - 1)
    torch.testing.assert_close(states[1], states[0] + layer.coupling(states[0]) + c)
    lengths = states[1].view(3, -1, 4, 4, 4).norm(dim=2)
    assert not torch.allclose(lengths, torch.ones(1), atol=0.05)


@torch.no_grad()
def test_a_block_mixes_t_times_with_the_same_weights_and_applies_the_mlp_once() -> None:
    encoder = build("iterative", positions="none", num_steps=3)
    block, x = encoder.blocks[0], encoder.stem(2 * images() - 1)
    wanted = x
    for _ in range(3):
        wanted = wanted + block.mix(block.norm(wanted))
    wanted = wanted + block.mlp(block.mlp_norm(wanted))
    torch.testing.assert_close(encoder(images()).map, encoder.norm(wanted))


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("patch_akorn", {"patch": 3}, "patch=3: does not divide image_size=16"),
        ("patch_akorn", {"channels": 18, "positions": "none"}, "must be divisible by oscillator_dim=4"),
        ("patch_akorn", {"attention_heads": 3}, "heads=3: must divide channels=16"),
        ("patch_akorn", {"oscillator_dim": 1}, "oscillator_dim=1: needs project=false"),
        ("patch_akorn", {"num_steps": [1, 2]}, "has 2 entries for 1 layer"),
        ("patch_akorn", {"oscillator_dim": 1, "project": False, "natural_frequency": "shared"}, "must be even"),
        ("iterative", {"attention_heads": 3}, "heads=3: must divide channels=16"),
        ("iterative", {"mixer": "conv", "channels": 12}, "GroupNorm has 8 groups"),
        ("iterative", {"widen": True, "positions": "gta"}, "positions=gta: is for blocks on one grid"),
        ("board_iterative", {"num_steps": 0}, "num_steps"),
    ],
)
def test_what_does_not_fit_is_one_line(name, options, line) -> None:
    with pytest.raises(UserError, match=line):
        build(name, **options)
