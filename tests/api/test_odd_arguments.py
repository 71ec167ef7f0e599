"""Arguments of a wrong type or out of any sense are one line that names them, whichever function takes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import recipe_file

import sslkuramoto as sk

ATTACK = [{"name": "pgd", "iterations": 1}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 2.5}, "batch_size=2.5: must be a whole number"),
        ({"batch_size": "10"}, "batch_size='10': must be a whole number"),
        ({"seed": -1}, "seed=-1: must be >= 0"),
        ({"seed": 2**63}, "seed=9223372036854775808: must be at most 9,223,372,036,854,775,807"),
        ({"seed": None}, "seed=None: must be a whole number"),
        ({"folder": 5}, "folder=5: must be"),
        ({"folder": ""}, "folder='': must be the name of a folder"),
        ({"progress": "yes"}, "progress='yes': must be true or false"),
        ({"keep_training": 3}, "keep_training=3: must be true or false"),
        ({"range_checked": "no"}, "range_checked='no': must be true or false"),
        ({"mean": [0.5] * 3}, "mean: without std; give both"),
        ({"std": [0.5] * 3}, "std: without mean; give both"),
        ({"mean": "abc", "std": [1] * 3}, "mean='abc': must be three finite numbers"),
        ({"mean": [0.5] * 3, "std": [0] * 3}, r"std=\[0, 0, 0\]: must be three finite numbers, .* above 0"),
        ({"mean": [float("nan")] * 3, "std": [1] * 3}, "mean=.*: must be three finite numbers"),
        ({"mean": 0.5, "std": 0.5}, "mean=0.5: must be three finite numbers"),
        ({"options": ["a"]}, r"options=\['a'\]: must be a mapping"),
        ({"options": {5: 1}}, "options={5: 1}: a key must be text"),
        ({"attacks": "pgd"}, "attacks='pgd': must be a list"),
        ({"attacks": 5}, "attacks=5: must be a list"),
        ({"ways": {"a": {}}}, "attacks: .* cannot be combined with ways"),
    ],
)
def test_an_odd_argument_of_a_measurement_is_one_line(plain, some, arguments, said):
    with pytest.raises(sk.UserError, match=said):
        sk.robust_accuracy(plain(), *some, **({"attacks": ATTACK} | arguments))


def test_options_of_every_measurement_are_a_mapping(plain, some):
    images, labels = some
    features = sk.as_encoder(torch.nn.Flatten(), images)
    for measure in (sk.audit, sk.calibration, sk.corruptions):
        with pytest.raises(sk.UserError, match="options='abc': must be a mapping"):
            measure(plain(), images, labels, options="abc")
    with pytest.raises(sk.UserError, match="options=5: must be a mapping"):
        sk.knn_accuracy(features, some, images, labels, options=5)


@pytest.mark.parametrize("draws", [0, -1, 2.5, "a", True])
def test_features_take_a_number_of_draws_or_none(some, draws):
    with pytest.raises(sk.UserError, match=f"draws={draws!r}: must be"):
        sk.features(sk.as_encoder(torch.nn.Flatten(), some[0]), some[0], draws=draws)


@pytest.mark.parametrize("seed", [-1, 2.5, "a", None])
def test_the_seed_of_features_and_of_a_first_look_is_a_whole_number(some, seed):
    with pytest.raises(sk.UserError, match=f"seed={seed!r}: must be"):
        sk.features(sk.as_encoder(torch.nn.Flatten(), some[0]), some[0], seed=seed)
    with pytest.raises(sk.UserError, match=f"seed={seed!r}: must be"):
        sk.as_encoder(torch.nn.Flatten(), some[0], seed=seed)


def test_seeds_and_counts_may_be_numbers_of_numpy_and_torch(plain, some):
    encoder = sk.as_encoder(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout()), some[0], keep_training=True)
    wanted = sk.features(encoder, some[0], draws=20, seed=3, batch_size=5)
    odd: dict[str, Any] = {"draws": np.int64(20), "seed": torch.tensor(3), "batch_size": np.int32(5)}
    assert torch.equal(sk.features(encoder, some[0], **odd), wanted)
    again: Any = np.int64(3)
    parts = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout())
    twin = sk.as_encoder(parts, some[0], keep_training=True, seed=again)
    assert torch.equal(sk.features(twin, some[0], draws=20, seed=3, batch_size=5), wanted)
    setting: Any = {"seed": again, "batch_size": torch.tensor(4)}
    found = sk.calibration(plain(), *some, **setting, options={"bins": np.array([5])})
    assert found.metrics == sk.calibration(plain(), *some, seed=3, batch_size=4, options={"bins": [5]}).metrics


@pytest.mark.parametrize("network", [5, "net", None, torch.nn.Linear])
def test_what_cannot_be_called_is_no_network(some, network):
    with pytest.raises(sk.UserError, match=r"must be a torch\.nn\.Module or a function"):
        sk.robust_accuracy(network, *some, attacks=ATTACK)


@pytest.mark.parametrize("place", ["a" * 5000, 5, None, "a\0b", b"x", ["a"], "\ud800"])
def test_what_is_no_place_is_one_short_line(place):
    for function in (sk.load, sk.train, lambda run: sk.evaluate(run, "knn"), lambda file: sk.compare(file, file)):
        with pytest.raises(sk.UserError) as caught:
            function(place)
        assert len(str(caught.value)) < 3000
        assert str(caught.value).isprintable()


def test_mean_and_std_may_be_tensors(plain, some):
    given = sk.as_encoder(torch.nn.Flatten(), some[0], mean=torch.full((3,), 0.5), std=torch.ones(3))
    listed = sk.as_encoder(torch.nn.Flatten(), some[0], mean=[0.5] * 3, std=[1.0] * 3)
    assert torch.equal(given(some[0]).pooled, listed(some[0]).pooled)


def test_the_parts_of_a_run_are_changed_for_a_measurement_as_on_the_command_line(tmp_path: Path):
    run = sk.train(recipe_file(tmp_path / "recipe.yaml"), run=tmp_path / "run")
    found = sk.evaluate(run, "knn", "neighbours=3", "data.limit_test=20")
    assert found.path.name == "knn+neighbours=3+data.limit_test=20.json"
    assert found.result.data["n"] == 20
    assert found.result.data["changed_options"] == {"limit_test": 20}
    with pytest.raises(sk.UserError, match=r"encoder\.name: is the run's"):
        sk.evaluate(run, "knn", "encoder.name=timm")
    with pytest.raises(sk.UserError, match="device=nowhere: not usable here"):
        sk.evaluate(run, "knn", device="nowhere")


@pytest.mark.parametrize(
    ("change", "back", "said"),
    [
        (
            lambda: torch.set_default_dtype(torch.float64),
            lambda: torch.set_default_dtype(torch.float32),
            r"torch\.set_default_dtype\(torch\.float64\) was called: networks are trained and measured in float32",
        ),
        (
            lambda: torch.set_default_device("meta"),
            lambda: torch.set_default_device(None),
            "torch's default device is meta: must be cpu",
        ),
    ],
)
def test_another_default_for_new_tensors_is_named_and_no_fault_of_the_network(plain, some, change, back, said):
    network = plain()
    change()
    try:
        with pytest.raises(sk.UserError, match=said):
            sk.as_classifier(network, *some)
    finally:
        back()
