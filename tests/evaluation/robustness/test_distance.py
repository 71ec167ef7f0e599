"""Distances to the nearest mistake: against theory on a linear network, held and fresh draws, resume, cost, options."""

import json

import pytest
import torch
from linear_network import Linear
from small_networks import NoisyCNN

from sslkuramoto.any_network import Logits
from sslkuramoto.attacks.counting import counted
from sslkuramoto.data.images.image_set import MemorySet
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.robustness.distance import Distance, accuracy_at, curve
from sslkuramoto.randomness import generator
from sslkuramoto.statistics import median_interval

FMN = {"name": "fmn", "iterations": 4, "k": 2}
QUICK = {"attacks": [FMN], "largest": 5.0, "grid": [0.2, 0.5], "images": 12, "chunk": 5, "select_draws": 20}


def build(**options) -> Distance:
    protocol = PROTOCOLS.build("distance", {**QUICK, **options})
    assert isinstance(protocol, Distance)
    return protocol


def test_the_curve_falls_and_equals_a_count_of_images_at_every_radius():
    distances = torch.tensor([0.0, 0.3, 0.1, torch.inf, 0.3, 0.75])
    found = curve(distances, 1.0)
    assert found["accuracy"] == sorted(found["accuracy"], reverse=True)
    assert found["eps"][0] == 0
    assert found["eps"][-1] == 1
    for eps, accuracy in zip(found["eps"], found["accuracy"], strict=True):
        assert accuracy == pytest.approx(sum(each > eps for each in distances.tolist()) / 6)
    assert accuracy_at(distances, 0.2) == pytest.approx(4 / 6)


def test_the_interval_of_a_median_has_the_ranks_of_a_fair_coin():
    assert median_interval(list(range(1, 101))) == (50.5, 40, 61)  # ranks 40 and 61 of 100: tables of the sign test
    assert median_interval([3.0]) == (3.0, 3.0, 3.0)


@pytest.fixture
def linear(subject_of):
    """A subject with a linear network on images in the middle of the cube; their distances and the dual norm of w.

    With a coin each draw moves the threshold. The majority of draws still errs exactly beyond the boundary w x = t.
    """

    def make(coin: float = 0.0):
        network = Linear(side=8, coin=coin)
        network.threshold = float(network.weights.sum()) / 2
        pixels = torch.randint(96, 160, (64, 3, 8, 8), generator=generator("cpu", "grey"), dtype=torch.uint8)
        margin = network.margin(pixels / 255)
        apart = (margin.abs() > 0.3) & (margin.abs() < 1.5)
        pixels, margin = pixels[apart][:20], margin[apart][:20]
        assert len(pixels) == 20
        images = MemorySet("grey", "test", ("no", "yes"), (margin > 0).long(), 8, "grey", pixels)
        size = {"l2": network.weights.norm(), "linf": network.weights.abs().sum()}
        exact = {norm: margin.abs() / size[norm] for norm in size} | {"size": size}
        return subject_of((network, Logits(2)), data=lambda split: images), exact

    return make


def test_a_network_that_draws_near_its_boundary_only_is_refused(linear, monkeypatch):
    subject, _ = linear()
    plain = subject.encoder.forward

    def unsure(images, **options):
        found = plain(images, **options)
        near = (found.pooled[:, :1] - found.pooled[:, 1:]).abs() < 0.05
        drawn = found.pooled + 1e-3 * torch.randn_like(found.pooled)
        return found._replace(pooled=torch.where(near, drawn, found.pooled))

    monkeypatch.setattr(subject.encoder, "forward", unsure)
    with pytest.raises(UserError, match="on attacked images the encoder counts as deterministic"):
        build(images=None, chunk=20, attacks=[{"name": "fmn", "iterations": 60}])(subject)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_distances_of_a_linear_network_are_margins_over_the_dual_norm(linear, norm):
    subject, exact = linear()
    grid = [float(exact[norm].quantile(q)) for q in (0.1, 0.3, 0.7)]
    attacks = [{"name": "fmn", "iterations": 60}] + ([{"name": "ddn", "loss": "margin"}] if norm == "l2" else [])
    result = build(norm=norm, largest=1.0, grid=grid, images=None, chunk=20, attacks=attacks)(subject)
    found = torch.tensor(result.per_image["distance"])
    assert (found >= exact[norm] * (1 - 1e-4)).all(), "no mistake is nearer than the boundary"
    assert (found <= exact[norm] * 1.04).all()
    assert result.metrics["median_distance"].value == pytest.approx(float(exact[norm].quantile(0.5)), rel=0.04)
    assert result.metrics["never_fooled"].value == 0
    for name, metric in list(result.metrics.items())[3:]:
        correct = result.per_image[f"{name.removeprefix('accuracy_')}_correct"]
        assert metric.value == pytest.approx(sum(correct) / 20), name
    assert result.details["distance"]["images"] == 20
    assert result.details["distance"]["norm"] == norm


def test_nothing_is_fooled_where_the_search_ends_before_the_nearest_boundary(linear):
    subject, exact = linear()
    largest = float(exact["l2"].min()) * 0.99
    result = build(largest=largest, grid=[], images=None)(subject)
    assert set(result.per_image["distance"]) == {None}
    assert result.metrics["never_fooled"].value == 1
    assert result.metrics["median_distance"].value == pytest.approx(largest)


@pytest.mark.parametrize("noise", ["held", "fresh"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_of_a_network_that_draws_the_distance_is_that_of_the_majority_vote(linear, norm, noise):
    coin = 0.15
    subject, exact = linear(coin)
    attacks = [{"name": "fmn", "iterations": 30, "k": 20, "noise": noise}]
    options = {"attacks": attacks, "select_draws": 100, "draws": 100, "chunk": 20}
    result = build(norm=norm, largest=1.0, grid=[], images=None, **options)(subject)
    assert result.metrics["never_fooled"].value == 0
    found, dual = torch.tensor(result.per_image["distance"]), exact["size"][norm]
    assert (found >= exact[norm] - 0.25 * coin / dual).all(), "where 60 % of the draws are right"
    assert (found <= (exact[norm] + 0.5 * coin / dual) * 1.1).all(), "where 70 % err, and a step of the lengths more"


def test_a_mistake_of_the_draws_of_the_search_alone_is_no_mistake(linear):
    """One held draw is fooled at once where it lies beyond the boundary; other draws decide, and more of them."""
    coin = 0.6
    subject, exact = linear(coin)
    attacks = [{"name": "fmn", "iterations": 10, "k": 1}]
    options = {"attacks": attacks, "select_draws": 100, "draws": 100, "chunk": 20}
    result = build(largest=1.0, grid=[], images=None, **options)(subject)
    found = torch.tensor([torch.inf if each is None else each for each in result.per_image["distance"]])
    assert (found >= exact["l2"] - 0.25 * coin / exact["size"]["l2"]).all()


def test_more_attacks_never_lengthen_a_distance_of_a_deterministic_network(cnn, subject_of):
    few = build()(subject_of(cnn)).per_image["distance"]
    more = build(attacks=[FMN, {"name": "ddn", "iterations": 20}])(subject_of(cnn)).per_image["distance"]
    assert all(b is not None and (a is None or b <= a) for a, b in zip(few, more, strict=True))


def test_a_command_that_was_killed_resumes_and_gives_the_same_numbers(noisy, subject_of, tmp_path, monkeypatch):
    attacks = [FMN, {"name": "ddn", "iterations": 4, "k": 2, "noise": "fresh"}]

    def measured(name):
        return build(attacks=attacks, images=4, chunk=2)(subject_of(noisy, run_dir=tmp_path / name))

    def units():
        return list((tmp_path / "killed" / "ledger").rglob("*.safetensors"))

    calls, forward, killing = [0], NoisyCNN.forward, [False]
    whole = json.dumps(measured("whole").to_dict())

    def counting(self, *given, **options):
        calls[0] += 1
        if killing[0] and len(units()) == 4:
            raise KeyboardInterrupt
        return forward(self, *given, **options)

    monkeypatch.setattr(NoisyCNN, "forward", counting)
    measured("counted")
    needed = calls[0]
    killing[0] = True
    with pytest.raises(KeyboardInterrupt):
        measured("killed")
    assert len(units()) == 4, "in the second of two chunks, each the clean images and two attacks"
    calls[0], killing[0] = 0, False
    assert json.dumps(measured("killed").to_dict()) == whole
    assert calls[0] < needed


@pytest.mark.parametrize("name", ["cnn", "noisy"])
def test_it_takes_at_most_what_the_dry_run_says_and_not_much_less(request, subject_of, name):
    subject = subject_of(request.getfixturevalue(name))
    protocol = build(attacks=[{**FMN, "iterations": 10}, {"name": "ddn", "iterations": 10, "k": 3}])
    with counted(subject.encoder) as count:
        ((_, cost),) = protocol.estimate(subject)
    assert count.backward <= 3 * 5 * 3, "only a few passes are timed"
    assert not subject.run_dir.exists()
    with counted(subject.encoder) as count:
        protocol(subject)
    assert count.forward + count.backward <= cost.forward + cost.backward
    assert 0.7 * cost.backward < count.backward <= cost.backward
    assert {*cost.passes} == {"fmn-held", "ddn-held", "scoring"}
    assert cost.images == 12
    assert cost.seconds > 0


def test_attacks_that_the_ledger_holds_cost_nothing_more(noisy, subject_of):
    subject = subject_of(noisy)
    build()(subject)
    ((_, cost),) = build().estimate(subject)
    assert {*cost.passes} == {"scoring"}
    assert "attacks: all work is in the ledger already and costs nothing" in cost.lines()
    ((_, more),) = build(attacks=[{**FMN, "iterations": 5}]).estimate(subject)
    assert more.backward == 12 * 5 * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attacks": []}, "attacks: name at least one"),
        ({"attacks": ["nothing"]}, "nothing"),
        ({"attacks": [FMN, FMN]}, "two have the label 'fmn-held'"),
        ({"attacks": [{"name": "fmn", "gamma": 1.0}]}, "gamma=1.0"),
        ({"attacks": [{"name": "fmn", "step_size": 0.0}]}, "step_size=0.0"),
        ({"attacks": [{"name": "ddn", "iterations": 0}]}, "iterations=0"),
        ({"norm": "l1"}, "norm='l1'"),
        ({"largest": 0.0}, "largest=0.0: must be above 0"),
        ({"largest": -1.0}, "eps=-1"),
        ({"largest": "8/0"}, "divides by zero"),
        ({"norm": "linf", "largest": 8.0, "grid": []}, "did you mean 8/255"),
        ({"largest": 0.3}, "grid: 0.5 is above largest=0.3"),
        ({"grid": [0.1, 0.1]}, "must not contain the same radius twice"),
        ({"images": 0}, "images=0"),
        ({"chunk": 0}, "chunk=0"),
        ({"initial": "none"}, "initial='none'"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(UserError) as error:
        build(**options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["draws", "select_draws"])
def test_few_draws_and_too_many_images_are_refused_before_anything_is_attacked(noisy, subject_of, option):
    subject = subject_of(noisy)
    for changed, said in (({option: 19}, f"^{option}=19: must be at least 20"), ({"images": 10_000}, "has only")):
        for act in (build(**changed), build(**changed).estimate):
            with pytest.raises(UserError, match=said):
                act(subject)
    assert not subject.run_dir.exists()
