"""What one step does to the weights, under the options of a recipe."""

import pytest
import torch
from small_runs import AKORN, CLASSIFIER, Mirrored, metrics, small

from sslkuramoto.checkpoint import load
from sslkuramoto.errors import UserError
from sslkuramoto.training import train
from sslkuramoto.views import VIEWS

SGD = {"name": "sgd", "lr": 0.1}
PLAIN = {"name": "akorn", **AKORN, "initial": "stimulus", "readout_map_norm": "none"}


def weights(run):
    return load(run.last_checkpoint)["learner"]


@pytest.fixture(autouse=True)
def _mirrored(monkeypatch):
    monkeypatch.setitem(VIEWS._members, "mirrored", Mirrored)


def test_accumulated_parts_make_the_step_of_the_whole_batch(tmp_path):
    # no BatchNorm, no draw: the mean over parts of the mean loss is the mean loss
    common = {
        **CLASSIFIER,
        "encoder": PLAIN,
        "optimizer": SGD,
        "engine": {"device": "cpu", "precision": "64"},
    }
    whole = train(small(**common), tmp_path / "whole")
    parts = train(small(**common, accumulate=4), tmp_path / "parts")
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-6, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    for one, other in zip(metrics(whole.path), metrics(parts.path), strict=True):
        for column in ("loss", "grad_norm", "accuracy"):
            assert float(one[column]) == pytest.approx(float(other[column]), rel=1e-4)


def test_clipping_bounds_the_step_and_the_log_shows_the_norm_before_it(tmp_path):
    common = {"epochs": 1, "batch_size": 48, "optimizer": {"name": "sgd", "lr": 1.0, "momentum": 0.0}}
    free = train(small(**common), tmp_path / "free")
    clipped = train(small(**common, clip_grad_norm=0.01), tmp_path / "clipped")
    norm = float(metrics(free.path)[0]["grad_norm"])
    assert norm > 0.1
    assert metrics(clipped.path) == metrics(free.path)
    start = train(small(**{**common, "optimizer": {"name": "sgd", "lr": 1e-30}}), tmp_path / "start")
    moved = {
        run: torch.cat(
            [(weights(run)[n] - w).flatten() for n, w in weights(start).items() if "running" not in n]
        ).norm()
        for run in (free, clipped)
    }
    assert float(moved[free]) == pytest.approx(norm, rel=1e-3)
    assert float(moved[clipped]) == pytest.approx(0.01, rel=1e-3)


def test_the_gradient_norm_is_logged_at_every_step(tmp_path):
    rows = metrics(train(small(), tmp_path / "run").path)
    assert [row["step"] for row in rows] == list("012345")
    assert all(float(row["grad_norm"]) > 0 for row in rows)


@pytest.mark.parametrize("precision", ["bf16", "64"])
def test_other_precisions_train_and_stay_near_float32(precision, tmp_path):
    common = {"views": {"name": "mirrored"}, "encoder": {**AKORN, "initial": "stimulus"}, "epochs": 1}
    single = metrics(train(small(**common), tmp_path / "32").path)
    other = train(small(**common, engine={"device": "cpu", "precision": precision}), tmp_path / precision)
    kept = weights(other)["encoder.stem.weight"]
    assert kept.dtype == {"bf16": torch.float32, "64": torch.float64}[precision]
    assert float(metrics(other.path)[0]["loss"]) == pytest.approx(float(single[0]["loss"]), rel=0.02)
    assert metrics(other.path)[0]["loss"] != single[0]["loss"] or precision == "64"


def test_a_run_can_start_from_the_encoder_of_another(tmp_path):
    first = train(small(epochs=1), tmp_path / "first")
    tuned = train(
        small(**CLASSIFIER, epochs=1, init=str(first.path), optimizer={"name": "sgd", "lr": 1e-30}), tmp_path / "tuned"
    )
    for name, value in weights(first).items():
        if name.startswith("encoder.") and "running" not in name and "num_batches" not in name:
            assert torch.equal(weights(tuned)[name], value)
    assert tuned.head_file().is_file()
    assert not first.head_file().exists()


def test_an_initial_run_that_does_not_fit_or_is_none_is_refused_before_data_are_read(tmp_path, monkeypatch):
    first = train(small(epochs=1), tmp_path / "first")
    monkeypatch.setattr("sslkuramoto.data.DATA.build", lambda *_: pytest.fail("data were read"))
    with pytest.raises(UserError, match=r"init=.*first: weight 'layers.*' has shape .*, here "):
        train(small(init=str(first.path), encoder={**AKORN, "channels": 6}), tmp_path / "wider")
    with pytest.raises(UserError, match=r"init='.*nowhere': no finished run"):
        train(small(init=str(tmp_path / "nowhere")), tmp_path / "lost")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first"]
