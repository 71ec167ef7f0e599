"""Measurements inside torch.inference_mode(), in which torch follows no gradient."""

import copy

import pytest
import torch
from small_runs import CLASSIFIER, recipe_file

import sslkuramoto as sk
from sslkuramoto.errors import UserError

PGD = [{"name": "pgd", "iterations": 3}]


def test_attacks_follow_gradients_in_the_inference_mode_of_the_caller(plain, some):
    images, labels = some
    outside = sk.robust_accuracy(plain(), images, labels, eps=0.1, attacks=PGD)
    with torch.inference_mode():
        inside = sk.robust_accuracy(plain(), images * 1, labels, eps=0.1, attacks=PGD)
        assert torch.is_inference_mode_enabled()
    assert inside.correct == outside.correct
    assert inside["robust_accuracy"].value < inside["clean_accuracy"].value


def test_a_run_is_trained_and_attacked_in_the_inference_mode_of_the_caller(tmp_path):
    options = ["draws=20", "select_draws=20", "images=4", "control=0", "attacks=[{name: pgd, k: 2, iterations: 1}]"]
    with torch.inference_mode():
        run = sk.train(
            recipe_file(tmp_path / "small.yaml", **CLASSIFIER, epochs=1), "data.limit=32", run=tmp_path / "run"
        )
        found = sk.evaluate(run, "robustness", *options)
    assert not any("no gradient reaches the pixels" in note for note in found.notes)


def test_networks_wrapped_or_loaded_in_inference_mode_are_attacked_outside_it(plain, some, tmp_path):
    run = sk.train(recipe_file(tmp_path / "small.yaml", **CLASSIFIER, epochs=1), "data.limit=32", run=tmp_path / "run")
    with torch.inference_mode():
        networks = [sk.as_classifier(plain(), *some), sk.load(run)]
    for network in networks:
        assert not any(each.is_inference() for each in (*network.parameters(), *network.buffers()))
        images = some[0] if network is networks[0] else some[0][:4]
        found = sk.robust_accuracy(network, images, some[1][: len(images)], eps=0.1, attacks=PGD)
        assert found["robust_accuracy"].value <= found["clean_accuracy"].value


def test_weights_that_were_made_in_inference_mode_are_one_line_where_gradients_are_followed(plain, some):
    with torch.inference_mode():
        network = copy.deepcopy(plain())
    with pytest.raises(UserError, match=r"weights were made in torch\.inference_mode\(\), so no gradient passes them"):
        sk.robust_accuracy(network, *some, attacks=PGD)
    assert sk.calibration(network, *some)["accuracy"].value > 0.5, "nothing here needs a gradient"
    sk.robust_accuracy(copy.deepcopy(network), *some, attacks=PGD)
