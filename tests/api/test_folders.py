"""A folder of results belongs to one network, also where its weights lie out of reach."""

import json

import pytest
import torch

import sslkuramoto as sk
from sslkuramoto.errors import UserError

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
