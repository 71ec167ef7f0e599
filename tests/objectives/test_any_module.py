"""An objective works on any module that returns features, and needs a generator only where something draws."""

import pytest
import torch
from conftest import FEATURES, PIXELS, TinyEncoder
from torch import nn

from sslkuramoto.encoders import Features
from sslkuramoto.errors import UserError
from sslkuramoto.objectives import OBJECTIVES, encode, features_of

CLASSES = 3


class Plain(nn.Sequential):
    """Pooled features as a tensor."""

    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * PIXELS**2, FEATURES), nn.Tanh())


class Named(Plain):
    """The same features by name."""

    def forward(self, images):
        pooled = super().forward(images)
        return Features(pooled, pooled[:, :, None, None])


@pytest.mark.parametrize("network", [Plain, Named])
def test_a_plain_module_is_trained_without_a_generator(name, network, views_of, labels_of) -> None:
    torch.manual_seed(0)
    encoder = network()
    objective = OBJECTIVES.build(name, OBJECTIVES.small(name), encoder, CLASSES)
    labels = labels_of() if objective.needs_labels else None
    outcome = objective(encoder, {view: views_of()[view] for view in objective.views}, labels=labels)
    outcome.loss.backward()
    assert outcome.features.shape == (8, FEATURES)
    assert encoder[1].weight.grad.abs().sum() > 0
    objective.after_step(encoder, 1.0)
    assert isinstance(objective.exported(encoder), network)


def test_a_generator_changes_nothing_where_nothing_draws(name, build, views_of, labels_of, draw) -> None:
    losses = []
    for generator in (None, draw()):
        encoder, objective = build(name)
        labels = labels_of() if objective.needs_labels else None
        given = {view: views_of()[view] for view in objective.views}
        losses.append(objective(encoder, given, draw=generator, labels=labels).loss)
    assert torch.equal(*losses)


def test_a_stochastic_encoder_without_a_generator_is_one_clear_line(name, build, views_of, labels_of) -> None:
    encoder, objective = build(name, stochastic=True)
    labels = labels_of() if objective.needs_labels else None
    with pytest.raises(UserError, match=r"^draw=None: this encoder draws .* give draw= a torch\.Generator$"):
        objective(encoder, {view: views_of()[view] for view in objective.views}, labels=labels)


def test_a_random_start_without_a_generator_is_one_clear_line(build, views_of, labels_of) -> None:
    encoder, objective = build("adversarial", random_start=True)
    with pytest.raises(UserError, match=r"^draw=None: the inner maximisation starts at random"):
        objective(encoder, {"a": views_of()["a"]}, labels=labels_of())


def test_what_a_module_must_have_and_return_is_said() -> None:
    with pytest.raises(UserError, match=r"^Linear has no num_features: .*network\.num_features = 512$"):
        features_of(nn.Linear(2, 3))
    with pytest.raises(UserError, match=r"^Conv2d returns \[1, 2, 4, 4\]: must return features"):
        encode(nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4))
    assert features_of(TinyEncoder()) == FEATURES


class Noisy(Plain):
    """Features with noise from the caller's generator, and no subclass of Encoder."""

    stochastic = True

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[torch.Tensor] = []

    def sample_initial(self, images, draw):
        assert draw is not None, "an objective hands its generator on"
        self.drawn.append(torch.randn(len(images), FEATURES, generator=draw))
        return self.drawn[-1]

    def forward(self, images, *, initial=None, draw=None, trace=False):
        noise = self.sample_initial(images, draw) if initial is None else initial
        pooled = super().forward(images) + noise
        return Features(pooled, pooled[:, :, None, None])


def test_a_module_that_says_that_it_draws_draws_from_the_generator_given(name, views_of, labels_of, draw) -> None:
    losses = []
    for seed in (7, 7, 8):
        torch.manual_seed(0)
        encoder = Noisy()
        objective = OBJECTIVES.build(name, OBJECTIVES.small(name), encoder, CLASSES)
        labels = labels_of() if objective.needs_labels else None
        given = {view: views_of()[view] for view in objective.views}
        losses.append(objective(encoder, given, draw=torch.Generator().manual_seed(seed), labels=labels).loss.item())
        assert encoder.drawn
        with pytest.raises(UserError, match=r"^draw=None: this encoder draws .* give draw= a torch\.Generator$"):
            objective(encoder, given, labels=labels)
    assert losses[0] == losses[1] != losses[2]


def test_adversarial_training_holds_the_noise_of_any_module_or_says_what_it_lacks(views_of, labels_of, draw) -> None:
    torch.manual_seed(0)
    encoder = Noisy()
    objective = OBJECTIVES.build("adversarial", {"steps": 2}, encoder, CLASSES)
    objective(encoder, {"a": views_of()["a"]}, draw=draw(), labels=labels_of())
    assert len(encoder.drawn) == 1

    class Without(Noisy):
        sample_initial = None

    with pytest.raises(UserError, match=r"^noise='held': Without has no sample_initial\(images, draw\)"):
        objective(Without(), {"a": views_of()["a"]}, draw=draw(), labels=labels_of())
