"""Initial oscillators: drawn at each call, one fixed field, the stimulus, a trained field, or passed in."""

import pytest
import torch

from sslkuramoto.dynamics.sphere import normalise
from sslkuramoto.errors import UserError


def start(encoder, images, **given) -> torch.Tensor:
    """Return the state that entered the first layer, normalised."""
    seen = []
    handle = encoder.layers[0].register_forward_hook(lambda module, args, out: seen.append(args[0]))
    encoder(images, **given)
    handle.remove()
    return normalise(seen[0].detach(), encoder.oscillator_dim)


def test_random_starts_are_the_draws_of_sample_initial_and_differ_between_images_and_calls(akorn, images, draw):
    encoder = akorn().eval()
    assert encoder.stochastic
    first = start(encoder, images, draw=draw())
    assert torch.equal(first, normalise(encoder.sample_initial(images, draw()), 2))
    assert not torch.equal(first[0], first[1])
    continued = draw()
    start(encoder, images, draw=continued)
    assert not torch.equal(first, start(encoder, images, draw=continued))


def test_a_stochastic_encoder_without_a_source_of_oscillators_is_an_error(akorn, images):
    with pytest.raises(UserError, match=r"needs draw= .* or initial="):
        akorn()(images)


def test_the_fixed_field_is_one_for_all_images_calls_and_batch_sizes_and_depends_on_its_seed(akorn, images):
    encoder = akorn(initial="fixed", initial_seed=3).eval()
    assert not encoder.stochastic
    first = start(encoder, images)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[:1], start(encoder, images[2:]))
    assert torch.equal(first, start(akorn(initial="fixed", initial_seed=3), images))
    assert not torch.equal(first, start(akorn(initial="fixed", initial_seed=4), images))
    assert "start.field" not in encoder.state_dict()


def test_a_fixed_start_serves_images_of_any_size(akorn, draw):
    encoder = akorn(initial="fixed").eval()
    assert encoder(torch.rand(1, 3, 9, 7, generator=draw())).map.shape[2:] == (3, 2)


def test_starting_from_the_stimulus_is_its_direction(akorn, images):
    encoder = akorn(initial="stimulus").eval()
    assert not encoder.stochastic
    found = start(encoder, images)
    torch.testing.assert_close(found, normalise(encoder.stem(2 * images - 1).detach(), 2))


def test_a_learned_start_is_a_parameter_of_the_size_of_the_images(akorn, images):
    encoder = akorn(initial="learned", image_size=12)
    assert not encoder.stochastic
    assert encoder.start.field.requires_grad
    assert "start.field" in encoder.state_dict()
    assert torch.equal(start(encoder, images)[1], normalise(encoder.start.field[None], 2)[0])
    with pytest.raises(UserError, match=r"a grid of 9 x 9 sites: .* are for 12 x 12"):
        encoder(torch.rand(1, 3, 9, 9))


@pytest.mark.parametrize("mode", ["random", "fixed", "stimulus", "learned"])
def test_oscillators_that_are_given_replace_every_other_start(mode, akorn, images, draw):
    encoder = akorn(initial=mode, image_size=12).eval()
    given = torch.randn(3, 8, 12, 12, generator=draw())
    assert torch.equal(start(encoder, images, initial=given), normalise(given, 2))
    assert torch.equal(start(encoder, images, initial=given, draw=draw(5)), normalise(given, 2))
    one = start(encoder, images, initial=given[:1])  # one field for all images
    assert torch.equal(one[2:], normalise(given[:1], 2))


@pytest.mark.parametrize("shape", [(3, 8, 6, 6), (2, 8, 12, 12), (3, 4, 12, 12)])
def test_oscillators_of_another_shape_are_an_error(shape, akorn, images):
    with pytest.raises(UserError, match=r"initial of shape .*: these inputs need \(3, 8, 12, 12\)"):
        akorn()(images, initial=torch.ones(shape))


def test_drawing_changes_no_weights_and_each_seed_of_the_weights_is_its_own(akorn, images, draw):
    encoder = akorn().eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder(images, draw=draw())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
