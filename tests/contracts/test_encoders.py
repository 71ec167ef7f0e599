"""The contract of every encoder in the registry: pixels, randomness, features, states and options."""

import copy

import pytest
import torch

from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images
from sslkuramoto.randomness import borrowed_global, generator

SMALL = ENCODERS.small("akorn")
VARIANTS = {  # of a member, beside the options that it declares itself
    "akorn": [
        {**SMALL, "initial": "fixed"},
        {**SMALL, "initial": "stimulus", "coupling": "attention"},
        {**SMALL, "stimulus": False},
        {**SMALL, "oscillator_dim": 4, "natural_frequency": "per_pair", "learn_step_size": True},
    ],
    "patch_akorn": [{**ENCODERS.small("patch_akorn"), "positions": "ape", "pool": "mean", "initial": "fixed"}],
    "iterative": [
        {**ENCODERS.small("iterative"), "initial": "random"},
        {**ENCODERS.small("iterative"), "patch": 1, "widen": True, "layers": 2, "mixer": "conv", "pool": "mean"},
    ],
    "winfree": [
        {**ENCODERS.small("winfree"), "initial": "fixed"},
        {**ENCODERS.small("winfree"), "channels": [8, 16], "sensitivity": "cos", "influence": "sin_mlp"},
        {**ENCODERS.small("winfree"), "coupling": "conv", "kernel_size": 3, "group_size": 3, "influence": "sin"},
    ],
    "timm": [
        {"model": "resnet18", "small_stem": True, "arguments": {"channels": [8, 8, 16, 16], "layers": [1, 1, 1, 1]}},
    ],
}
CASES = {name: [ENCODERS.small(name), *VARIANTS.get(name, [])] for name in ENCODERS if Images in ENCODERS[name].reads}
EACH = [pytest.param(name, options, id=f"{name}{i}") for name in CASES for i, options in enumerate(CASES[name])]
SIZES = [(16, 16), (13, 13), (12, 19)]


def build(name: str, options: dict) -> Encoder:
    with borrowed_global(generator("cpu", "contract", name)):
        return ENCODERS.build(name, options).eval()


def images(height: int = 16, width: int = 16, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=generator("cpu", "images", height, width))


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", "draw", number)


def test_encoders_with_and_without_dynamics_are_tested():
    encoders = [build(*case.values) for case in EACH]
    assert {encoder.stochastic for encoder in encoders} == {False, True}
    assert any(encoder.stochastic and encoder.draws_share_passes for encoder in encoders)


@pytest.mark.parametrize(("name", "options"), EACH)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_features_have_the_promised_shapes_at_any_size_that_the_encoder_takes(name, options, height, width):
    encoder = build(name, options)
    height, width = (encoder.multiple_of * -(-side // encoder.multiple_of) for side in (height, width))
    with torch.no_grad():
        features = encoder(images(height, width), draw=draw())
    assert features.pooled.shape == (3, encoder.num_features)
    assert features.map.shape[:2] == (3, encoder.num_features)
    assert features.pooled.isfinite().all()
    grid = features.map.flatten(2)
    means_or_maxima = [torch.allclose(of, features.pooled, rtol=1e-4, atol=1e-5) for of in (grid.mean(2), grid.amax(2))]
    assert any(means_or_maxima)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_draws_share_a_call_only_where_it_gives_what_a_call_for_each_gives(name, options):
    encoder = build(name, options)
    if not (encoder.stochastic and encoder.draws_share_passes):
        pytest.skip("is called once a draw")
    with torch.no_grad():
        apart = torch.cat([encoder(images(), draw=draw(number)).pooled for number in range(4)])
        fields = torch.cat([encoder.sample_initial(images(), draw(number)) for number in range(4)])
        torch.testing.assert_close(encoder(images().repeat(4, 1, 1, 1), initial=fields).pooled, apart)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_in_eval_mode_the_same_draw_gives_the_same_features(name, options):
    encoder = build(name, options)
    with torch.no_grad():
        assert torch.equal(encoder(images(), draw=draw()).pooled, encoder(images(), draw=draw()).pooled)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_stochastic_says_whether_two_draws_differ_and_whether_one_is_needed(name, options):
    encoder = build(name, options)
    with torch.no_grad():
        one, other = (encoder(images(), draw=draw(number)).pooled for number in (0, 1))
        assert torch.equal(one, other) is not encoder.stochastic
        if encoder.stochastic:
            with pytest.raises(UserError, match="draw="):
                encoder(images())
        else:
            assert torch.equal(one, encoder(images()).pooled)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_the_oscillators_that_would_have_been_drawn_can_be_passed_in(name, options):
    encoder = build(name, options)
    if not encoder.stochastic:
        pytest.skip("draws none")
    given = encoder.sample_initial(images(), draw())
    with torch.no_grad():
        found = encoder(images(), initial=given).pooled
        assert torch.equal(found, encoder(images(), draw=draw()).pooled)
        scale = torch.rand(3, 1, 1, 1, generator=draw()) + 0.5
        if not encoder.normalises_initial:  # noise that has a size
            return
        # oscillators have any length: they are normalised inside
        torch.testing.assert_close(encoder(images(), initial=scale * given).pooled, found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), EACH)
@pytest.mark.parametrize("training", [False, True])
def test_no_call_reads_or_changes_the_global_generator(name, options, training):
    encoder = build(name, options).train(training)
    found = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            with torch.no_grad():
                found.append(copy.deepcopy(encoder)(images(), draw=draw()).pooled)
            assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(*found)


@pytest.mark.parametrize(("name", "options"), EACH)
@pytest.mark.parametrize("given", [False, True])
def test_a_network_of_double_precision_computes_in_it_from_the_same_draw(name, options, given):
    single = build(name, options)
    double = copy.deepcopy(single).double()
    if given and not single.stochastic:
        pytest.skip("takes no oscillators")
    field = {"initial": single.sample_initial(images(), draw())} if given else {"draw": draw()}
    with torch.no_grad():
        wanted = single(images(), **field).pooled
        found = double(images().double(), **({"draw": draw()} if not given else field)).pooled
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_weights_go_through_a_state_dict_strictly_and_give_the_same_features(name, options):
    encoder = build(name, options)
    with borrowed_global(generator("cpu", "another")):
        other = ENCODERS.build(name, options).eval()
    with torch.no_grad():
        wanted = encoder(images(), draw=draw()).pooled
        assert not torch.equal(wanted, other(images(), draw=draw()).pooled)
        other.load_state_dict(encoder.state_dict(), strict=True)
        assert torch.equal(wanted, other(images(), draw=draw()).pooled)


@pytest.mark.parametrize(("name", "options"), EACH)
def test_a_trace_is_returned_only_on_request_and_changes_no_features(name, options):
    encoder = build(name, options)
    with torch.no_grad():
        plain, traced = encoder(images(), draw=draw()), encoder(images(), draw=draw(), trace=True)
    assert plain.trace is None
    assert torch.equal(plain.pooled, traced.pooled)
    assert traced.trace is None or len(traced.trace) >= 1


@pytest.mark.parametrize("options", CASES["akorn"])
def test_a_trace_of_akorn_has_an_entry_for_each_layer(options):
    encoder = build("akorn", options)
    assert len(encoder(images(), draw=draw(), trace=True).trace) == len(options["kernel_sizes"])


@pytest.mark.parametrize(("name", "options"), EACH)
def test_pixels_are_read_as_numbers_in_zero_to_one_and_left_alone(name, options):
    encoder, given = build(name, options), images()
    kept = given.clone()
    with torch.no_grad():
        bright = encoder(given, draw=draw()).pooled
        dark = encoder(given * 0.5, draw=draw()).pooled
    assert torch.equal(given, kept)
    assert not torch.allclose(bright, dark)


def test_an_unknown_encoder_names_the_nearest_right_one():
    with pytest.raises(UserError, match="unknown encoder 'akron': did you mean 'akorn'"):
        ENCODERS.build("akron", {})
