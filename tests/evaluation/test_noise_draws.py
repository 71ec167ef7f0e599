from itertools import combinations

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.noise_draws import (
    accuracies,
    check_equal_scores,
    draws_for,
    right_by_vote,
    share_right,
    worst_of_draws,
)


def test_a_stochastic_network_needs_twenty_draws():
    assert draws_for(True, 20) == 20
    with pytest.raises(UserError, match=r"draws=19.*at least 20"):
        draws_for(True, 19)


def test_a_deterministic_network_takes_one_draw():
    assert draws_for(False, 20) == 1


def test_a_tied_vote_is_wrong():
    predictions = torch.tensor([[0, 0, 2], [1, 0, 0], [1, 1, 0], [0, 2, 1]])
    # votes of image 0: two for 0, two for 1; image 1: two for 0 of four, alone at the top; image 2: two for 0
    assert right_by_vote(predictions, torch.tensor([0, 0, 1])).tolist() == [False, True, False]


def test_mean_vote_and_all_are_three_numbers():
    predictions = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 2]])
    labels = torch.tensor([0, 1, 0])
    found = accuracies(predictions, labels)
    assert found["accuracy"].value == pytest.approx((3 + 2 + 1) / 9)
    assert found["accuracy_majority"].value == pytest.approx(2 / 3)
    assert found["accuracy_all"].value == pytest.approx(1 / 3)
    assert all(metric.draws == 3 and metric.n == 3 for metric in found.values())
    assert share_right(predictions, labels) == pytest.approx([1, 2 / 3, 1 / 3], abs=1e-6)


def test_equal_images_score_equally_but_for_the_order_of_sums_on_some_devices():
    first = torch.arange(200).reshape(20, 10) % 7
    second = first.clone()
    check_equal_scores(first, second, reordered=False)
    second[0, 0] += 1
    with pytest.raises(UserError, match=r"different predictions \(0\.5 %"):
        check_equal_scores(first, second, reordered=False)
    check_equal_scores(first, second, reordered=True)
    second[1, :2] += 1
    with pytest.raises(UserError, match=r"different predictions \(1\.5 %"):
        check_equal_scores(first, second, reordered=True)


def test_worst_of_k_draws_is_the_share_of_subsets_that_are_correct_throughout():
    draw = torch.Generator().manual_seed(0)
    labels = torch.zeros(12, dtype=torch.long)
    predictions = (torch.rand(20, 12, generator=draw) < torch.linspace(0, 0.5, 12)).long()
    found = worst_of_draws(predictions, labels)
    subsets = list(combinations(range(20), 5))
    right = predictions == labels
    brute = sum(right[list(subset)].all(dim=0).double().mean().item() for subset in subsets) / len(subsets)
    assert found["accuracy_worst_of_5"].value == pytest.approx(brute)
    three = accuracies(predictions, labels)
    assert found["accuracy_worst_of_1"].value == pytest.approx(three["accuracy"].value)
    assert found["accuracy_worst_of_20"].value == pytest.approx(three["accuracy_all"].value)
    assert found["accuracy_worst_of_1"].value > found["accuracy_worst_of_5"].value > found["accuracy_worst_of_20"].value


def test_a_deterministic_network_has_one_worst_of_k_and_too_few_draws_have_none():
    predictions, labels = torch.tensor([[0, 1, 1]]), torch.tensor([0, 1, 0])
    assert {each.value for each in worst_of_draws(predictions, labels).values()} == {2 / 3}
    assert list(worst_of_draws(predictions.repeat(4, 1), labels)) == ["accuracy_worst_of_1"]
