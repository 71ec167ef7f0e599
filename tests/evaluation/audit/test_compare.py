"""Comparing attacks image by image: what counts as a difference and what as chance."""

from math import comb

import pytest
import torch

from sslkuramoto.evaluation.audit.compare import ALPHA, compare, more_than, newly_broken, sign_test, smallest_visible


def stands(n: int, broken: range) -> torch.Tensor:
    right = torch.ones(n)
    right[list(broken)] = 0.0
    return right


def test_sign_test_counts_the_outcomes_of_fair_coins() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(5, 0) == pytest.approx(1 / 32)
    assert sign_test(3, 1) == pytest.approx((comb(4, 3) + comb(4, 4)) / 16)


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
