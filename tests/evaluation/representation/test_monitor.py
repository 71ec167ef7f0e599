import dataclasses
from pathlib import Path

import pytest
import torch
from small_runs import small
from torch import nn

from sslkuramoto.data import DATA
from sslkuramoto.encoders import AKOrN, Winfree
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.evaluation.audit.saturation import step_turns
from sslkuramoto.evaluation.representation.knn import knn_predict
from sslkuramoto.evaluation.representation.linear import fit_probe
from sslkuramoto.evaluation.representation.monitor import online_measures
from sslkuramoto.evaluation.representation.rank import rankme
from sslkuramoto.randomness import generator
from sslkuramoto.run_directory import RunDirectory

NOWHERE = RunDirectory(Path("nowhere"))  # a run that has seen no data yet


class Pixels(Encoder):
    """Features are pixels; remembers what it was shown."""

    num_features = 192

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, images, *, initial=None, draw=None, trace=False):
        assert draw is not None
        assert not torch.is_grad_enabled()
        assert images.dtype == self.weight.dtype
        self.seen.append(images)
        pooled = images.flatten(1)
        return Features(pooled, pooled[..., None, None])


def rows(images):
    return {tuple(row.tolist()) for row in images.float().flatten(1)}


def monitored(monkeypatch, splits=(), **changes):
    """Return the number, the encoder and the recipe's training set; reading any split but ``splits`` fails."""
    recipe = small(**changes)
    train = DATA.build(recipe.data.name, recipe.data.options, "train")
    build = DATA.build

    def watched(name, options, split):
        assert split in splits, f"the monitor reads {split}"
        return build(name, options, split)

    monkeypatch.setattr(DATA, "build", watched)
    encoder, monitor = Pixels(), online_measures(recipe, NOWHERE)
    assert monitor is not None
    return monitor(encoder, train, 1), encoder, train


def test_a_recipe_that_monitors_nothing_gets_no_monitor():
    assert online_measures(small(), NOWHERE) is None


def test_it_takes_training_images_only_some_vote_and_others_are_classified(monkeypatch):
    measure = {"monitor_every": 1, "monitor_images": 200}
    found, encoder, train = monitored(monkeypatch, data={"name": "digits"}, measure=measure)
    bank, queries = encoder.seen
    assert (len(bank), len(queries)) == (160, 40)
    everything = rows(train.images / 255)
    assert rows(bank) | rows(queries) <= everything
    assert not rows(bank) & rows(queries)
    assert 0.6 < found["knn"] <= 1.0, "digits are easy"


def test_its_number_is_that_of_knn(monkeypatch):
    measure = {"monitor_every": 1, "monitor_images": 100}
    found, encoder, train = monitored(monkeypatch, data={"name": "digits"}, measure=measure)
    label_of = {
        tuple(row.tolist()): int(y) for row, y in zip((train.images / 255).flatten(1), train.labels, strict=True)
    }
    labels = [torch.tensor([label_of[tuple(row.tolist())] for row in part.flatten(1)]) for part in encoder.seen]
    bank, queries = (part.flatten(1) for part in encoder.seen)
    right = knn_predict(queries, bank, labels[0], num_classes=10, neighbours=20) == labels[1]
    assert found["knn"] == pytest.approx(float(right.float().mean()))


def test_images_set_aside_are_classified_instead(monkeypatch):
    data = {"name": "digits", "limit": 200, "holdout": 0.25}
    measure = {"monitor_every": 1, "monitor_images": 100}
    _, encoder, train = monitored(monkeypatch, ("val",), data=data, measure=measure)
    aside = rows(DATA.build("digits", {"limit": 200, "holdout": 0.25}, "val").images / 255)
    bank, queries = encoder.seen
    assert (len(bank), len(queries)) == (80, 20)
    assert rows(queries) <= aside
    assert rows(bank) <= rows(train.images / 255)


def test_images_set_aside_that_stand_in_the_order_of_their_classes_are_classified_from_all_classes(
    some_set, monkeypatch
):
    images = some_set(60)
    aside = dataclasses.replace(images, labels=images.labels.sort().values)
    monkeypatch.setattr("sslkuramoto.evaluation.representation.monitor.data_of", lambda *_: aside)
    recipe = small(data={"name": "digits", "holdout": 0.5}, measure={"monitor_every": 1, "monitor_images": 60})
    encoder = Pixels()
    online_measures(recipe, NOWHERE)(encoder, images, 1)
    (asked,) = (part for part in encoder.seen if len(part) == 12)
    place = {tuple(image.flatten().tolist()): number for number, image in enumerate(aside.images / 255)}
    chosen = {place[tuple(image.flatten().tolist())] for image in asked}
    assert len(chosen) == 12
    assert max(chosen) > 30, "not the first ones only"


def test_more_images_than_there_are_mean_all(monkeypatch):
    _, encoder, _ = monitored(monkeypatch, measure={"monitor_every": 1, "monitor_images": 10_000})
    assert [len(part) for part in encoder.seen] == [38, 10]


def test_a_network_in_double_precision_is_measured_too(monkeypatch):
    recipe = small(measure={"monitor_every": 1})
    train = DATA.build("digits", {"limit": 48}, "train")
    assert 0 <= online_measures(recipe, NOWHERE)(Pixels().double(), train, 1)["knn"] <= 1


def test_unlabelled_images_have_a_rank_and_no_accuracy_and_a_single_image_nothing(some_set):
    monitor = online_measures(small(measure={"monitor_every": 1}), NOWHERE)
    assert {*monitor(Pixels(), some_set(20, labelled=False), 1)} == {"rankme", "alpha_req"}
    assert monitor(Pixels(), some_set(1), 1) == {}


def test_one_class_has_no_accuracy(some_set):
    one = dataclasses.replace(some_set(20), labels=torch.zeros(20, dtype=torch.int64), classes=("only",))
    monitor = online_measures(small(measure={"monitor_every": 1}), NOWHERE)
    assert {*monitor(Pixels(), one, 1)} == {"rankme", "alpha_req"}


def test_only_what_is_asked_for_is_measured(some_set):
    for asked, names in ((["linear"], {"linear"}), (["knn"], {"knn"}), (["rankme"], {"rankme", "alpha_req"})):
        monitor = online_measures(small(measure={"monitor_every": 1, "monitors": asked}), NOWHERE)
        assert {*monitor(Pixels(), some_set(20), 1)} == names
    assert online_measures(small(measure={"monitor_every": 1, "monitors": []}), NOWHERE) is None


def test_saturation_is_the_force_of_each_layer_over_its_steps(some_set):
    measure = {"monitor_every": 1, "monitors": ["saturation"]}
    monitor = online_measures(small(measure=measure), NOWHERE)
    kuramoto = AKOrN(channels=8, kernel_sizes=(3, 3), num_steps=2, initial="fixed").eval()
    images = some_set(20)
    found = monitor(kuramoto, images, 1)
    assert {*found} == {"gamma_f_1", "gamma_f_2"}
    order = torch.randperm(20, generator=generator("cpu", small().seed, "monitor"))[:16]
    field = kuramoto.sample_initial(images.images[order] / 255, generator("cpu", 0)) if kuramoto.stochastic else None
    turns = step_turns(kuramoto, images.images[order] / 255, field)
    for layer in (1, 2):
        medians = [turn.median for turn in turns if turn.layer == layer]
        assert found[f"gamma_f_{layer}"] == pytest.approx(sum(medians) / 2)
    assert {*monitor(Winfree(channels=8, layers=1, attention_heads=2), images, 1)} == {"open_fields_1"}
    assert monitor(Pixels(), images, 1) == {}


def test_the_online_probe_is_fitted_on_the_bank_and_scored_on_the_others(monkeypatch):
    measure = {"monitor_every": 1, "monitor_images": 200}
    found, encoder, train = monitored(monkeypatch, data={"name": "digits"}, measure=measure)
    label_of = {
        tuple(row.tolist()): int(y) for row, y in zip((train.images / 255).flatten(1), train.labels, strict=True)
    }
    labels = [torch.tensor([label_of[tuple(row.tolist())] for row in part.flatten(1)]) for part in encoder.seen]
    bank, queries = (part.flatten(1) for part in encoder.seen)
    probe = fit_probe(bank, labels[0], num_classes=10, penalty=1e-3, max_iterations=100)
    assert found["linear"] == pytest.approx(float((probe(queries).argmax(1) == labels[1]).float().mean()))
    assert found["rankme"] == pytest.approx(rankme(bank))


class Noise(Pixels):
    """Features are noise, one field an image or one for all."""

    stochastic = True

    def sample_initial(self, images, draw):
        return torch.randn(len(images), 192, 1, 1, generator=draw)

    def forward(self, images, *, initial=None, draw=None, trace=False):
        field = self.sample_initial(images, draw) if initial is None else initial.expand(len(images), -1, -1, -1)
        return Features(field.flatten(1), field)


def test_noise_of_the_oscillators_is_no_rank(some_set):
    monitor = online_measures(small(measure={"monitor_every": 1}), NOWHERE)
    assert monitor(Noise(), some_set(40), 1)["rankme"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("holdout", [0.0, 0.25])
def test_the_images_that_are_classified_have_draws_of_their_own_not_those_of_the_bank(holdout, monkeypatch):
    fields, drawn = [], Noise.sample_initial

    def watched(self, images, draw):
        fields.append(drawn(self, images, draw))
        return fields[-1]

    monkeypatch.setattr(Noise, "sample_initial", watched)
    data = {"name": "digits", "limit": 200, "holdout": holdout}
    recipe = small(data=data, measure={"monitor_every": 1, "monitors": ["knn"], "monitor_images": 100})
    train = DATA.build(recipe.data.name, recipe.data.options, "train")
    online_measures(recipe, NOWHERE)(Noise(), train, 1)
    bank, queries = fields
    assert (len(bank), len(queries)) == (80, 20)
    assert not rows(bank) & rows(queries)
