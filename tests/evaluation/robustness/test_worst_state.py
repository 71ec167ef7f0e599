"""The worst initial state: known in closed form for networks that are linear in the state, never outside its set."""

import math

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.worst_state import state_space_of, worst_state
from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.dynamics.sphere import normalise, random_oscillators
from sslkuramoto.dynamics.state_space import EVERYWHERE, Circles, Spheres
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.robustness.worst_state import WorstState
from sslkuramoto.randomness import generator
from sslkuramoto.threat import Threat

QUICK = {"within": [0.0, 0.5, "anywhere"], "eps": 0.05, "images": 12, "chunk": 5, "iterations": 8}
RADII = [0.3, 1.0, EVERYWHERE]
WEIGHT = 0.1


def build(**options) -> WorstState:
    protocol = PROTOCOLS.build("worst_state", {**QUICK, **options})
    assert isinstance(protocol, WorstState)
    return protocol


class Toy(Encoder):
    """Two logits that differ by WEIGHT times the sum of the first coordinates of all states, and a linear term."""

    stochastic = True
    initial = "random"
    oscillators = 3

    def __init__(self, offset: float = 0.0, side: int = 4, classes: int = 2) -> None:
        super().__init__()
        self.num_features = classes
        self.offset = offset
        draw = generator("cpu", "toy")
        self.weight = nn.Parameter(0.02 * torch.randn(3 * side * side, generator=draw))

    def cosines(self, initial: Tensor) -> Tensor:
        """Cosine of the angle of each oscillator from the state that is best for class 0, "b m"."""
        raise NotImplementedError

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if initial is None:
            assert draw is not None
            initial = self.sample_initial(images, draw)
        ahead = WEIGHT * self.cosines(initial).sum(dim=1) + (images - 0.5).flatten(1) @ self.weight + self.offset
        logits = torch.zeros(len(images), self.num_features)
        logits[:, 1:] = -10.0
        logits = torch.cat([ahead[:, None], 0 * ahead[:, None], logits[:, 2:]], dim=1)
        return Features(logits, logits[:, :, None, None])


class OnSpheres(Toy):
    normalises_initial = True
    oscillator_dim: int

    def __init__(self, n: int, **options) -> None:
        super().__init__(**options)
        self.oscillator_dim = n

    def cosines(self, initial):
        return normalise(initial, self.oscillator_dim).flatten(1)[:, :: self.oscillator_dim]

    def sample_initial(self, images, draw):
        return random_oscillators((len(images), self.oscillators * self.oscillator_dim, 1, 1), draw)


class OnCircles(Toy):
    initial_scale: float = 0.5

    def cosines(self, initial):
        return (self.initial_scale * initial).cos().flatten(1)

    def sample_initial(self, images, draw):
        return random_oscillators((len(images), self.oscillators, 1, 1), draw)


TOYS = {"n=2": lambda **o: OnSpheres(2, **o), "n=3": lambda **o: OnSpheres(3, **o), "phases": OnCircles}
every_toy = pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)


def classifier_of(encoder: Encoder) -> Classifier:
    return Classifier(encoder, nn.Identity(), seed=0)


def worst_cosines(toy: Toy, states: Tensor, radius: float) -> Tensor:
    """Return the cosines when every oscillator turns away by ``radius``, but not beyond the opposite point."""
    angle = toy.cosines(states).clamp(-1, 1).acos()
    return (angle + radius).clamp(max=math.pi).cos()


def attacked(toy: Toy, radius: float, eps: float, *, b: int = 6, **options):
    draw = generator("cpu", "attack", 1)
    images = torch.full((b, 3, 4, 4), 0.5)
    states = toy.sample_initial(images, draw)
    found = {"iterations": 60, "loss": "margin", **options}
    with frozen(toy):
        moved = worst_state(
            classifier_of(toy), images, torch.zeros(b, dtype=torch.int64), states, radius=radius,
            threat=Threat("linf", eps), **found,
        )  # fmt: skip
    return images, states, *moved


@every_toy
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_the_worst_state_and_the_worst_pair_are_those_of_the_closed_form(toy, radius, eps) -> None:
    toy = toy()
    images, states, pixels, found = attacked(toy, radius, eps)
    lowest = WEIGHT * worst_cosines(toy, states, radius).sum(dim=1) - eps * toy.weight.detach().abs().sum()
    ahead = toy(pixels, initial=found).pooled.detach()[:, 0]
    torch.testing.assert_close(ahead, lowest, atol=1e-3, rtol=0)
    space = state_space_of(toy)
    assert float(space.angles(space.start(found), space.start(states)).max()) <= radius + 1e-4
    if isinstance(space, Spheres):
        torch.testing.assert_close(space.start(found), found)
    Threat("linf", eps).check(pixels, images, "worst state")


@every_toy
def test_with_no_room_neither_state_nor_image_changes_by_a_bit(toy) -> None:
    images, states, pixels, found = attacked(toy(), 0.0, 0.0)
    assert torch.equal(states, found)
    assert torch.equal(images, pixels)
    _, states, pixels, found = attacked(toy(), 0.0, 0.1)
    assert torch.equal(states, found)
    assert not torch.equal(images, pixels)


def labelled(some_set, classes: int = 10):
    """Return images that all belong to class 0, of which the toys know two."""
    found = some_set(20, classes=classes)
    object.__setattr__(found, "labels", torch.zeros(20, dtype=torch.int64))
    return found


@every_toy
def test_accuracies_are_those_of_the_closed_form_over_draws(toy, some_set, subject_of) -> None:
    encoder = toy(offset=0.15, side=8)
    head = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    data = labelled(some_set, classes=2)
    subject = subject_of((encoder, head), data=lambda split: data)
    result = build(within=[0.0, 0.5, "anywhere"], chunk=12, iterations=30)(subject)
    pixels = torch.stack([data.images[place] for place in result.per_image["index"]]) / 255
    image = (pixels - 0.5).flatten(1) @ encoder.weight.detach() + 0.15
    draws = [generator("cpu", 0, "worst_state", "start", k, 0) for k in range(20)]
    states = [encoder.sample_initial(pixels, draw) for draw in draws]
    less = (pixels.flatten(1) - (pixels.flatten(1) - 0.05 * encoder.weight.detach().sign()).clamp(0, 1)) @ (
        encoder.weight.detach()
    )
    for name, radius in {"within_0": 0.0, "within_0.5": 0.5, "anywhere": EVERYWHERE}.items():
        lowest = torch.stack([image + WEIGHT * worst_cosines(encoder, one, radius).sum(dim=1) for one in states])
        for what, ahead in (("state", lowest), ("joint", lowest - less)):
            assert float(ahead.abs().min()) > 1e-6
            expected = (ahead > 0).double()
            near = (ahead.abs() < 2e-3).double().mean()
            assert abs(result.metrics[f"{what}_accuracy_{name}"].value - float(expected.mean())) <= near
    clean = result.metrics["clean_accuracy"].value
    assert result.metrics["state_accuracy_within_0"].value == clean
    assert result.metrics["state_accuracy_anywhere"].value < clean


def test_the_numbers_state_no_reading_and_a_seed_repeats_them(some_set, subject_of, tmp_path) -> None:
    data = labelled(some_set, classes=2)
    head = nn.Linear(2, 2)
    found = []
    for name in "ab":
        subject = subject_of((OnSpheres(2, offset=0.1, side=8), head), data=lambda split: data, run_dir=tmp_path / name)
        found.append(build()(subject))
    assert found[0].to_dict() == found[1].to_dict()
    assert {metric.reading for metric in found[0].metrics.values()} == {None}, "no column of robust accuracy takes them"
    assert {metric.draws for metric in found[0].metrics.values()} == {20}


def test_a_run_that_was_killed_resumes_with_equal_numbers(some_set, subject_of, tmp_path, monkeypatch) -> None:
    data, network = labelled(some_set, classes=2), (OnCircles(offset=0.1, side=8), nn.Linear(2, 2))
    whole = build()(subject_of(network, data=lambda split: data, run_dir=tmp_path / "whole"))
    subject = subject_of(network, data=lambda split: data, run_dir=tmp_path / "killed")
    attack, calls = WorstState._answers, []

    def killed(*arguments):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(arguments)
        return attack(*arguments)

    monkeypatch.setattr(WorstState, "_answers", killed)
    with pytest.raises(KeyboardInterrupt):
        build()(subject)
    calls.clear()
    monkeypatch.setattr(WorstState, "_answers", lambda *arguments: calls.append(arguments) or attack(*arguments))
    assert build()(subject).to_dict() == whole.to_dict()
    assert len(calls) == 3 * 3 * 2 - 3, "three of 18 units were in the ledger"


@pytest.mark.parametrize(
    ("name", "space"), [("akorn", Spheres(2)), ("patch_akorn", Spheres(2)), ("winfree", Circles(0.01))]
)
def test_networks_with_oscillators_have_states_to_choose(name, space) -> None:
    encoder = ENCODERS.build(name, ENCODERS.small(name))
    found = state_space_of(encoder)
    assert type(found) is type(space)
    if isinstance(found, Circles):
        assert found == space
    else:
        assert found.n == encoder.oscillator_dim


@pytest.mark.parametrize("name", ["akorn", "winfree"])
def test_the_loss_of_a_real_network_rises_along_the_ascent_and_equal_directions_are_one_state(name) -> None:
    options = {**ENCODERS.small(name), **({"initial_scale": 1.0} if name == "winfree" else {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = ENCODERS.build(name, options).eval()
        classifier = Classifier(encoder, nn.Linear(encoder.num_features, 10), seed=0)
    images = torch.rand(3, 3, 8, 8, generator=generator("cpu", "images"))
    states = encoder.sample_initial(images, generator("cpu", "states"))
    labels = classifier(images, initial=states).argmax(dim=1)
    log = [classifier(images, initial=states).log_softmax(dim=1).gather(1, labels[:, None])]
    with frozen(classifier):
        for radius in (0.3, EVERYWHERE):
            _, found = worst_state(
                classifier, images, labels, states, radius=radius, threat=Threat("linf", 0.0), iterations=10, loss="ce"
            )
            log.append(classifier(images, initial=found).log_softmax(dim=1).gather(1, labels[:, None]))
    assert torch.all(log[1] < log[0])
    assert float(log[2].mean()) < float(log[1].mean())


def test_a_network_that_draws_more_than_its_state_is_refused_whatever_it_says_of_shared_passes(some_set, subject_of):
    class Flipping(OnSpheres):
        draws_share_passes = True

        def forward(self, images, *, initial=None, draw=None, trace=False):
            found = super().forward(images, initial=initial, draw=draw, trace=trace)
            return found if draw is None else found._replace(pooled=-found.pooled)

    data, head = labelled(some_set, classes=2), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    with pytest.raises(UserError, match="equal images with equal draws have different predictions"):
        build(chunk=12)(subject_of((Flipping(2, side=8), head), data=lambda split: data))


def test_the_estimate_is_never_exceeded(some_set, subject_of) -> None:
    encoder = ENCODERS.build("akorn", {"channels": 4, "kernel_sizes": [3], "num_steps": 1}).eval()
    data = some_set(12)
    subject = subject_of((encoder, nn.Linear(encoder.num_features, 10)), data=lambda split: data)
    ((_, cost),) = build(iterations=2).estimate(subject)
    with counted(encoder) as count:
        build(iterations=2)(subject)
    assert count.all <= cost.forward + cost.backward <= count.all + 2 * 5, "two looks at most"


def test_a_deterministic_network_and_noise_of_another_kind_are_refused_in_one_line(cnn, noisy, subject_of) -> None:
    for network, message in ((cnn, "this one is deterministic"), (noisy, "on spheres or circles")):
        with pytest.raises(UserError, match=message) as error:
            build()(subject_of(network))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"within": []}, "at least one radius"),
        ({"within": [0.5, 0.5]}, "none twice"),
        ({"within": [3.5]}, r"within=3\.5: must be in \[0, pi\)"),
        ({"within": [-0.1]}, "must be in"),
        ({"within": ["nowhere"]}, "within="),
        ({"loss": "margin_targeted"}, "no targeted losses"),
    ],
)
def test_impossible_options_are_refused_in_one_line(options, message) -> None:
    with pytest.raises(UserError, match=message) as error:
        build(**options)
    assert "\n" not in str(error.value)
