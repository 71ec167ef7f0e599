"""What audits of known networks add up to: found, missed, false alarms, with exact intervals."""

import pytest
import torch
from scipy.stats import binom
from torch import nn

from sslkuramoto.data import DATA
from sslkuramoto.evaluation.audit.honest import nearest_mean, orthogonal, polar_factor
from sslkuramoto.evaluation.audit.record import Audited, record_of
from sslkuramoto.randomness import generator
from sslkuramoto.statistics import clopper_pearson


@pytest.mark.parametrize(("count", "n"), [(0, 7), (7, 7), (3, 20), (19, 20), (1, 1)])
def test_the_interval_ends_where_the_count_becomes_improbable(count: int, n: int) -> None:
    low, high = clopper_pearson(count, n, 0.025)
    assert 0 <= low <= count / n <= high <= 1
    assert low == 0 if count == 0 else binom.sf(count - 1, n, low) == pytest.approx(0.025)
    assert high == 1 if count == n else binom.cdf(count, n, high) == pytest.approx(0.025)


def test_the_interval_covers_at_least_as_often_as_it_says() -> None:
    for n, share in [(10, 0.3), (20, 0.9), (6, 0.5)]:
        covered = sum(
            binom.pmf(k, n, share)
            for k in range(n + 1)
            if clopper_pearson(k, n, 0.025)[0] <= share <= clopper_pearson(k, n, 0.025)[1]
        )
        assert covered >= 0.95


def test_a_record_counts_what_was_found_missed_and_accused() -> None:
    audits = [
        Audited("a", "levels", "masked"),
        Audited("b", "noisy", "rests on noise"),
        Audited("c", "k_winners", "no sign of masking"),
        Audited("d", "levels(levels=256)", "no robustness left"),
        Audited("e", "dropout", "incomplete"),
        Audited("f", "", "no robustness left"),
        Audited("g", "", "plain figure too high"),
        Audited("h", "", "suspect"),
    ]
    plants, honest = record_of(audits)
    assert plants == (
        "5 plants: 2 of 3 found (95 % interval 9 to 99 %); missed: c (no sign of masking); nothing hidden: d (no "
        "robustness left); undecided: e (incomplete)"
    )
    assert honest == "3 honest networks: 1 of 3 false alarms (95 % interval 1 to 91 %); h (suspect)"
    assert record_of([]) == []
    assert record_of(audits[4:5]) == ["1 plant: 0 of 0 found; undecided: e (incomplete)"]


def test_the_polar_factor_is_the_nearest_matrix_with_orthonormal_rows() -> None:
    weights = torch.randn(4, 9, generator=generator("cpu", "polar"), dtype=torch.float64)
    nearest = polar_factor(weights)
    assert torch.allclose(nearest @ nearest.T, torch.eye(4, dtype=torch.float64), atol=1e-12)
    for k in range(50):
        draw = torch.randn(9, 4, generator=generator("cpu", "polar", k), dtype=torch.float64)
        other = torch.linalg.qr(0.1 * draw + nearest.T).Q.T
        other = other * (other * nearest).sum(dim=1, keepdim=True).sign()
        assert (weights - nearest).norm() <= (weights - other).norm()


@pytest.mark.parametrize("build", [nearest_mean, orthogonal])
def test_an_honest_network_is_linear_and_classifies_digits(build) -> None:
    network, test = build(), DATA.build("digits", {"size": 8}, "test")
    (batch,) = test.batches([torch.arange(len(test))], torch.device("cpu"), 0)
    logits = network(batch.inputs)
    assert (logits.argmax(dim=1) == batch.targets).float().mean() > 0.85
    a, b = batch.inputs[:50], batch.inputs[50:100]
    assert torch.allclose(network(0.3 * a + 0.7 * b), 0.3 * network(a) + 0.7 * network(b), atol=1e-4)
    again = build()
    assert all(torch.equal(x, y) for x, y in zip(network.parameters(), again.parameters(), strict=True))


def test_orthonormal_weights_move_no_logits_further_than_the_image() -> None:
    layer = orthogonal()[1]
    assert isinstance(layer, nn.Linear)
    assert torch.allclose(torch.linalg.svdvals(layer.weight), torch.ones(10), atol=1e-5)
