"""The watch for collapse measures images, not the noise of the oscillators."""

import pytest
import torch
from small_runs import AKORN, Mirrored, metrics, small

from sslkuramoto.data import DATA
from sslkuramoto.encoders.features import one_field
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.training import train
from sslkuramoto.training.loop import _Training
from sslkuramoto.views import VIEWS


@pytest.fixture
def equal_images(monkeypatch):
    """All images of the training set are its first one."""
    build = DATA.build

    def equal(name, options, split):
        found = build(name, options, split)
        found.images[:] = found.images[:1].clone()
        return found

    monkeypatch.setattr(DATA, "build", equal)


@pytest.mark.parametrize("initial", ["random", "fixed"])
def test_equal_images_are_a_collapse_whatever_the_oscillators_do(initial, equal_images, tmp_path, monkeypatch):
    monkeypatch.setitem(VIEWS._members, "mirrored", Mirrored)
    recipe = small(encoder={**AKORN, "initial": initial}, views={"name": "mirrored"})
    with pytest.raises(UserError, match=r"the representation collapsed: feature_std=.* < measure\.stop_on_collapse"):
        train(recipe, tmp_path / "run")
    last = metrics(tmp_path / "run")[-1]
    assert float(last["feature_std"]) == pytest.approx(0, abs=1e-5)


def test_watching_changes_no_weight_and_no_other_number(tmp_path, monkeypatch):
    watched = train(small(measure={"stop_on_collapse": 0.0}), tmp_path / "watched").path
    monkeypatch.setattr(_Training, "_spread_of_features", lambda *_: {})
    plain = train(small(measure={"stop_on_collapse": 0.0}), tmp_path / "plain").path
    for file in sorted(plain.glob("*.safetensors")):
        assert file.read_bytes() == (watched / file.name).read_bytes(), file.name
    for one, other in zip(metrics(plain), metrics(watched), strict=True):
        assert one.items() <= other.items()


def test_an_encoder_that_draws_nothing_has_no_field():
    from sslkuramoto.encoders import ENCODERS

    encoder = ENCODERS.build("akorn", {**{k: v for k, v in AKORN.items() if k != "name"}, "initial": "fixed"})
    assert one_field(encoder, torch.zeros(3, 3, 8, 8), generator("cpu", 0)) is None
