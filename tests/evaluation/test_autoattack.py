import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS, load_protocol

QUICK = {"version": "custom", "attacks": ["apgd-ce", "square"], "iterations": 6, "queries": 20, "images": 40}


def build(**options):
    return PROTOCOLS.build("autoattack_linf", {**QUICK, **options})


@pytest.mark.parametrize("initial", ["random", "fixed", "averaged"])
def test_eps_zero_gives_exactly_the_clean_accuracy(noisy, subject_of, initial):
    options = {"attacks": ["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"], "iterations": 2, "average": 2}
    result = build(eps=0, initial=initial, **options)(subject_of(noisy))
    for suffix in ("", "_majority", "_all"):
        assert result.metrics[f"robust_accuracy{suffix}"] == result.metrics[f"clean_accuracy{suffix}"]
    assert result.metrics["autoattack_accuracy"].value == result.metrics["clean_accuracy"].value
    assert result.per_image["correct"] == result.per_image["clean_correct"]


def test_a_stochastic_network_is_scored_over_twenty_draws(noisy, subject_of):
    result = build(eps=0.05)(subject_of(noisy))
    assert {metric.draws for metric in result.metrics.values()} == {20}
    assert {metric.n for metric in result.metrics.values()} == {40}
    robust, clean = result.metrics["robust_accuracy"], result.metrics["clean_accuracy"]
    assert robust.value < clean.value
    assert robust.low < robust.value < robust.high
    assert sum(result.per_image["correct"]) / 40 == pytest.approx(robust.value, abs=1e-6)
    with pytest.raises(UserError, match="draws=1"):
        build(draws=1)(subject_of(noisy))


def test_a_large_ball_breaks_every_image(cnn, subject_of):
    result = build(eps=0.5, iterations=20)(subject_of(cnn))
    assert result.metrics["robust_accuracy"].value == 0.0
    assert all(result.per_image["broken_by"])


def test_three_ways_are_one_result(noisy, subject_of):
    ways = {
        "published": {"initial": "random"},
        "fixed": {"initial": "fixed"},
        "eot": {"initial": "random", "attacks": ["apgd-ce", "apgd-dlr"], "eot_iter": 4, "decided_by": "majority"},
    }
    result = build(eps=0.05, ways=ways)(subject_of(noisy))
    assert {name.split("/")[0] for name in result.metrics} == set(ways)
    assert result.metrics["fixed/robust_accuracy"].draws == 1
    assert result.metrics["eot/robust_accuracy"].draws == 20
    assert len(result.per_image["index"]) == len(result.per_image["eot/correct"]) == 40
    assert result.initial == "random+fixed"
    # noise protects against attacks that take the network for deterministic (../shared/METHODS.md, 7)
    robust = {way: result.metrics[f"{way}/robust_accuracy"].value for way in ways}
    assert robust["fixed"] < robust["published"]
    assert robust["eot"] < robust["published"]


def test_ways_of_a_deterministic_network_are_measured_once(cnn, subject_of):
    ways = {"published": {"initial": "random"}, "fixed": {"initial": "fixed"}}
    result = build(eps=0.05, ways=ways)(subject_of(cnn))
    assert result.metrics["published/robust_accuracy"] == result.metrics["fixed/robust_accuracy"]
    assert any("the same as published" in note for note in result.notes)


def test_the_quick_file_runs_on_a_small_network(noisy, subject_of):
    loaded = load_protocol("autoattack-linf-quick", ["images=8", "iterations=2", "queries=5"])
    result = loaded.measure(subject_of(noisy))
    assert {name for name in result.metrics if name.endswith("/robust_accuracy")} == {
        "published/robust_accuracy",
        "fixed/robust_accuracy",
        "eot/robust_accuracy",
    }


def test_the_same_images_are_attacked_in_every_run(cnn, noisy, subject_of):
    first = build(eps=0, attacks=["square"])(subject_of(cnn, seed=0)).per_image["index"]
    second = build(eps=0, attacks=["square"])(subject_of(noisy, seed=5)).per_image["index"]
    assert first == second
    assert len(set(first)) == 40
    assert build(eps=0, attacks=["square"], images=None)(subject_of(cnn)).per_image["index"] == list(range(360))


def test_robust_accuracy_repeats_exactly(noisy, subject_of):
    first, second = (build(eps=0.05)(subject_of(noisy)) for _ in range(2))
    assert first.metrics == second.metrics
    assert first.per_image == second.per_image


def test_a_run_without_a_classifier_says_what_to_do(cnn, subject_of):
    with pytest.raises(UserError, match=r"autoattack-linf needs a classifier: .*an encoder only; finetune it first"):
        build()(subject_of((cnn[0], None)))


def test_more_images_than_there_are_is_refused(cnn, subject_of):
    with pytest.raises(UserError, match=r"images=361: data 'digits', split 'test', has only 360"):
        build(images=361)(subject_of(cnn))


def test_few_classes_are_noted(cnn, subject_of, some_set):
    six = some_set(12, classes=6)
    network = (cnn[0], torch.nn.Linear(24, 6))
    result = build(attacks=["apgd-t"], images=None, eps=0.1)(subject_of(network, data=lambda split: six))
    assert any("6 classes" in note for note in result.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"eps=8: .*did you mean 8/255\?"),
        ({"version": "standard"}, "only version=custom takes a list"),
        ({"attacks": []}, "version=custom: needs attacks"),
        ({"attacks": ["pgd"]}, "apgd-ce"),
        ({"iterations": 0}, "iterations=0: must be at least 1"),
        ({"images": 0}, "images=0: must be at least 1"),
        ({"ways": {"a": {"epsilon": 1}}}, "ways.a: unknown key of protocol autoattack_linf 'epsilon'"),
        ({"ways": {"a": {"images": 3}}}, "ways.a: images is the same for all ways"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        build(**options)
