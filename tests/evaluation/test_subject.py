import pytest
import torch
from small_runs import CLASSIFIER, after_step, press_ctrl_c, small

from sslkuramoto.checkpoint import load, weights_hash
from sslkuramoto.errors import Interrupted, UserError
from sslkuramoto.evaluation import subject_of
from sslkuramoto.training import train

AVERAGED = {"weight_ema": {"decay": 0.9, "update_after": 0, "update_every": 1}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished classification run with averaged weights."""
    return train(small(**CLASSIFIER, **AVERAGED, epochs=1, seed=5), tmp_path_factory.mktemp("runs") / "run")


def test_a_subject_is_what_the_run_left_behind(run):
    subject = subject_of(run.path)
    state = load(run.encoder_file())["weights"]
    for name, value in subject.encoder.state_dict().items():
        assert torch.equal(value, state[name])
    assert subject.encoder_hash == weights_hash(subject.encoder)
    assert (subject.seed, subject.weights, subject.head.out_features) == (5, "ema", 10)
    assert not subject.encoder.training
    assert len(subject.data("train")) == 48
    assert subject.data("train") is subject.data("train"), "a split is read once"


def test_the_last_weights_are_there_when_they_were_also_averaged(run, tmp_path):
    raw, averaged = subject_of(run.path, weights="raw"), subject_of(run.path)
    assert raw.encoder_hash != averaged.encoder_hash
    assert not torch.equal(raw.head.weight, averaged.head.weight)
    bare = train(small(epochs=1), tmp_path / "bare")
    with pytest.raises(UserError, match=r"weights='raw': .*bare holds one set of weights only"):
        subject_of(bare.path, weights="raw")
    assert subject_of(bare.path).head is None


def test_options_of_encoder_and_data_may_change_for_the_measurement(run):
    subject = subject_of(run.path, encoder_options={"num_steps": 4}, data_options={"limit": 20}, seed=9)
    assert subject.encoder.num_steps == (4, 4)
    assert len(subject.data("train")) == 20
    assert subject.seed == 9
    assert (subject.encoder_options, subject.data_options) == ({"num_steps": 4}, {"limit": 20})
    assert subject.encoder_hash == subject_of(run.path).encoder_hash, "the weights are the same"


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run directory"):
        subject_of(tmp_path)
    with pytest.raises(Interrupted), after_step(0, press_ctrl_c):
        train(small(), tmp_path / "run")
    with pytest.raises(UserError, match="the run is not finished"):
        subject_of(tmp_path / "run")
