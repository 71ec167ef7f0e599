"""A folder of results belongs to one network, also where its weights lie out of reach."""

import json

import pytest
import torch

import sslkuramoto as sk
from sslkuramoto.errors import UserError
from sslkuramoto.network_identity import images_to_ask

PGD = [{"name": "pgd", "iterations": 3}]


HIDDEN: dict[str, torch.nn.Module] = {}


def asks_hidden(images: torch.Tensor) -> torch.Tensor:
    return HIDDEN["network"](images)


class Estimator:
    """A plain object that holds a network, as estimators of other packages do."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images)


@pytest.mark.parametrize("hidden_in", ["global variable", "plain object"])
def test_a_folder_refuses_a_function_whose_hidden_network_was_trained_on(plain, some, tmp_path, hidden_in, monkeypatch):
    network = plain()
    monkeypatch.setitem(HIDDEN, "network", network)
    function = asks_hidden if hidden_in == "global variable" else Estimator(network).logits
    kept = sk.robust_accuracy(function, *some, eps=0.1, attacks=PGD, folder=tmp_path / "kept")
    again = sk.robust_accuracy(function, *some, eps=0.1, attacks=PGD, folder=tmp_path / "kept")
    assert again.per_image == kept.per_image
    with torch.no_grad():
        network.head.weight.mul_(-1)
    with pytest.raises(
        UserError, match="belongs to another network: weights and options that can be read are the same"
    ):
        sk.robust_accuracy(function, *some, eps=0.1, attacks=PGD, folder=tmp_path / "kept")


def test_a_folder_takes_a_network_again_that_draws_on_images_of_noise_only(plain, some, tmp_path):
    network, asked = plain(), images_to_ask(some[0].shape[-1])

    def unsure(pixels: torch.Tensor) -> torch.Tensor:
        logits = network(pixels)
        return logits + torch.randn_like(logits) if pixels.shape == asked.shape and pixels.equal(asked) else logits

    state = torch.get_rng_state()
    for _ in range(2):
        sk.calibration(unsure, *some, folder=tmp_path / "kept")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_folder_refuses_another_last_class_of_many_and_another_hidden_head(cnn, some, tmp_path):
    encoder, _ = cnn
    many = [torch.nn.Linear(encoder.num_features, 20) for _ in range(2)]
    with torch.no_grad():
        for each in (many[0].weight, many[1].weight):
            each.copy_(torch.linspace(-1, 1, each.numel()).view_as(each))
        many[1].weight[10:] *= -1

    class Hidden(torch.nn.Module):
        out_features = 20

        def __init__(self, layer: torch.nn.Linear) -> None:
            super().__init__()
            self.inside = Estimator(layer)

        def forward(self, pooled: torch.Tensor) -> torch.Tensor:
            return self.inside.logits(pooled)

    images, labels = some
    for place, build in (
        ("classes", lambda layer: Estimator(lambda pixels: layer(encoder(pixels).pooled)).logits),
        ("head", lambda layer: sk.Classifier(sk.as_encoder(lambda x: encoder(x).pooled, images), Hidden(layer))),
    ):
        sk.calibration(build(many[0]), images, labels, folder=tmp_path / place)
        sk.calibration(build(many[0]), images, labels, folder=tmp_path / place)
        with pytest.raises(UserError, match="belongs to another network"):
            sk.calibration(build(many[1]), images, labels, folder=tmp_path / place)


def test_a_folder_of_an_earlier_version_without_answers_is_continued(plain, some, tmp_path):
    sk.calibration(plain(), *some, folder=tmp_path / "kept")
    file = tmp_path / "kept/model.json"
    about = json.loads(file.read_text())
    assert len(about["answers_on_cpu"]) == 4
    for answers in ({}, {"answers_on_cuda": []}):
        file.write_text(json.dumps({key: about[key] for key in about if not key.startswith("answers")} | answers))
        sk.calibration(plain(), *some, folder=tmp_path / "kept")
    file.write_text(json.dumps(about | {"answers_on_cpu": "none"}))
    with pytest.raises(UserError, match="belongs to another network"):
        sk.calibration(plain(), *some, folder=tmp_path / "kept")
