"""The AKOrN encoder: gradients with every option, the ablations, shapes, and one-line errors."""

import pytest
import torch

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError

SWEEP = [
    {},
    {"oscillator_dim": 4},
    {"oscillator_dim": 8, "natural_frequency": "per_pair"},
    {"channels": 6, "oscillator_dim": 3, "natural_frequency": "none"},
    {"natural_frequency": "identity"},
    {"learn_frequency": False},
    {"frequency_init": 0.0},
    {"project": False},
    {"learn_step_size": True, "step_size": 0.4},
    {"coupling": "attention"},
    {"coupling": ("conv", "conv", "attention"), "attention_heads": 4, "num_steps": (3, 2, 1)},
    {"stimulus_norm": "scale_bias"},
    {"stimulus_norm": "none"},
    {"readout_dim": 1},
    {"readout_dim": (2, 3, 4), "readout_kernel": 1},
    {"readout_norm": False},
    {"readout_map": "single"},
    {"readout_map": "identity"},
    {"readout_map_norm": "group"},
    {"readout_map_norm": "none"},
    {"initial": "fixed"},
    {"initial": "stimulus"},
    {"initial": "learned", "image_size": 12},
    {"stimulus": False},
    {"stimulus": False, "readout_norm": False},
    {"kernel_sizes": (3,)},
    {"kernel_sizes": (3, 3)},
    {"kernel_sizes": (3, 3, 3, 3)},
    {"num_steps": 1},
]


@pytest.mark.parametrize("options", SWEEP, ids=str)
def test_gradients_reach_every_trainable_parameter_and_are_finite(options, akorn, images, draw):
    encoder = akorn(**options).train()
    features = encoder(images, draw=draw())
    weights = torch.linspace(-1, 1, features.pooled.numel()).view_as(features.pooled)
    (features.pooled * weights).sum().backward()
    for name, parameter in encoder.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if options.get("frequency_init") == 0.0 and "frequencies" in name:
            continue  # the length of a vector is not differentiable at zero, where its gradient is taken as zero
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("options", [{}, {"coupling": "attention"}, {"learn_step_size": True}], ids=str)
def test_a_few_steps_of_adam_lower_a_loss(options, akorn, images, draw):
    encoder = akorn(**options)
    optimizer = torch.optim.Adam(encoder.parameters(), 3e-3)
    target = torch.eye(3, encoder.num_features)
    losses = []
    for step in range(12):
        loss = (encoder(images, draw=draw(step)).pooled - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_gradients_reach_the_images_and_the_initial_oscillators(akorn, images):
    encoder = akorn().double().eval()
    images = images.double().requires_grad_()
    initial = torch.randn(3, 8, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    initial.requires_grad_()
    encoder(images, initial=initial).pooled.square().sum().backward()
    assert images.grad.abs().sum() > 0
    assert initial.grad.abs().sum() > 0


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 14), (5, 5)])
def test_widths_double_and_grids_halve_up_to_the_third_layer(layers, height, width, akorn, draw):
    encoder = akorn(kernel_sizes=(3,) * layers).eval()
    features = encoder(torch.rand(2, 3, height, width, generator=draw()), draw=draw(), trace=True)
    h, w = height, width
    for layer, trace in enumerate(features.trace):
        if 0 < layer < 3:
            h, w = (h + 1) // 2, (w + 1) // 2
        assert trace.states.shape == (2, 2, 8 * 2**layer, h, w)
        assert trace.energy.shape == trace.energy_code.shape == (3, 2)
    assert features.map.shape == (2, 8 * 2 ** (layers - 1), h, w)
    assert encoder.num_features == features.pooled.shape[1]


def test_pooled_is_the_mean_of_the_map(akorn, images, draw):
    features = akorn().eval()(images, draw=draw())
    torch.testing.assert_close(features.pooled, features.map.flatten(2).mean(2))


def test_pixels_are_normalised_inside_so_that_grey_is_no_stimulus(akorn, images):
    encoder = akorn(stimulus_norm="none").eval()
    seen = []
    encoder.stem.register_forward_hook(lambda module, given, out: seen.append((given[0], out)))
    encoder(torch.full_like(images, 0.5), initial=torch.ones(1, 8, 12, 12))
    assert torch.equal(seen[0][1], torch.zeros(3, 8, 12, 12))
    encoder(torch.ones_like(images), initial=torch.ones(1, 8, 12, 12))
    assert torch.equal(seen[1][0], torch.ones_like(images))


def test_one_convolution_between_layers_moves_both_streams(akorn, images, draw):
    encoder, calls = akorn().eval(), []
    encoder.transitions[0].register_forward_hook(lambda module, given, out: calls.append(given[0]))
    features = encoder(images, draw=draw(), trace=True)
    assert len(calls) == 2
    assert torch.equal(calls[0], features.trace[0].states[-1])
    assert (calls[1] - calls[0]).abs().max() > 0


def test_the_number_of_steps_may_change_at_each_call_with_the_same_weights(akorn, images, draw):
    encoder = akorn(num_steps=2, kernel_sizes=(3,)).eval()
    usual = encoder(images, draw=draw(), trace=True)
    longer = encoder(images, draw=draw(), trace=True, num_steps=20)
    assert longer.trace[0].states.shape[0] == 20
    assert torch.equal(longer.trace[0].states[:2], usual.trace[0].states)
    assert torch.equal(encoder(images, draw=draw(), num_steps=[2]).pooled, usual.pooled)
    assert encoder.num_steps == (2,)


def test_each_layer_can_have_its_own_number_of_steps(akorn, images, draw):
    features = akorn(num_steps=(3, 1, 2)).eval()(images, draw=draw(), trace=True)
    assert [len(trace.states) for trace in features.trace] == [3, 1, 2]
    again = akorn().eval()(images, draw=draw(), trace=True, num_steps=(1, 4, 1))
    assert [len(trace.states) for trace in again.trace] == [1, 4, 1]


def test_identity_frequencies_are_a_step_of_gamma_over_one_plus_gamma(akorn, images, draw):
    quirk = akorn(natural_frequency="identity", step_size=1.0).double().eval()
    clean = akorn(natural_frequency="none", step_size=0.5).double().eval()
    clean.load_state_dict(quirk.state_dict())
    given = {"initial": quirk.sample_initial(images, draw()).double()}
    torch.testing.assert_close(quirk(images.double(), **given).pooled, clean(images.double(), **given).pooled)


def test_a_frequency_of_zero_is_no_frequency(akorn, images, draw):
    zero, none = akorn(frequency_init=0.0).eval(), akorn(natural_frequency="none").eval()
    none.load_state_dict({k: v for k, v in zero.state_dict().items() if "frequencies" not in k}, strict=True)
    assert torch.equal(zero(images, draw=draw()).pooled, none(images, draw=draw()).pooled)


def test_without_stimulus_the_image_is_the_start_and_one_readout_ends_the_network(akorn, images):
    encoder = akorn(stimulus=False).eval()
    features = encoder(images, trace=True)
    assert not encoder.stochastic
    assert len(encoder.readouts) == 1
    other = encoder(images.flip(0), trace=True)
    torch.testing.assert_close(other.pooled.flip(0), features.pooled)
    assert (features.pooled[0] - features.pooled[1]).abs().max() > 1e-4
    with pytest.raises(UserError, match="initial: with stimulus=false"):
        encoder(images, initial=torch.ones(1, 8, 12, 12))


def test_an_image_alone_gives_what_it_gives_in_a_batch(akorn, images, draw):
    encoder = akorn().double().eval()
    initial = encoder.sample_initial(images, draw()).double()
    whole = encoder(images.double(), initial=initial).pooled
    alone = encoder(images[1:2].double(), initial=initial[1:2]).pooled
    torch.testing.assert_close(whole[1:2], alone)


def test_bfloat16_autocast_keeps_states_in_float32_and_stays_near_float32(akorn, images, draw):
    encoder = akorn(num_steps=1).eval()
    whole = encoder(images, draw=draw())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(images, draw=draw(), trace=True)
    assert half.trace[0].states.dtype == torch.float32
    assert (half.pooled.float() - whole.pooled).abs().max() < 0.1 * whole.pooled.abs().max()
    half.pooled.float().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"channels": 0}, "channels=0: must be >= 1"),
        ({"channels": 9}, "channels=9: must be divisible by oscillator_dim=2"),
        ({"oscillator_dim": 3}, "channels=8: must be divisible by oscillator_dim=3"),
        ({"channels": 9, "oscillator_dim": 3}, "oscillator_dim=3: must be even with natural frequencies"),
        ({"oscillator_dim": 1, "natural_frequency": "none"}, "oscillator_dim=1: needs project=false"),
        ({"oscillator_dim": 0}, "oscillator_dim=0: must be >= 1"),
        ({"kernel_sizes": []}, "kernel_sizes=[]: needs one odd kernel for each layer"),
        ({"kernel_sizes": [9, 6, 5]}, "kernel_sizes=[9, 6, 5]: entry 2 must be odd and >= 1"),
        ({"kernel_sizes": [9, 7, -1]}, "kernel_sizes=[9, 7, -1]: entry 3 must be odd and >= 1"),
        ({"num_steps": 0}, "num_steps=0: must be >= 1"),
        ({"num_steps": [3, 3]}, "num_steps=[3, 3]: has 2 entries for 3 layers; give one value for all layers or one a"),
        ({"num_steps": [3, 0, 3]}, "num_steps=[3, 0, 3]: entry 2 must be >= 1"),
        ({"coupling": ["conv", "attention"]}, "coupling=['conv', 'attention']: has 2 entries for 3 layers"),
        ({"coupling": "dense"}, "encoder.coupling='dense'"),
        ({"coupling": "attention", "attention_heads": 3}, "heads=3: must divide channels=8"),
        ({"natural_frequency": "global"}, "encoder.natural_frequency='global'"),
        ({"frequency_init": 1e39}, "encoder akorn: a number is beyond 32-bit floats (3.4e38)"),
        ({"frequency_init": -0.5}, "frequency_init=-0.5: must be >= 0"),
        ({"step_size": 0}, "step_size=0: must be > 0"),
        ({"step_size": -1.0}, "step_size=-1.0: must be > 0"),
        ({"step_size": "1e-1"}, "encoder.step_size='1e-1'"),
        ({"readout_dim": 0}, "readout_dim=0: must be >= 1"),
        ({"readout_dim": [2, 2]}, "readout_dim=[2, 2]: has 2 entries for 3 layers"),
        ({"readout_kernel": 2}, "readout_kernel=2: must be odd and >= 1"),
        ({"readout_kernel": 0}, "readout_kernel=0: must be odd and >= 1"),
        ({"channels": 4, "readout_map_norm": "group"}, "readout_map_norm=group: has 8 groups"),
        ({"initial": "learned"}, "initial=learned: needs image_size"),
        ({"initial": "learned", "image_size": 0}, "image_size=0: must be >= 1"),
        ({"initial": "noise"}, "encoder.initial='noise'"),
        ({"initial": "fixed", "stimulus": False}, "initial='fixed': has no meaning with stimulus=false"),
        ({"stimulus": "no"}, "encoder.stimulus='no'"),
        ({"chanels": 8}, "did you mean 'channels'?"),
        ({"channels": 8.5}, "encoder.channels=8.5"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_one_line_that_names_key_and_value(options, line):
    small = {"channels": 8, "num_steps": 1, "kernel_sizes": [3, 3, 3]}
    with pytest.raises(UserError) as raised:
        ENCODERS.build("akorn", {**small, **options})
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("steps", [0, [1, 2], [1, 1, 0]])
def test_a_wrong_number_of_steps_at_call_time_is_an_error(steps, akorn, images, draw):
    with pytest.raises(UserError, match="num_steps="):
        akorn()(images, draw=draw(), num_steps=steps)
