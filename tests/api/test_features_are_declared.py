"""Logits are no features: protocols that measure features take only a network that was declared to give them."""

import pytest
from torch import nn

import sslkuramoto as sk
from sslkuramoto.cli import main
from sslkuramoto.errors import UserError

NETWORKS = """
import torch
from torch import nn
import sslkuramoto as sk

IMAGES = torch.rand(4, 3, 8, 8)


def body():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()


def whole():
    return nn.Sequential(body(), nn.Linear(144, 10)).eval()


def encoder():
    return sk.as_encoder(body(), IMAGES)


def both():
    return sk.Classifier(encoder(), nn.Linear(144, 10))


def nine():
    return sk.Classifier(encoder(), nn.Linear(144, 9))


def misfit():
    return sk.Classifier(encoder(), nn.Linear(100, 10))


def sizeless():
    return sk.Classifier(encoder(), nn.Sequential(nn.Linear(144, 10)))


class Broken(sk.Encoder):
    num_features = 3

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images, *, initial=None, draw=None, trace=False):
        return self.answer(images)


def tensor():
    return Broken(lambda images: images.mean((2, 3)))


def raising():
    return Broken(lambda images: 1 / 0)


def empty():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 0)).eval()


def meta():
    return nn.Linear(192, 10, device="meta").eval()


def fixed():
    return sk.Classifier(encoder(), nn.Linear(144, 10), "fixed")
"""
DATA = "data={name: digits, limit: 40, limit_test: 20}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, *words: str) -> str:
    """Return the one line with which the command ends."""
    assert main(["evaluate", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("protocol", ["knn", "linear", "clustering"])
def test_a_classifier_given_whole_is_refused_by_what_measures_features(protocol, place, capsys):
    said = refused(capsys, "nets.py:whole", protocol, DATA)
    assert f"{protocol} needs features; nets.py:whole gives logits" in said
    assert "sk.as_encoder(network, images)" in said
    assert not list(place.rglob("results"))


@pytest.mark.parametrize("function", ["encoder", "both"])
def test_an_encoder_and_a_classifier_of_ours_have_features(function, place, capsys):
    assert main(["evaluate", f"nets.py:{function}", "knn", "neighbours=5", DATA]) == 0
    assert "accuracy" in capsys.readouterr().out


def test_a_classifier_of_ours_has_logits_too_and_an_encoder_says_that_it_has_none(place, capsys):
    assert main(["evaluate", "nets.py:both", "clean", DATA]) == 0
    said = refused(capsys, "nets.py:encoder", "clean", DATA)
    assert "clean needs a classifier; nets.py:encoder gives features: sk.Classifier(encoder, head) gives logits" in said


@pytest.mark.parametrize("function", ["whole", "encoder", "both"])
def test_finetuning_needs_a_run_that_was_trained_from_a_recipe(function, place, capsys):
    said = refused(capsys, f"nets.py:{function}", "finetune-digits", DATA)
    assert f"finetune needs a run that was trained from a recipe; nets.py:{function} is a network as it was" in said
    assert "weights=" not in said


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nine", "labels range from 0 to 9, and the network has 9 classes"),
        ("misfit", "the classifier cannot answer images of 3 x 8 x 8: RuntimeError"),
        ("sizeless", "the head, a Sequential, does not state its number of classes: set its out_features"),
        ("fixed", "a Classifier of mode 'fixed': protocols decide it (initial=fixed)"),
    ],
)
def test_a_classifier_of_ours_is_looked_at_like_any_network(function, words, place, capsys):
    assert words in refused(capsys, f"nets.py:{function}", "clean", DATA)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("tensor", "the encoder returns a Tensor, wanted Features(pooled, map)"),
        ("raising", "the encoder cannot answer images of 3 x 8 x 8: ZeroDivisionError: division by zero"),
        ("empty", "the network returns the shape [16, 0] for 16 images"),
        ("meta", "nets.py:meta: the network's weights are on the device meta, so they have no values"),
    ],
)
def test_an_encoder_that_gives_no_features_and_weights_without_values_are_one_line(function, words, place, capsys):
    assert words in refused(capsys, f"nets.py:{function}", "knn", DATA)


def test_a_place_of_results_that_is_a_file_is_one_line(place, capsys):
    (place / "file").write_text("")
    said = refused(capsys, "nets.py:both", "clean", DATA, "--run", "file")
    assert "file: exists and holds no results of a network; choose another directory" in said


def test_another_head_on_the_same_encoder_is_another_network(place, some, tmp_path):
    encoder = sk.as_encoder(nn.Sequential(nn.Flatten()).eval(), some[0])
    first, second = (sk.Classifier(encoder, nn.Linear(192, 10)) for _ in range(2))
    sk.calibration(first, *some, folder=tmp_path / "kept")
    with pytest.raises(UserError, match="belongs to another network: head is"):
        sk.calibration(second, *some, folder=tmp_path / "kept")


def test_from_python_a_plain_network_is_declared_an_encoder_by_as_encoder(plain, some):
    network = plain()
    for call in (
        lambda it: sk.knn_accuracy(it, some, *some, neighbours=1),
        lambda it: sk.features(it, some[0]),
        lambda it: sk.embed(it, some[0]),
    ):
        for given in (network, sk.as_classifier(network, *some)):
            with pytest.raises(UserError, match=r"needs features; (Plain|Classifier) gives logits"):
                call(given)
        call(sk.as_encoder(network, some[0]))
        call(sk.Classifier(network.encoder, network.head))
    with pytest.raises(UserError, match="mean: is for networks that return logits; give it to as_encoder"):
        sk.knn_accuracy(network.encoder, some, *some, mean=(0.5, 0.5, 0.5))
    with pytest.raises(UserError, match="mean, std: are for plain networks"):
        sk.calibration(sk.Classifier(network.encoder, network.head), *some, mean=(0.5, 0.5, 0.5))


def _modes(network: nn.Module) -> dict[str, bool]:
    return {name: part.training for name, part in network.named_modules()}


def test_every_part_of_a_given_network_is_in_its_own_mode_afterwards(plain, some):
    network = plain(nn.Dropout(0.2)).train()
    network.encoder.eval()
    network.encoder.second.train()
    before = _modes(network)
    found = sk.calibration(network, *some)
    assert any("set to eval mode" in note for note in found.notes)
    assert _modes(network) == before
    own = _modes(network.encoder)
    sk.features(network.encoder, some[0])
    sk.knn_accuracy(network.encoder, some, *some, neighbours=1)
    assert _modes(network.encoder) == own


def test_modes_are_given_back_after_an_error_too(plain, some):
    network = plain(lambda images: 1 / 0).train()
    before = _modes(network)
    with pytest.raises(UserError, match="ZeroDivisionError"):
        sk.calibration(network, *some)
    assert _modes(network) == before
    network.encoder.second = nn.Conv2d(5, 24, 3).train()
    before = _modes(network)
    with pytest.raises(RuntimeError):
        sk.features(network.encoder, some[0])
    assert _modes(network) == before
