import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.classification.noise import NoiseAccuracy, noisy
from sslkuramoto.evaluation.corruptions import ImageDraws
from sslkuramoto.evaluation.protocol import load_protocol
from sslkuramoto.statistics import wilson


def test_the_floor_of_the_attacks_is_measured_by_default():
    plain, written = NoiseAccuracy(), load_protocol("noise")
    assert plain.sizes == [8 / 255, 64 / 255]
    assert (plain.kinds, plain.samples, plain.images, plain.draws) == (("sign", "gaussian"), 10, 1000, 20)
    assert (plain.initial, plain.split) == ("random", "test")
    assert {key: written.options[key] for key in ("samples", "images", "draws", "initial", "split")} == {
        key: plain.options[key] for key in ("samples", "images", "draws", "initial", "split")
    }
    assert list(written.options["sizes"]) == list(plain.options["sizes"])
    assert list(written.options["kinds"]) == list(plain.options["kinds"])


def draws(n: int) -> ImageDraws:
    return ImageDraws(torch.arange(n), "cpu")


def test_sign_noise_moves_every_value_by_eps_and_gaussian_noise_by_eps_on_average():
    images = torch.full((20, 3, 16, 16), 0.5)
    signs = noisy(images, "sign", 0.25, draws(20))
    assert set(signs.unique().tolist()) == {0.25, 0.75}
    assert float(signs.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(noisy(images, "gaussian", 0.05, draws(20)).std()) == pytest.approx(0.05, rel=0.03)
    for kind in ("sign", "gaussian"):
        assert torch.equal(noisy(images, kind, 0.0, draws(20)), images)
        extreme = noisy(images.round(), kind, 0.5, draws(20))
        assert 0.0 <= float(extreme.min()) <= float(extreme.max()) <= 1.0


def test_more_noise_costs_more_and_none_costs_nothing(cnn, subject_of):
    result = NoiseAccuracy(sizes=(0.0, "8/255", 0.55), images=100, samples=4)(subject_of(cnn))
    value = {name: metric.value for name, metric in result.metrics.items()}
    for kind in ("sign", "gaussian"):
        assert value[f"{kind}_0_accuracy"] == value["clean_accuracy"]
        assert value["clean_accuracy"] >= value[f"{kind}_8_255_accuracy"] - 0.05
        assert value[f"{kind}_8_255_accuracy"] > value[f"{kind}_0.55_accuracy"] + 0.1
        assert value[f"{kind}_0.55_accuracy_all"] < value[f"{kind}_0.55_accuracy"]
    assert len(result.per_image["sign_8_255_correct"]) == len(result.per_image["index"]) == 100


def test_passes_are_noise_samples_and_intervals_are_over_images(cnn, noisy_net, subject_of):
    plain = NoiseAccuracy(sizes=(0.3,), kinds=("sign",), images=40, samples=5)(subject_of(cnn)).metrics
    assert plain["clean_accuracy"].draws == 1
    metric = plain["sign_0.3_accuracy"]
    assert (metric.draws, metric.n) == (5, 40)
    assert metric.std_over_draws > 0
    assert (metric.low, metric.high) == wilson(metric.value, 40)
    stochastic = NoiseAccuracy(sizes=(0.3,), kinds=("sign",), images=40, samples=5)(subject_of(noisy_net)).metrics
    assert {metric.draws for metric in stochastic.values()} == {20}


@pytest.fixture
def noisy_net(request):
    return request.getfixturevalue("noisy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (8.0,)}, "did you mean 8/255"),
        ({"sizes": ()}, r"sizes=\[\]: must name at least one"),
        ({"kinds": ()}, r"kinds=\[\]: must name at least one"),
        ({"sizes": ("8/255", "8/255")}, "must not contain the same value twice"),
        ({"sizes": (0.2, 0.20000001)}, r"sizes=.*: two are shown as 0\.2; must differ by more"),
        ({"sizes": ("8/255", 0.0313725491)}, "two are shown as 8/255"),
        ({"samples": 0}, "samples=0: must be >= 1"),
        ({"images": 0}, "images=0: must be >= 1"),
    ],
)
def test_wrong_options_are_one_clear_line(options, message):
    with pytest.raises(UserError, match=message):
        NoiseAccuracy(**options)


def test_too_few_draws_and_missing_classifiers_are_refused(noisy_net, subject_of):
    with pytest.raises(UserError, match="at least 20"):
        NoiseAccuracy(draws=19)(subject_of(noisy_net))
    with pytest.raises(UserError, match="noise needs a classifier"):
        NoiseAccuracy()(subject_of((noisy_net[0], None)))
