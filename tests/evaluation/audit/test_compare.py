"""Comparing attacks image by image: what counts as a difference and what as chance."""

from itertools import product

import pytest
import torch

from sslkuramoto.evaluation.audit.compare import (
    ALPHA,
    compare,
    convergence,
    more_than,
    newly_broken,
    smallest_visible,
)
from sslkuramoto.statistics import sign_test


def stands(n: int, broken: range) -> torch.Tensor:
    right = torch.ones(n)
    right[list(broken)] = 0.0
    return right


def test_an_attack_that_breaks_many_more_images_is_stronger() -> None:
    comparison = compare(stands(64, range(0)), stands(64, range(20)))
    assert comparison.stronger
    assert comparison.gain == pytest.approx(20 / 64)
    assert not compare(stands(64, range(20)), stands(64, range(0))).stronger


def test_a_difference_that_chance_explains_is_none() -> None:
    # 26 against 20 images broken, but on different images: 20 for and 14 against
    first = stands(64, range(0, 20))
    second = stands(64, range(14, 40))
    comparison = compare(first, second)
    assert comparison.gain > comparison.tolerance
    assert comparison.p > ALPHA
    assert not comparison.stronger


def test_a_certain_difference_that_is_too_small_to_matter_is_none() -> None:
    comparison = compare(stands(1000, range(0)), stands(1000, range(30)))
    assert comparison.p < 1e-6
    assert not comparison.stronger
    assert compare(stands(1000, range(0)), stands(1000, range(60))).stronger


def test_shares_of_draws_are_compared_in_size_and_in_sign() -> None:
    torch.manual_seed(0)
    base = torch.rand(64)
    assert compare(base.clamp_min(0.1), base.clamp_min(0.1) - 0.1).stronger
    noise = 0.3 * torch.randn(64)
    assert not compare(base, base + noise - noise.mean()).stronger


def drawn(share: float | torch.Tensor, draws: int, n: int) -> torch.Tensor:
    return (torch.rand(draws, n) < share).float().mean(dim=0)


def test_what_a_network_that_draws_loses_is_found_though_most_images_lose_nothing() -> None:
    """The second attack breaks 40 % of the images in every draw and is a little weaker on the others: by signs these
    outvote those that lose everything."""
    spared = torch.where(torch.arange(64) < 26, 0.0, 0.95)
    found = [compare(drawn(0.85, 20, 64), drawn(spared, 20, 64)) for _ in range(50)]
    assert sum(comparison.stronger for comparison in found) >= 49
    assert sum(sign_test(comparison.further, comparison.less_far) < ALPHA for comparison in found) <= 1


@pytest.mark.parametrize("share", [0.1, 0.3, 0.9])
def test_attacks_of_equal_strength_seldom_differ_significantly(share) -> None:
    found = [compare(drawn(share, 20, 64), drawn(share, 20, 64)) for _ in range(400)]
    assert sum(comparison.p < ALPHA for comparison in found) <= 12, "3 %, of a level of 1 %"


def test_the_p_of_shares_is_that_of_every_exchange_and_of_ones_and_zeros_that_of_mcnemar() -> None:
    first, second = drawn(0.7, 20, 10), drawn(0.5, 20, 10)
    gain = (first - second).double()
    signs = torch.tensor([*product((1.0, -1.0), repeat=10)]).double()
    wanted = ((signs * gain).sum(dim=1) >= gain.sum() - 1e-6).double().mean().item()
    assert gain.sum() > 0
    assert compare(first, second).p == pytest.approx(wanted, abs=1e-9)
    ones = compare(stands(30, range(2)), stands(30, range(1, 12)))
    assert ones.p == sign_test(10, 1)


def test_an_image_is_newly_broken_only_where_it_clearly_stood() -> None:
    first = torch.tensor([1.0, 0.8, 0.7, 0.2])
    second = torch.tensor([0.5, 0.6, 0.0, 0.0])
    assert newly_broken(first, second) == 1


def test_more_than_respects_the_interval() -> None:
    assert not more_than(4, 64, 0.05)
    assert more_than(10, 64, 0.05)


def test_seven_images_are_the_fewest_that_a_sign_test_can_tell() -> None:
    assert smallest_visible(64) == pytest.approx(7 / 64)
    assert compare(stands(64, range(0)), stands(64, range(7))).stronger
    assert not compare(stands(64, range(0)), stands(64, range(6))).stronger
    assert smallest_visible(1000) == 0.05


def test_a_gain_of_three_points_is_no_masking_but_no_convergence_either() -> None:
    before, last = stands(1000, range(0)), stands(1000, range(30))
    assert not compare(before, last).stronger
    found = convergence(before, last)
    assert found.gains
    assert found.remark() == "not converged: the last increase gained 3.0 %"
    assert not found.proven


def test_five_images_one_way_are_the_fewest_that_show_an_attack_still_gains() -> None:
    assert convergence(stands(64, range(0)), stands(64, range(5))).gains
    four = convergence(stands(64, range(0)), stands(64, range(4)))
    assert not four.gains
    assert not four.proven
    assert "(observed: 6.2 %)" in four.remark()


def test_few_images_that_show_no_gain_prove_nothing() -> None:
    found = convergence(stands(64, range(9)), stands(64, range(9)))
    assert not found.gains
    assert not found.proven
    # no win and no loss in 64, one of each added: z sqrt(2 / 66) / sqrt(66)
    assert found.at_most == pytest.approx(1.645 * (2 / 66) ** 0.5 / 66**0.5, rel=1e-3)
    assert found.remark() == "no significant gain, but 64 images cannot rule out gains below 3.5 %"
    assert found.figures()["gain_at_most"] == pytest.approx(found.at_most, abs=1e-6)


def test_a_thousand_images_that_show_no_gain_prove_convergence() -> None:
    found = convergence(stands(1000, range(200)), stands(1000, range(202)))
    assert found.proven
    assert found.remark() == "converged: a gain above 1.0 % is ruled out"
    assert found.figures()["proven"] is True


def test_a_loss_of_the_last_rung_is_no_gain() -> None:
    assert not convergence(stands(64, range(20)), stands(64, range(0))).gains


def test_the_interval_covers_the_true_gain_as_often_as_it_says() -> None:
    torch.manual_seed(0)
    for n, won, lost in ((64, 0.05, 0.02), (1000, 0.03, 0.03), (64, 0.0, 0.0)):
        coin = torch.rand(2000, n)
        gains = (coin < won).float() - (coin > 1 - lost).float()
        covered = [convergence(row, torch.zeros(n)).at_most >= won - lost for row in gains]
        assert sum(covered) / 2000 > 0.92
