"""Scores of relations against their definitions: by brute force, and on oscillators whose coherence is known."""

import math
from itertools import product

import pytest
import torch

from sslkuramoto.evaluation.relations.scores import (
    accuracy_metrics,
    coherence_counts,
    coherence_edges,
    combinations,
    effective_number,
    locked,
    rises,
    separation,
    trajectories,
)
from sslkuramoto.statistics import wilson


def test_the_order_of_a_pair_makes_no_other_combination() -> None:
    icons = torch.tensor([[1, 2], [2, 1], [1, 1], [3, 1]])
    assert sorted(combinations(icons).tolist()) == [1, 1, 2]
    match = torch.tensor([[1, 2, 3, 3, 4, 5], [2, 1, 3, 3, 5, 4], [4, 5, 3, 3, 1, 2]])
    assert sorted(combinations(match).tolist()) == [1, 2]


def test_examples_of_different_icons_are_all_counted_and_repetitions_are_not() -> None:
    every = torch.tensor([[a, b] for a in range(5) for b in range(a + 1)])
    assert effective_number(every) == pytest.approx(15)
    assert effective_number(every.repeat(7, 1)) == pytest.approx(15)


def test_the_test_set_of_five_icons_holds_about_thirteen_examples() -> None:
    """Of 20 ordered different pairs and as many same ones: 10 combinations twice, 5 four times."""
    different = [[a, b] for a, b in product(range(5), repeat=2) if a != b]
    same = [[a, a] for a in range(5)] * 4
    assert effective_number(torch.tensor(different + same)) == pytest.approx(40**2 / (10 * 2**2 + 5 * 4**2))


def test_a_cluster_that_answers_alike_makes_the_interval_as_wide_as_one_example() -> None:
    icons = torch.tensor([[0, 0]] * 30 + [[1, 1]] * 30)
    correct = torch.tensor([[True] * 30 + [False] * 30])
    metric = accuracy_metrics(correct, torch.ones(60, dtype=torch.bool), icons)["accuracy"]
    assert (metric.value, metric.n) == (0.5, 60)
    assert (metric.low, metric.high) == wilson(0.5, 2)


def test_accuracies_of_each_relation_average_to_the_whole() -> None:
    draw = torch.Generator().manual_seed(0)
    correct = torch.rand(20, 50, generator=draw) < 0.7
    same = torch.arange(50) < 20
    icons = torch.stack([torch.arange(50), torch.where(same, torch.arange(50), torch.arange(50) + 100)], dim=1)
    found = accuracy_metrics(correct, same, icons, "val/")
    assert set(found) == {"val/accuracy", "val/accuracy_same", "val/accuracy_different"}
    whole = 0.4 * found["val/accuracy_same"].value + 0.6 * found["val/accuracy_different"].value
    assert found["val/accuracy"].value == pytest.approx(whole)
    assert found["val/accuracy"].draws == 20
    assert found["val/accuracy"].std_over_draws == pytest.approx(correct.double().mean(dim=1).std().item())


def test_a_relation_that_no_example_has_gets_no_number() -> None:
    found = accuracy_metrics(
        torch.ones(1, 3, dtype=torch.bool), torch.ones(3, dtype=torch.bool), torch.zeros(3, 2).long()
    )
    assert set(found) == {"accuracy", "accuracy_same"}


def test_separation_takes_each_pairs_mean_over_draws() -> None:
    scores = torch.tensor([[3.0, 0.0, 1.0], [1.0, 2.0, 1.0]])  # means 2, 1, 1
    metric = separation(scores, torch.tensor([True, False, False]))
    assert (metric.value, metric.n, metric.draws) == (1.0, 3, 2)


@pytest.mark.parametrize(("degrees", "expected"), [(0, 1.0), (9.9, 1.0), (10.1, 0.0), (180, 0.0)])
def test_oscillators_are_locked_up_to_ten_degrees(degrees: float, expected: float) -> None:
    angle = math.radians(degrees)
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(angle), math.sin(angle)])
    rho = (first + second).norm()
    assert rho.item() == pytest.approx(2 * math.cos(angle / 2), abs=1e-6)
    assert locked(rho[None]).item() == expected


def test_the_histogram_of_rho_counts_every_value_and_its_ends() -> None:
    rho = torch.tensor([[0.0, 2.0], [2.0000002, 1.0]])
    counts, edges = coherence_counts(rho), coherence_edges()
    assert (counts.sum().item(), counts[0].item(), counts[-1].item()) == (4, 1, 2)
    assert (edges[0], edges[-1], len(edges)) == (0, 2, len(counts) + 1)


def test_a_rise_counts_where_it_is_more_than_rounding() -> None:
    falling = torch.tensor([-100.0, -101.0, -101.0, -101.0005, -100.9999])  # rounding at the end
    rising = torch.tensor([-100.0, -101.0, -100.5, -102.0, -101.0])
    found = rises(torch.stack([falling, rising], dim=1)[:, None])
    assert found.tolist() == [[0.0, 0.5]]


def test_trajectories_are_means_and_deviations_over_pairs_and_draws() -> None:
    energy = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(2))
    same = torch.tensor([True, False, True, False, False])
    found = trajectories(energy, same)
    for kind, chosen in (("same", same), ("different", ~same)):
        for step in range(4):
            values = energy[step][:, chosen].double()
            assert found[kind]["mean"][step] == pytest.approx(values.mean().item(), rel=1e-5)
            assert found[kind]["std"][step] == pytest.approx(values.std(unbiased=False).item(), rel=1e-5)
