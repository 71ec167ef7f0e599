"""The plants look robust and are not: they keep what a network answers and spoil what attacks are led by."""

import copy
from typing import Any

import pytest
import torch
from scipy.fft import dctn
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.classifier import Classifier, frozen
from sslkuramoto.encoders import AKOrN
from sslkuramoto.encoders.features import Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.audit.plants import PLANTS, code_of_plant, described_plant, planted, resolved
from sslkuramoto.evaluation.audit.plants.altered import uniform
from sslkuramoto.evaluation.audit.plants.features import _dropped, _pruned, _winners
from sslkuramoto.evaluation.audit.plants.pixels import SIDE, _blocks, _thermometer, cosines
from sslkuramoto.evaluation.audit.plants.random_pixels import SIGMA, _crop, _langevin, noisy_encoder, roughness
from sslkuramoto.evaluation.audit.plants.remembering import Memory
from sslkuramoto.randomness import generator
from sslkuramoto.sources import PACKAGE

DRAWING = {"noisy", "crop_resize", "langevin", "dropout", "pruned"}
DEAD = ["quantised", "scaled", "tanh", "rounded", "levels", "blocks"]
CUT = ["detached", "thermometer"]


@pytest.fixture
def images(digits) -> Tensor:
    return digits["test"].images[:64].float() / 255


@pytest.fixture
def labels(digits) -> Tensor:
    return digits["test"].labels[:64]


def gradient(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    moved = images.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(classifier(moved), labels, reduction="sum"), moved)[0]


@pytest.mark.parametrize("plant", PLANTS)
def test_it_costs_little_accuracy_and_says_whether_it_draws(plant: str, cnn, images, labels) -> None:
    fake = Classifier(*planted(plant, *cnn))
    assert fake.stochastic == (plant in DRAWING)
    right = (fake(images).argmax(dim=1) == labels).float().mean()
    assert right > 0.5, "an audit has something to attack"
    assert Classifier(*cnn)(images).argmax(dim=1).eq(labels).float().mean() >= right - 0.05


@pytest.mark.parametrize("plant", PLANTS)
def test_it_can_be_copied_and_put_into_a_network_that_draws(plant: str, images) -> None:
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    head = nn.Linear(encoder.num_features, 10)
    fake = copy.deepcopy(Classifier(*planted(plant, encoder, head)))
    assert fake.stochastic
    state = fake.encoder.sample_initial(images[:3], generator("cpu", 1))
    assert torch.equal(fake(images[:3], initial=state), fake(images[:3], initial=state))
    draws = [fake.encoder(images[:3], draw=generator("cpu", k)).pooled for k in range(2)]
    assert not torch.equal(*draws)
    fixed = Classifier(fake.encoder, fake.head, "fixed")
    assert torch.equal(fixed(images[:3]), fixed(images[:3]))


@pytest.mark.parametrize("plant", PLANTS)
def test_many_draws_answer_as_one_call_for_each(plant: str, images, noisy) -> None:
    encoder = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    fakes = [Classifier(*planted(plant, encoder, nn.Linear(encoder.num_features, 10))) for _ in range(2)]
    fakes[1].head.load_state_dict(fakes[0].head.state_dict())
    with torch.no_grad():
        alone = torch.stack([fakes[0](images[:5], draw=generator("cpu", k)) for k in range(3)])
        together = fakes[1].over_draws(images[:5], [generator("cpu", k) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert fakes[0].encoder.draws_share_passes == (plant not in ("batch_norm", "memory"))
    assert not planted(plant, *noisy)[0].draws_share_passes, "it takes more than its encoder says"


@pytest.mark.parametrize("plant", DEAD)
def test_its_gradient_is_zero(plant: str, cnn, images) -> None:
    plain, fake = Classifier(*cnn), Classifier(*planted(plant, *cnn))
    labels = plain(images).argmax(dim=1)
    assert float(gradient(plain, images, labels).abs().flatten(1).amax(dim=1).min()) > 0
    dead = gradient(fake, images, labels).abs().flatten(1).amax(dim=1) == 0
    assert float(dead.float().mean()) > 0.9


@pytest.mark.parametrize("plant", CUT)
def test_its_logits_have_no_graph(plant: str, cnn, images) -> None:
    moved = images.clone().requires_grad_()
    plain, fake = Classifier(*cnn), Classifier(*planted(plant, *cnn))
    with frozen(plain, fake):
        assert plain(moved).requires_grad
        assert not fake(moved).requires_grad


def test_a_detached_head_gives_the_same_logits(cnn, images) -> None:
    assert torch.equal(Classifier(*planted("detached", *cnn))(images), Classifier(*cnn)(images))


@pytest.mark.parametrize("plant", ["decoy", "branches"])
def test_its_gradient_is_neither_zero_nor_that_of_the_network(plant: str, cnn, images) -> None:
    plain, fake = Classifier(*cnn), Classifier(*planted(plant, *cnn))
    assert (plain(images) - fake(images)).abs().max() < 0.1 * plain(images).abs().max()
    labels = plain(images).argmax(dim=1)
    theirs, ours = gradient(fake, images, labels).flatten(1), gradient(plain, images, labels).flatten(1)
    assert theirs.abs().amax(dim=1).min() > 0
    assert F.cosine_similarity(theirs, ours).abs().mean() < 0.5


def test_a_saturated_tanh_answers_minus_one_and_one(cnn, images) -> None:
    plain, fake = Classifier(*cnn)(images), Classifier(*planted("tanh", *cnn))(images)
    hard = (fake.abs() == 1).all(dim=1)
    assert hard.float().mean() > 0.9
    assert (fake[hard] == 1).sum(dim=1).eq(1).all()
    assert torch.equal(fake.argmax(dim=1), plain.argmax(dim=1))


def test_a_thermometer_rounds_to_the_nearest_share_of_its_thresholds() -> None:
    values = torch.linspace(0, 1, 1000).expand(1, 3, 1, 1000)
    code = _thermometer(values, 16)
    assert (code - values).abs().max() <= 0.5 / 16 + 1e-6
    assert code.unique().numel() == 17


def test_eight_bits_leave_stored_images_alone(cnn, images) -> None:
    fake = Classifier(*planted({"name": "levels", "levels": 256}, *cnn))
    assert torch.allclose(fake(images), Classifier(*cnn)(images), atol=1e-5)


def test_blocks_are_rounded_cosine_coefficients() -> None:
    assert torch.allclose(cosines(torch.device("cpu")) @ cosines(torch.device("cpu")).T, torch.eye(SIDE), atol=1e-6)
    images = torch.rand(2, 3, 16, 24, generator=generator("cpu", "blocks"))
    strength, order = 0.2, torch.arange(SIDE)
    steps = strength * (1 + order[:, None] + order[None]) / 2
    expected = dctn(images[1, 2, 8:, 8:16].numpy(), norm="ortho")
    found = dctn(_blocks(images, strength)[1, 2, 8:, 8:16].numpy(), norm="ortho")
    assert torch.allclose(torch.tensor(found), (torch.tensor(expected) / steps).round() * steps, atol=1e-5)
    assert _blocks(images[:, :, :11, :9], strength).shape == (2, 3, 11, 9)
    assert torch.allclose(_blocks(images, 1e-6), images, atol=1e-4)


def test_a_crop_of_the_whole_is_the_image_and_all_crops_lie_inside() -> None:
    ramp = torch.linspace(0, 1, 8).expand(500, 3, 8, 8)
    noise = torch.randn(500, 1, 8, 8, generator=generator("cpu", "crops"))
    assert torch.allclose(_crop(ramp, noise, 1.0), ramp, atol=1e-6)
    cropped = _crop(ramp, noise, 0.5)
    assert 0 <= cropped.min() <= cropped.max() <= 1
    width = cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]
    assert 0.4 < width.min() < 0.6 < 0.9 < width.max() <= 1
    one = _crop(ramp, noise[:1], 0.5)
    assert torch.equal(one[0], one[1]), "one state serves all images"


def test_langevin_steps_follow_the_gradient_of_their_energy() -> None:
    x = torch.rand(2, 3, 5, 6, generator=generator("cpu", "energy"), dtype=torch.float64).requires_grad_()
    energy = ((x[..., 1:, :] - x[..., :-1, :]).square().sum() + (x[..., 1:] - x[..., :-1]).square().sum()) / 2
    assert torch.allclose(torch.autograd.grad(energy, x)[0], roughness(x.detach()), atol=1e-12)
    flat = torch.full((4000, 3, 2, 2), 0.5)
    noise = torch.randn(4000, 15, 2, 2, generator=generator("cpu", "langevin"))
    smooth = _langevin(flat, noise, 5, 0.05, 0.02)
    mean = smooth.mean(dim=(2, 3))  # the smoothing keeps the mean of an image: a free walk of five steps
    assert abs(mean.std().item() - (5 * 2 * 0.05 * 0.02 / 4) ** 0.5) < 0.002


def pooled(values: Tensor) -> Features:
    return Features(values, values[:, :, None, None])


def test_winners_stay_and_losers_are_zero() -> None:
    found = _winners(pooled(torch.tensor([[3.0, -1.0, 2.0, 0.5]])), 0.5).pooled
    assert found.tolist() == [[3.0, 0.0, 2.0, 0.0]]


def test_dropout_and_pruning_keep_the_mean_of_every_feature() -> None:
    values = torch.tensor([[4.0, 2.0, -1.0, 0.5]])
    noise = torch.randn(200_000, 1, 2, 2, generator=generator("cpu", "mean"))
    dropped = _dropped(pooled(values), noise, 0.3).pooled
    assert torch.allclose(dropped.mean(dim=0), values[0], atol=0.02)
    assert abs((dropped == 0).float().mean().item() - 0.3) < 0.01
    cut = _pruned(pooled(values), noise, 3).pooled
    assert torch.allclose(cut.mean(dim=0), values[0], atol=0.02)
    drawn = values[0].abs() / values.abs().sum()
    assert torch.allclose((cut == 0).float().mean(dim=0), (1 - drawn) ** 3, atol=0.01)


def test_uniform_numbers_are_uniform() -> None:
    found = uniform(torch.randn(100_000, generator=generator("cpu", "uniform"))).sort().values
    assert (found - torch.linspace(0, 1, 100_000)).abs().max() < 0.01


def test_batch_statistics_depend_on_the_batch(cnn, images) -> None:
    fake, plain = Classifier(*planted("batch_norm", *cnn)), Classifier(*cnn)
    assert torch.allclose(fake(images), plain(images), atol=1e-4), "the first batch is left as it is"
    assert not torch.allclose(fake(images[:7]), plain(images[:7]), atol=1e-2)


def test_a_memory_answers_near_images_as_the_first() -> None:
    memory = Memory(0.2, most=2)
    first = torch.tensor([0.1, 0.5, 0.9])[:, None, None, None].expand(3, 3, 2, 2)
    assert torch.equal(memory(first), first)
    assert torch.equal(memory(first + 0.15)[:2], first[:2])
    assert torch.equal(memory(first[:1] + 0.1), first[:1])
    assert torch.equal(memory(first[2:] + 0.05), first[2:] + 0.05), "two are remembered"


def test_noise_is_drawn_at_every_call_and_can_be_held(cnn, images) -> None:
    noisy = planted("noisy", *cnn)
    assert noisy[0].stochastic
    random, fixed = Classifier(*noisy), Classifier(*noisy, "fixed")
    assert random.stochastic
    assert not torch.equal(random(images), random(images))
    assert torch.equal(fixed(images), fixed(images))
    field = noisy[0].sample_initial(images, generator("cpu", 1))
    assert torch.equal(random(images, initial=field), Classifier(*cnn)(images + SIGMA * field))


def test_noise_before_oscillators_carries_both_in_one_field() -> None:
    inner = AKOrN(channels=4, kernel_sizes=(3,), num_steps=1).eval()
    noisy = noisy_encoder(inner, sigma=0.1)
    images = torch.rand(2, 3, 8, 8)
    field = noisy.sample_initial(images, generator("cpu", 2))
    assert field.shape == (2, 3 + 4, 8, 8)
    expected = inner(images + 0.1 * field[:, :3], initial=field[:, 3:]).pooled
    assert torch.equal(noisy(images, initial=field).pooled, expected)


@pytest.mark.parametrize("plant", sorted(DRAWING))
def test_it_wants_a_source_of_noise(plant: str, cnn, images) -> None:
    with pytest.raises(UserError, match="needs draw="):
        planted(plant, *cnn)[0](images)


def test_no_plant_leaves_the_network_as_it_is(cnn) -> None:
    assert planted(None, *cnn) == cnn


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        ("quantized", "unknown plant 'quantized'"),
        ({"levels": 3}, "needs the key 'name'"),
        ({"name": "levels", "bits": 8}, "unknown key of plant levels 'bits'"),
        ({"name": "levels", "levels": 1}, "plant.levels=1: must be"),
    ],
)
def test_a_wrong_plant_is_refused_by_name(plant: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolved(plant)


@pytest.mark.parametrize("plant", PLANTS)
def test_its_defaults_stated_are_the_same_plant_and_its_source_is_known(plant: str) -> None:
    name, options = resolved(plant)
    assert resolved({"name": plant, **options}) == (name, options)
    sources, plugins = code_of_plant(plant)
    assert all((PACKAGE / file).is_file() for file in sources)
    assert (len(sources), plugins) == (1, {})


def test_a_plant_is_described_by_what_is_stated() -> None:
    assert described_plant("levels") == "levels"
    assert described_plant({"name": "levels"}) == "levels"
    assert described_plant({"name": "levels", "levels": 256}) == "levels(levels=256)"
