"""A plain network as a classifier: its randomness is found out and controlled, its faults are one clear line."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from sslkuramoto.any_network import as_classifier, as_encoder, identity_of_encoder
from sslkuramoto.classifier import check_deterministic
from sslkuramoto.encoders.features import buffers_kept
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator, own_generators, reseeded


class Coin(nn.Module):
    """Flips images from side to side, all of a call or none: with numpy's, Python's or its own generator."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.own = source, torch.Generator().manual_seed(5)

    def forward(self, images):
        draws = {
            "numpy": np.random.rand,
            "python": random.random,
            "own": lambda: float(torch.rand((), generator=self.own)),
        }
        return images.flip(3) if draws[self.source]() < 0.5 else images


class Counting(nn.Module):
    """Adds to the pixels how often it was called."""

    calls = 0

    def forward(self, images):
        self.calls += 1
        return (images + 0.01 * self.calls).clamp(0, 1)


def test_a_network_that_draws_nothing_is_deterministic_and_answers_as_itself(plain, some):
    network = plain()
    classifier = as_classifier(network, *some)
    assert not classifier.stochastic
    assert classifier.encoder.notes == []
    assert torch.equal(classifier(some[0]), network(some[0]))
    check_deterministic(classifier, some[0])


@pytest.mark.parametrize("source", ["numpy", "python", "own"])
def test_noise_of_any_generator_is_found_and_named_by_the_draw(plain, some, source):
    classifier = as_classifier(plain(Coin(source)), *some)
    assert classifier.stochastic
    answers = [classifier(some[0], draw=generator("cpu", seed)) for seed in (1, 2, 3, 4, 5, 6, 1)]
    assert torch.equal(answers[0], answers[-1])
    assert not all(torch.equal(answers[0], other) for other in answers[1:-1])


def test_dropout_that_was_left_on_draws_and_other_generators_stay_as_they_were(dropping, some):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    classifier = as_classifier(dropping, *some)
    classifier(some[0], draw=generator("cpu", 1))
    assert classifier.stochastic
    assert classifier.encoder.notes[0] == "in training mode, as it was given: Dropout"
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


@pytest.mark.parametrize("together", [True, False])
def test_held_noise_is_that_of_the_image_whatever_stands_beside_it(dropping, some, together):
    classifier = as_classifier(dropping, *some)
    encoder = classifier.encoder
    assert encoder.together
    encoder.together = together
    images = some[0][:6]
    seeds = encoder.sample_initial(images, generator("cpu", 0))
    seeds[3] = seeds[4] = seeds[0]  # as of an attack on held fields: several images of one seed
    joined = classifier(images, initial=seeds)
    alone = torch.cat([classifier(images[k : k + 1], initial=seeds[k : k + 1]) for k in range(6)])
    turned = classifier(images.flip(0), initial=seeds.flip(0)).flip(0)
    assert torch.allclose(joined, alone, atol=1e-5)
    assert torch.allclose(joined, turned, atol=1e-5)
    own = [generator_free(dropping, images[k : k + 1], seeds[k]) for k in range(6)]
    assert torch.allclose(joined, torch.cat(own), atol=1e-5)


def generator_free(network: nn.Module, image: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
    """Answer an image as the network itself does after a plain torch.manual_seed."""
    high, low = seed.flatten().long().tolist()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(high * 2**24 + low)
        return network(image)


def test_one_seed_for_all_gives_all_images_the_same_noise(plain, some):
    class Noise(nn.Module):
        def forward(self, images):
            return images + 0.3 * torch.randn_like(images)

    encoder = as_classifier(plain(Noise()), *some).encoder
    twice = torch.cat([some[0][:1], some[0][:1]])
    seed = encoder.sample_initial(twice[:1], generator("cpu", 0))
    first, second = encoder(twice, initial=seed).pooled
    assert torch.allclose(first, second, atol=1e-5)
    first, second = encoder(twice, draw=generator("cpu", 0)).pooled
    assert not torch.allclose(first, second, atol=1e-2)


def test_gradients_reach_the_pixels_through_held_noise(dropping, some):
    encoder = as_classifier(dropping, *some).encoder
    images = some[0][:3].clone().requires_grad_()
    seed = encoder.sample_initial(images[:1], generator("cpu", 0))
    (joined,) = torch.autograd.grad(encoder(images, initial=seed).pooled.logsumexp(1).sum(), images)
    alone = [encoder(images[k : k + 1], initial=seed).pooled.logsumexp(1).sum() for k in range(3)]
    assert torch.allclose(joined, torch.autograd.grad(sum(alone), images)[0], atol=1e-5)


def test_what_vmap_cannot_do_is_done_image_by_image_with_a_note(plain, some):
    class Branching(nn.Module):
        def forward(self, images):
            return images + 0.1 * torch.randn_like(images) if float(images.sum()) > 0 else images

    classifier = as_classifier(plain(Branching()), *some)
    assert not classifier.encoder.together
    assert "one image at a time" in classifier.encoder.notes[-1]


def test_randomness_that_no_seed_controls_is_refused(plain, some):
    outside = torch.Generator().manual_seed(0)

    class Hidden(nn.Module):
        def forward(self, images):
            return images + 0.2 * torch.rand((), generator=outside)

    for change in (Hidden(), Counting()):
        with pytest.raises(UserError, match=r"randomness cannot be controlled: on \d+ of 16 images") as found:
            as_classifier(plain(change), *some)
        assert "\n" not in str(found.value)


def test_the_first_look_leaves_a_network_that_keeps_what_it_sees_as_it_was(plain, some):
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = []

        def forward(self, images):
            self.seen.append(images)
            return images

    network = plain(Keeping())
    as_classifier(network, *some)
    assert network.change.seen == []


def test_a_network_in_training_mode_is_set_to_eval_with_a_word_unless_it_is_meant(plain, some):
    network = plain(nn.Dropout(0.3)).train()
    meant = as_classifier(network, *some, keep_training=True)
    assert network.change.training
    assert meant.stochastic
    meant.eval()
    assert network.change.training
    found = as_classifier(network, *some)
    assert not network.training
    assert not found.stochastic
    assert found.encoder.notes[0].startswith("the network was in training mode and was set to eval mode")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images[:, :1], "cannot answer images of 3 x 8 x 8: RuntimeError"),
        (lambda images: 1 / 0, "cannot answer images of 3 x 8 x 8: ZeroDivisionError: division by zero"),
    ],
)
def test_a_network_that_fails_says_why_in_one_line(plain, some, change, said):
    with pytest.raises(UserError, match=said) as found:
        as_classifier(plain(change), *some)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda logits: logits.softmax(1), "returns probabilities"),
        (lambda logits: logits.argmax(1), r"returns torch.int64 \(classes\?\)"),
        (lambda logits: {"logits": logits}, "returns a dict"),
        (lambda logits: logits.T, r"returns the shape \[10, 16\] for 16 images"),
        (lambda logits: logits.where(logits > 0, torch.nan), "NaN or infinite"),
        (lambda logits: logits[:, :7], "labels range from 0 to 9, and the network has 7 classes"),
    ],
)
def test_answers_that_are_no_logits_are_one_line(plain, some, answer, said):
    network = plain()
    with pytest.raises(UserError, match=said):
        as_classifier(lambda images: answer(network(images)), *some)


def test_weights_of_another_type_or_on_two_devices_are_one_line(plain, some):
    with pytest.raises(UserError, match=r"weights are torch\.float64: must be torch\.float32"):
        as_classifier(plain().double(), *some)
    network = plain()
    network.head.to("meta")
    with pytest.raises(UserError, match="the network is on cpu and meta: must be on one device"):
        as_classifier(network, *some)


def test_a_network_that_expects_pixels_up_to_255_is_refused_or_scaled(plain, digits):
    images, labels = digits["test"].images.float() / 255, digits["test"].labels
    network = plain(lambda pixels: pixels / 255)
    with pytest.raises(UserError, match="on images multiplied by 255: does it expect these"):
        as_classifier(network, images, labels)
    as_classifier(network, images, labels, range_checked=False)
    scaled = as_classifier(network, images, labels, mean=(0, 0, 0), std=(1 / 255,) * 3)
    assert (scaled(images).argmax(1) == labels).double().mean() > 0.9


def test_a_network_whose_noise_larger_pixels_drown_gets_a_note_and_is_measured(plain, digits):
    """It expects [0,1]: on images multiplied by 255 its noise weighs nothing."""
    images, labels = digits["test"].images.float() / 255, digits["test"].labels
    network = plain(lambda pixels: (pixels + 0.8 * torch.randn_like(pixels)) / pixels.amax().clamp_min(1))
    found = as_classifier(network, images, labels)
    assert found.stochastic
    assert any(
        "on images multiplied by 255: it expects these, or larger pixels" in note for note in found.encoder.notes
    )


def of_the_batch(images):
    """Brightness relative to the other images of a batch."""
    return (images - images.mean(dim=0) + 0.5).clamp(0, 1)


@pytest.mark.parametrize("offset", [0, 5000])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_answers_that_depend_on_other_images_of_the_batch_are_noted(plain, some, offset, count):
    network = plain(of_the_batch)
    found = as_classifier(lambda images: network(images) + offset, some[0][:count], some[1][:count])
    assert sum("depends on the other images of its batch" in note for note in found.encoder.notes) == 1


def test_an_answer_that_other_images_make_nan_depends_on_them(plain, some):
    network = plain()
    dark = 0.4 * some[0]
    found = as_classifier(
        lambda images: network(images) * (1 + 0 * (0.4 - images.mean()).sqrt()), dark, some[1], range_checked=False
    )
    assert any("depends on the other images of its batch (by nan" in note for note in found.encoder.notes)


def too_bright(images):
    if images.mean() > 0.6:
        raise ValueError("too bright an image")
    return images


def test_a_network_that_refuses_what_nobody_asked_is_measured(plain, some):
    """Inverted images, or pixels up to 255."""
    notes = as_classifier(plain(too_bright), *some).encoder.notes
    assert not [note for note in notes if "other images" in note]


@pytest.mark.parametrize("change", [nn.Identity(), nn.Dropout(0.3).train(), Coin("numpy"), torch.poisson])
def test_noise_of_an_image_or_of_a_batch_is_no_dependence_on_its_company(plain, some, change):
    network = plain(change)
    if isinstance(change, nn.Module):
        change.train()
    notes = as_classifier(network, *some, range_checked=False).encoder.notes
    assert not [note for note in notes if "other images" in note]


def test_a_network_that_fails_on_another_batch_says_so_in_one_line(plain, some):
    classifier = as_classifier(plain(lambda images: images if len(images) > 3 else 1 / 0), *some)
    with pytest.raises(UserError, match="cannot answer a batch of 2, images of 3 x 8 x 8: ZeroDivisionError"):
        classifier(some[0][:2])


def test_a_network_that_draws_and_takes_no_single_image_says_so_once(plain, some):
    def two(images):
        if len(images) < 2:
            raise ValueError("needs two")
        return images + 0.1 * torch.randn_like(images)

    said = r"^the network draws, and cannot answer a single image, so its noise cannot be held: ValueError: needs two$"
    with pytest.raises(UserError, match=said):
        as_classifier(plain(two), *some)


def test_that_memory_lacks_stays_torchs_error_since_a_smaller_batch_may_do(plain, some):
    def hungry(images):
        if len(images) > 20:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return images

    with pytest.raises(RuntimeError, match="allocate"):
        as_classifier(plain(hungry), some[0][:16], some[1][:16])(some[0])


def test_a_function_has_no_mode_that_could_be_set(plain, some):
    network = plain(nn.Dropout(0.3)).train()
    found = as_classifier(lambda images: network(images) + 0, *some)
    assert found.stochastic
    assert network.training
    assert not [note for note in found.encoder.notes if "training mode" in note]


def test_pixels_reach_the_network_unrounded(plain, some):
    seen = []
    images = some[0] * 0.9 + 0.01234567
    as_classifier(plain(lambda pixels: seen.append(pixels) or pixels), images, some[1])
    assert all(torch.equal(pixels[0], images[0]) for pixels in seen[:1])


def test_one_answer_to_all_images_is_noted(plain, some):
    network = plain()
    nn.init.zeros_(network.head.weight)
    assert "answers class" in as_classifier(network, *some).encoder.notes[-1]


def test_a_network_is_known_by_weights_plain_attributes_and_mode(plain, some):
    def known(**changes) -> str:
        network = plain(nn.Dropout(0.1))
        for name, value in changes.items():
            setattr(network, name, value)
        return identity_of_encoder(as_encoder(network, some[0]), 8)

    def noisy() -> str:
        network = plain(nn.Dropout(0.1))
        network.change.train()
        return identity_of_encoder(as_encoder(network, some[0]), 8)

    def other_weights() -> str:
        network = plain(nn.Dropout(0.1))
        nn.init.ones_(network.head.bias)
        return identity_of_encoder(as_encoder(network, some[0]), 8)

    assert known() == known()
    assert len({known(), known(sigma=1.0), known(sigma=2.0), noisy(), other_weights()}) == 5


def test_generators_are_found_in_lists_and_mappings_and_put_back():
    network = nn.Module()
    network.one, network.more = torch.Generator(), {"a": torch.Generator()}
    found = own_generators(network)
    assert found == [network.one, network.more["a"]]
    before, python = [each.get_state() for each in found], random.getstate()
    with reseeded(3, torch.device("cpu"), found):
        random.random()
        first = [float(torch.rand((), generator=each)) for each in found]
    assert first[0] != first[1]
    assert random.getstate() == python
    assert all(torch.equal(each.get_state(), state) for each, state in zip(found, before, strict=True))


class Keeps(nn.Module):
    """Changes each of its buffers in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("moved", torch.ones(3))
        self.register_buffer("replaced", torch.ones(3))
        self.register_buffer("grown", torch.ones(3))
        self.register_buffer("expanded", torch.tensor([torch.nan, 1.0]).expand(4, 2))
        self.register_buffer("flags", torch.tensor([True, False]))

    def forward(self, images):
        self.moved += 1
        self.replaced = self.replaced + 1
        self.grown.resize_(8)
        self.flags.logical_not_()
        return images


def test_buffers_have_their_values_back_whatever_a_network_did_to_them():
    network = Keeps()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with buffers_kept(network):
        network(torch.ones(1))
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0, equal_nan=True)
