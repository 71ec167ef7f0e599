"""The certificate of one image: the binomial bound, the radius, the looks, and how often it is false."""

from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from sslkuramoto.evaluation.certificates import bound
from sslkuramoto.evaluation.certificates.bound import Plan, certificate_of
from sslkuramoto.statistics import clopper_pearson

PLAN = Plan(sigma=0.5, n0=20, n=200, alpha=0.05, stages=1, target=10.0)


@pytest.fixture(autouse=True)
def each_bound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated images ask for the same few counts again and again, and a quantile of scipy takes a millisecond."""
    monkeypatch.setattr(bound, "clopper_pearson", cache(clopper_pearson))


def simulated(probability: float, random: np.random.Generator):
    """Return what counts the answers of a network that answers class 1 of 3 with a probability."""

    def count(purpose: str, number: int) -> torch.Tensor:
        right = int(random.binomial(number, probability))
        return torch.tensor([number - right, right, 0, 0])

    return count


@pytest.mark.parametrize(("count", "n"), [(0, 7), (1, 7), (6, 7), (7, 7), (930, 1000), (1000, 1000)])
def test_the_bounds_are_those_of_the_exact_binomial_test(count, n) -> None:
    for alpha in (0.001, 0.05):
        low, high = clopper_pearson(count, n, alpha)
        above = binomtest(count, n, alternative="greater").proportion_ci(1 - alpha, method="exact")
        below = binomtest(count, n, alternative="less").proportion_ci(1 - alpha, method="exact")
        assert low == pytest.approx(above.low, abs=1e-9)
        assert high == pytest.approx(below.high, abs=1e-9)


def test_the_largest_radius_is_that_of_draws_which_all_agree() -> None:
    plan = Plan(sigma=0.25, n0=100, n=1000, alpha=0.001, stages=1, target=1.0)
    assert plan.largest == pytest.approx(0.25 * NormalDist().inv_cdf(0.001 ** (1 / 1000)))
    assert plan.of(0, torch.tensor([1000, 0, 0])).radius == pytest.approx(plan.largest)


def test_a_class_with_half_of_the_votes_is_not_certified_and_the_certificate_abstains() -> None:
    certificate = PLAN.of(0, torch.tensor([100, 100, 0]))
    assert certificate.abstains
    assert certificate.radius == 0
    assert not certificate.holds_at(0.0, 0)


def test_answers_that_are_no_class_are_never_certified() -> None:
    assert PLAN.of(2, torch.tensor([0, 0, 200])).abstains


def test_a_certificate_holds_for_its_own_class_up_to_its_radius_only() -> None:
    certificate = PLAN.of(1, torch.tensor([0, 200, 0]))
    assert certificate.holds_at(certificate.radius, 1)
    assert not certificate.holds_at(certificate.radius * 1.001, 1)
    assert not certificate.holds_at(0.0, 0)


@pytest.mark.parametrize("stages", [1, 4])
@pytest.mark.parametrize("probability", [0.5, 0.55, 0.9])
def test_at_most_alpha_of_a_thousand_simulated_images_get_too_large_a_bound(stages, probability) -> None:
    """Each look of four takes a quarter of alpha, and an image ends at whichever look decides it."""
    target = 0.5 * NormalDist().inv_cdf(probability) + 1e-6  # so that a bound above the truth ends the image
    plan = Plan(sigma=0.5, n0=20, n=200, alpha=0.05, stages=stages, target=target)
    random = np.random.default_rng(0)
    found = [certificate_of(simulated(probability, random), plan) for _ in range(1000)]
    false = sum(each.chosen == 1 and each.lower >= probability for each in found)
    false += sum(each.chosen == 0 and each.lower >= 1 - probability for each in found)
    assert binomtest(false, 1000, plan.alpha, alternative="greater").pvalue > 0.01, false


def test_looks_without_their_share_of_alpha_would_be_false_too_often() -> None:
    """The test above has the power to see it: ten looks of the whole level exceed alpha."""
    greedy = Plan(sigma=0.5, n0=20, n=2000, alpha=0.1 * 10, stages=10, target=1e-9)
    assert greedy.level == 0.1
    random = np.random.default_rng(0)
    false = sum(not certificate_of(simulated(0.5, random), greedy).abstains for _ in range(1000))
    assert binomtest(false, 1000, 0.1, alternative="greater").pvalue < 0.01, false


def test_an_image_that_is_decided_ends_at_an_early_look_and_others_get_all_draws() -> None:
    plan = Plan(sigma=0.5, n0=20, n=800, alpha=0.01, stages=4, target=0.3)
    assert plan.looks == [100, 200, 400, 800]
    random = np.random.default_rng(0)
    assert certificate_of(simulated(0.999, random), plan).draws == 100, "certified at the target"
    undecided = certificate_of(simulated(0.7, random), plan)
    assert undecided.draws == 800
    assert not undecided.abstains
    counts = iter([torch.tensor([7, 6, 7, 0]), torch.tensor([30, 35, 35, 0])])
    assert certificate_of(lambda purpose, number: next(counts), plan).draws == 100, "no class can have a majority"


def test_the_draws_of_looks_are_together_those_of_one_look() -> None:
    asked = []

    def count(purpose: str, number: int) -> torch.Tensor:
        asked.append((purpose, number))
        return torch.tensor([number // 4, number - number // 4, 0])

    certificate_of(count, Plan(sigma=0.5, n0=20, n=800, alpha=0.01, stages=4, target=9.0))
    assert asked == [("choose", 20), ("look 0", 100), ("look 1", 100), ("look 2", 200), ("look 3", 400)]
