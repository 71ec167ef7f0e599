"""Winfree networks on images and boards: published sizes, shapes, starts, steps, what does not fit."""

import pytest
import torch

from sslkuramoto.dynamics.winfree import angles, wrap
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import borrowed_global, generator

WIDE = [64, 128, 128, 256, 256, 256]
TRIG = {"sensitivity": "cos", "influence": "sin_mlp"}
CONV = {"coupling": "conv", "channels": 256}
# published numbers of trained parameters with a linear classifier, by the number of classes
IMAGES = [
    ({}, 10, 3_077_898),
    ({"channels": WIDE}, 10, 7_535_626),
    ({"channels": 256}, 10, 12_021_258),
    (TRIG, 10, 2_984_970),
    ({"channels": WIDE, **TRIG}, 10, 7_403_978),
    ({"channels": 256, **TRIG}, 10, 11_835_402),
    ({}, 100, 3_089_508),
    ({"channels": WIDE}, 100, 7_558_756),
    ({"channels": 256}, 100, 12_044_388),
    (TRIG, 100, 2_996_580),
    ({"channels": WIDE, **TRIG}, 100, 7_427_108),
    ({"channels": 256, **TRIG}, 100, 11_858_532),
    ({"channels": 256, "layers": 1}, 100, 1_653_348),
    ({"channels": 256, "group_size": 1}, 100, 11_823_204),
    ({"channels": 256, "group_size": 4}, 100, 15_140_964),
    ({"channels": 256, "layers": 9}, 100, 18_279_012),
    (CONV, 100, 18_722_916),
    ({"channels": 256, "layers": 1, **TRIG}, 100, 1_622_372),
    ({"channels": 256, "group_size": 1, **TRIG}, 100, 11_794_020),
    ({"channels": 256, "group_size": 4, **TRIG}, 100, 12_669_540),
    ({**CONV, **TRIG}, 100, 18_537_060),
    ({"patch": 4}, 100, 3_092_196),
    ({"channels": WIDE, "patch": 4}, 100, 7_560_100),
    ({"channels": 256, "patch": 4}, 100, 12_049_764),
    ({"channels": 256, "patch": 4}, 1000, 12_281_064),
]
BOARDS = [  # Sudoku without the 1,792 numbers that the published layer holds and does not use
    ({"side": 30, "symbols": 5, "input_symbols": 4, "channels": 128, "num_steps": 24}, 396_293),
    ({"side": 9, "symbols": 9}, 1_583_369 - 1_792),
]


def trained(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def build(name: str, **options):
    with borrowed_global(generator("cpu", "weights")):
        return ENCODERS.build(name, {**ENCODERS[name].small, **options}).eval()


def images(height: int = 8, width: int = 8, number: int = 2) -> torch.Tensor:
    return torch.rand(number, 3, height, width, generator=generator("cpu", "images"))


def boards(number: int = 2, least: int = 0) -> torch.Tensor:
    return torch.randint(least, 5, (number, 4, 4), generator=generator("cpu", "boards"))


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", number)


@pytest.mark.parametrize(("options", "classes", "number"), IMAGES)
def test_published_sizes_of_image_networks_are_met(options, classes, number) -> None:
    with torch.device("meta"):
        encoder = ENCODERS.build("winfree", options)
    assert trained(encoder) + classes * (encoder.num_features + 1) == number


@pytest.mark.parametrize(("options", "number"), BOARDS)
def test_published_sizes_of_networks_on_boards_are_met(options, number) -> None:
    with torch.device("meta"):
        encoder = ENCODERS.build("board_winfree", options)
    assert trained(encoder) + options["symbols"] * (encoder.num_features + 1) == number


VARIANTS = [
    ("winfree", {}),
    ("winfree", {"channels": [8, 16], "layers": 2, "num_steps": [1, 3], **TRIG}),
    ("winfree", {"coupling": ["conv", "attention"], "kernel_size": 3, "layers": 2, "positions": "none"}),
    ("winfree", {"coupling": "conv_symmetric", "kernel_size": 3, "rectify": False, "influence": "sin"}),
    ("winfree", {"coupling": "attention_symmetric"}),
    ("winfree", {"patch": 2, "group_size": 3, "transition_bias": True, "learn_step_size": True, "layers": 2}),
    ("winfree", {"initial": "fixed", "initial_scale": 2.0}),
    ("board_winfree", {}),
    ("board_winfree", {"layers": 2, "sensitivity": "mlp", "influence": "mlp", "num_steps": 3}),
    ("board_winfree", {"coupling": "dense_symmetric", "rectify": False, "initial": "fixed"}),
    ("board_winfree", {"side": None, "coupling": "conv", "kernel_size": 5}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda value: str(value)[:60])
def test_every_variant_repeats_with_its_draw_and_all_of_it_learns(name, options) -> None:
    encoder, x = build(name, **options), boards() if name.startswith("board") else images()
    first = encoder(x, draw=draw(), trace=True)
    assert first.pooled.shape == (2, encoder.num_features)
    again = encoder(x, draw=draw(1), trace="energy")
    assert torch.equal(again.map, first.map) is not encoder.stochastic
    assert len(first.trace) == len(encoder.num_steps)
    for layer, only, steps in zip(first.trace, again.trace, encoder.num_steps, strict=True):
        assert len(layer.states) == steps
        assert len(layer.energy) == len(only.energy) == len(layer.energy_code) == steps + 1
        assert len(only.states) == 0
        lengths = layer.states.unflatten(2, (-1, 2)).norm(dim=3)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
    first.map.square().mul(torch.arange(first.map.shape[-1]) + 1.0).sum().backward()
    idle = {key for key, value in encoder.named_parameters() if value.grad is None or not value.grad.abs().sum()}
    # a head of one channel normalises its output per group, and a bias of queries or keys shifts all scores alike
    assert not {key for key in idle if "to_qkv" not in key}


@pytest.mark.parametrize("name", ["winfree", "board_winfree"])
@torch.no_grad()
def test_more_steps_at_test_time_continue_the_same_trajectory(name) -> None:
    encoder, x = build(name), images() if name == "winfree" else boards()
    start = encoder.sample_initial(x, draw())
    short = encoder(x, initial=start, trace=True)
    long = encoder(x, initial=start, trace=True, num_steps=5)
    assert torch.equal(long.trace[0].states[:2], short.trace[0].states)
    assert len(long.trace[0].states) == 5
    assert not torch.equal(long.map, short.map)


@torch.no_grad()
def test_the_first_states_are_the_noise_scaled_turned_by_frequency_and_force() -> None:
    encoder, x = build("winfree", initial_scale=0.5), images()
    noise = encoder.sample_initial(x, draw())
    layer = encoder.layers[0]
    theta, omega = wrap(0.5 * noise), encoder.stem(x)
    assert omega.min() >= 0
    field = layer.rectified(layer.coupling(layer.influence(theta))).repeat_interleave(2, 2).repeat_interleave(2, 3)
    wanted = theta + 0.1 * (omega + layer.sensitivity(theta) * field)
    found = angles(encoder(x, initial=noise, trace=True).trace[0].states[0])
    assert wrap(found - wanted).abs().max() < 1e-5


@torch.no_grad()
def test_one_field_serves_all_images_and_the_fixed_start_is_what_it_says() -> None:
    encoder, x = build("winfree", initial="fixed", patch=2), images()
    field = encoder.fixed_initial(x)
    assert field.shape == (1, 8, 4, 4)
    assert torch.equal(encoder(x).map, encoder(x, initial=field).map)
    assert build("winfree").fixed_initial(x) is None


@pytest.mark.parametrize("name", ["board_akorn", "board_winfree"])
@torch.no_grad()
def test_the_fixed_start_of_boards_is_one_field_for_all_of_them(name) -> None:
    encoder, x = build(name, initial="fixed"), boards(3)
    field = encoder.fixed_initial(x)
    assert field.shape == (1, 8, 4, 4)
    assert torch.equal(encoder(x).map, encoder(x, initial=field).map)
    torch.testing.assert_close(encoder(x[2:]).map, encoder(x).map[2:], rtol=1e-4, atol=1e-5)
    assert build(name).fixed_initial(x) is None


@pytest.mark.parametrize("name", ["winfree", "board_winfree"])
def test_under_bfloat16_autocast_the_phases_of_every_layer_are_in_float32_and_feel_small_frequencies(name) -> None:
    encoder, x = build(name, layers=2, step_size=1e-3), images() if name == "winfree" else boards()
    whole = encoder(x, draw=draw(), trace=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(x, draw=draw(), trace=True)
    for layer, exact in zip(half.trace, whole.trace, strict=True):
        assert layer.states.dtype == torch.float32
        first, last, wanted = (angles(states) for states in (layer.states[0], layer.states[1], exact.states[1]))
        moved = wrap(last - first)
        assert moved.abs().max() < 0.01  # bfloat16 has steps of 0.016 near pi: such a phase would not move
        far = wanted.abs() > 2
        assert not far.any() or (moved[far] != 0).any()
        assert wrap(last - wanted).abs().median() < 0.02
    assert (half.pooled.float() - whole.pooled).abs().max() < 0.1 * whole.pooled.abs().max()
    half.pooled.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@torch.no_grad()
def test_later_layers_add_the_frequencies_of_given_cells_only() -> None:
    encoder, x = build("board_winfree", layers=2), boards()
    seen = []
    encoder.layers[1].register_forward_pre_hook(lambda _, arguments: seen.append(arguments[1]))
    for table in (encoder.frequencies.weight.clone(), 0 * encoder.frequencies.weight):
        encoder.frequencies.weight.copy_(table)
        encoder.frequency_transitions[0].register_forward_hook(lambda *_: torch.zeros(2, 8, 4, 4))
        encoder(x, draw=draw())
    given = (x > 0)[:, None].expand(2, 8, 4, 4)
    assert (seen[0][~given] == 0).all()
    assert (seen[0][given] != 0).all()
    assert (seen[1] == 0).all()


@torch.no_grad()
def test_mazes_have_no_blank_cells_and_any_side_where_none_is_stated() -> None:
    encoder = build("board_winfree", side=None, symbols=5, input_symbols=4)
    assert encoder.built_for is None
    assert len(encoder.frequencies.weight) == 4
    large = torch.randint(1, 5, (1, 7, 6), generator=draw())
    assert encoder(large, draw=draw()).map.shape == (1, 8, 7, 6)
    with pytest.raises(UserError, match="boards with symbols 0 to 4: this encoder reads 1 to 4"):
        encoder(boards(), draw=draw())
    with pytest.raises(UserError, match="boards with symbols 1 to 5: this encoder reads 1 to 4"):
        encoder(boards(least=1) + (torch.arange(4) == 3), draw=draw())
    for wrong, found in ((large[:0], r"torch\.int64 \[0, 7, 6\]"), (large.float(), r"torch\.float32 \[1, 7, 6\]")):
        with pytest.raises(UserError, match=rf"^boards: {found}: must be whole numbers, of at least one board$"):
            encoder(wrong, draw=draw())


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("winfree", {"channels": 12}, "channels=12: GroupNorm has 8 groups"),
        ("winfree", {"attention_heads": 3}, "heads=3: must divide channels=8"),
        ("winfree", {"channels": [8, 8, 8]}, "has 3 entries for 2 layers"),
        ("winfree", {"coupling": "conv"}, "kernel_size=.* has 6 entries for 2 layers"),
        ("winfree", {"coupling": "dense_symmetric", "kernel_size": 3}, "coupling=.*dense_symmetric"),
        ("winfree", {"attention_heads": 4}, "positions=rope: each of the 4 heads has 2 of 8 channels and needs 4"),
        ("board_winfree", {"attention_heads": 4}, "positions=rope: each of the 4 heads has 2 of 8 channels"),
        ("winfree", {"num_steps": 0}, "num_steps"),
        ("winfree", {"step_size": 0.0}, "step_size"),
        ("board_winfree", {"input_symbols": 5}, "input_symbols=5: must be at most symbols=4"),
        ("board_winfree", {"side": None, "coupling": "conv"}, "kernel_size=null: needs side"),
        ("board_winfree", {"side": None, "coupling": "conv_symmetric"}, "kernel_size=null: needs side"),
        ("board_winfree", {"side": None, "coupling": "dense_symmetric"}, "reads inputs of any size"),
    ],
)
def test_what_does_not_fit_is_one_line(name, options, line) -> None:
    with pytest.raises(UserError, match=line):
        build(name, **options)


def test_inputs_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(UserError, match="group_size=5: is larger than the grid of 4 x 8 sites"):
        build("winfree", group_size=5)(images(4, 8), draw=draw())
    with pytest.raises(UserError, match="patch=3 does not divide them"):
        build("winfree", patch=3)(images(), draw=draw())
    with pytest.raises(UserError, match=r"boards of shape \(4, 4\): this encoder is built for"):
        build("board_winfree", side=5)(boards(), draw=draw())
    for name, x in (("winfree", images()), ("board_winfree", boards())):
        with pytest.raises(UserError, match="draw="):
            build(name)(x)
