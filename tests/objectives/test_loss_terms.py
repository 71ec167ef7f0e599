"""The loss terms against their formulae, written out in numpy with loops."""

import numpy as np
import pytest
import torch
from lightly import loss
from lightly.loss.vicreg_loss import covariance_loss, invariance_loss, variance_loss

from sslkuramoto.objectives.barlow_twins import barlow_twins_terms
from sslkuramoto.objectives.lejepa import epps_pulley, prediction_loss, random_directions
from sslkuramoto.objectives.losses import agreement, negative_cosine, nt_xent, sim1_loss, sim2_loss
from sslkuramoto.objectives.vicreg import vicreg_terms


def rows(*seeds: int, n: int = 6, d: int = 5) -> list[torch.Tensor]:
    return [
        torch.randn(n, d, generator=torch.Generator().manual_seed(s), dtype=torch.float64).requires_grad_()
        for s in seeds
    ]


def cos(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def array(z: torch.Tensor) -> np.ndarray:
    return z.detach().numpy()


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_nt_xent_equals_a_double_loop_over_anchors_and_candidates(temperature: float) -> None:
    z1, z2 = rows(0, 1)
    z = np.concatenate([array(z1), array(z2)])
    total, n = 0.0, len(z1)
    for i in range(2 * n):
        positive = np.exp(cos(z[i], z[(i + n) % (2 * n)]) / temperature)
        total -= np.log(positive / sum(np.exp(cos(z[i], z[k]) / temperature) for k in range(2 * n) if k != i))
    assert nt_xent(z1, z2, temperature=temperature).item() == pytest.approx(total / (2 * n), rel=1e-12)


@pytest.mark.parametrize("d", [1, 5])
def test_loss_and_gradients_are_those_of_lightly(d: int) -> None:
    ours = [lambda a, b: nt_xent(a, b, temperature=0.2), lambda a, b: vicreg_terms(a, b)["variance"]]
    ours += [lambda a, b: vicreg_terms(a, b)["covariance"], lambda a, b: vicreg_terms(a, b)["invariance"]]
    theirs = [loss.NTXentLoss(0.2), lambda a, b: (variance_loss(a) + variance_loss(b)) / 2]
    theirs += [lambda a, b: covariance_loss(a) + covariance_loss(b), invariance_loss]
    for mine, other in zip([*ours, negative_cosine], [*theirs, loss.NegativeCosineSimilarity()], strict=True):
        (z1, z2), (y1, y2) = rows(0, 1, d=d), rows(0, 1, d=d)
        y2 = y2.detach() if mine is negative_cosine else y2
        one, two = mine(z1, z2), other(y1, y2)
        one.backward()
        two.backward()
        torch.testing.assert_close(one, two)
        torch.testing.assert_close([z1.grad, z2.grad], [y1.grad, y2.grad])


def test_nt_xent_of_identical_pairs_orthogonal_to_each_other_has_its_closed_form() -> None:
    z = torch.eye(4, dtype=torch.float64)
    # each anchor: one candidate at cosine 1, six at cosine 0
    assert nt_xent(z, z, temperature=0.5).item() == pytest.approx(np.log(np.exp(2) + 6) - 2, rel=1e-12)


def test_negative_cosine_is_minus_the_mean_cosine_and_stops_the_gradient_of_its_target() -> None:
    p, z = rows(0, 1)
    loss = negative_cosine(p, z)
    assert loss.item() == pytest.approx(-np.mean([cos(u, v) for u, v in zip(array(p), array(z), strict=True)]))
    loss.backward()
    assert z.grad is None
    assert p.grad is not None
    assert p.grad.abs().sum() > 0


def test_sim1_halves_the_two_directions_and_reaches_only_the_predictions() -> None:
    h1, h2, z1, z2 = rows(0, 1, 2, 3)
    loss = sim1_loss(h1, h2, z1, z2)
    pairs = [(h1, z2), (h2, z1)]
    expected = -0.5 * sum(np.mean([cos(u, v) for u, v in zip(array(h), array(z), strict=True)]) for h, z in pairs)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    assert z1.grad is None
    assert z2.grad is None
    assert h1.grad is not None
    assert h2.grad is not None


def test_sim2_squared_error_is_the_papers_formula_and_its_mean_over_features_is_d_times_smaller() -> None:
    y1, y2, z = rows(0, 1, 2)
    n, d = z.shape
    paper = sum(np.sum((array(y)[i] - array(z)[i]) ** 2) for y in (y1, y2) for i in range(n)) / (2 * n)
    assert sim2_loss(y1, y2, z, reduction="sum").item() == pytest.approx(paper)
    assert sim2_loss(y1, y2, z, reduction="mean").item() == pytest.approx(paper / d)


def test_sim2_cosine_halves_the_two_predictions() -> None:
    y1, y2, z = rows(0, 1, 2)
    expected = -0.5 * sum(np.mean([cos(u, v) for u, v in zip(array(y), array(z), strict=True)]) for y in (y1, y2))
    assert sim2_loss(y1, y2, z, form="cosine").item() == pytest.approx(expected)


@pytest.mark.parametrize("form", ["mse", "cosine"])
def test_sim2_stops_the_gradient_of_the_clean_projection(form: str) -> None:
    y1, y2, z = rows(0, 1, 2)
    sim2_loss(y1, y2, z, form=form).backward()
    assert z.grad is None
    assert y1.grad is not None
    assert y2.grad is not None


def test_vicreg_terms_equal_their_formulae() -> None:
    z1, z2 = rows(0, 1)
    a, b = array(z1), array(z2)
    n, d = a.shape
    terms = vicreg_terms(z1, z2)
    assert terms["invariance"].item() == pytest.approx(np.sum((a - b) ** 2) / (n * d))
    variance = np.mean([max(0, 1 - np.sqrt(z[:, j].var(ddof=1) + 1e-4)) for z in (a, b) for j in range(d)])
    assert terms["variance"].item() == pytest.approx(variance)
    covariance = sum(np.cov(z.T)[i, j] ** 2 / d for z in (a, b) for i in range(d) for j in range(d) if i != j)
    assert terms["covariance"].item() == pytest.approx(covariance)


def test_barlow_twins_terms_equal_their_formulae() -> None:
    z1, z2 = rows(0, 1)
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (array(z1), array(z2)))
    n, d = a.shape
    correlation = [[sum(a[k, i] * b[k, j] for k in range(n)) / n for j in range(d)] for i in range(d)]
    invariance, redundancy = barlow_twins_terms(z1, z2)
    assert invariance.item() == pytest.approx(sum((1 - correlation[i][i]) ** 2 for i in range(d)))
    off = sum(correlation[i][j] ** 2 for i in range(d) for j in range(d) if i != j)
    assert redundancy.item() == pytest.approx(off)


def test_barlow_twins_is_zero_for_equal_views_whose_coordinates_are_uncorrelated() -> None:
    z = torch.cat([torch.eye(4), -torch.eye(4)]).double() * 100
    invariance, redundancy = barlow_twins_terms(z, z)
    assert invariance.item() == pytest.approx(0, abs=1e-6)
    assert redundancy.item() == pytest.approx(0, abs=1e-6)


def test_epps_pulley_equals_its_closed_form() -> None:
    """The integral over all t, as sums over pairs: Epps and Pulley 1983, with the kernel exp(-t^2 / 2)."""
    (z,) = rows(2)
    directions = random_directions(z.shape[1], 3, torch.Generator().manual_seed(0))
    found = epps_pulley(z.double(), directions)
    for column in range(3):
        x = array(z) @ array(directions[:, column])
        n = len(x)
        pairs = sum(np.exp(-((p - q) ** 2) / 2) for p in x for q in x) * np.sqrt(2 * np.pi) / n
        single = 2 * sum(np.exp(-(p**2) / 4) for p in x) * np.sqrt(np.pi)
        wanted = pairs - single + n * np.sqrt(2 * np.pi / 3)
        assert found[column].item() == pytest.approx(wanted, rel=1e-2, abs=1e-3)


def test_epps_pulley_is_small_for_a_gaussian_sample_and_grows_with_a_constant_one() -> None:
    draw = torch.Generator().manual_seed(1)
    gaussian = epps_pulley(torch.randn(200, 300, generator=draw), torch.eye(300)).mean()
    expected = np.sqrt(2 * np.pi) - np.sqrt(2 * np.pi / 3)  # integral of (1 - exp(-t^2)) exp(-t^2 / 2)
    assert gaussian.item() == pytest.approx(expected, rel=0.15), "300 samples of 200"
    directions = random_directions(6, 50, draw)
    for n in (100, 1000):
        constant = epps_pulley(torch.zeros(n, 6), directions)
        wanted = n * (np.sqrt(2 * np.pi) - 2 * np.sqrt(np.pi) + np.sqrt(2 * np.pi / 3))
        torch.testing.assert_close(constant, torch.full((50,), wanted), rtol=1e-3, atol=0)


def test_directions_are_unit_vectors() -> None:
    found = random_directions(6, 50, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.norm(dim=0), torch.ones(50))


def test_the_prediction_loss_is_the_squared_distance_from_the_mean_view() -> None:
    z1, z2 = rows(0, 1)
    mean = (array(z1) + array(z2)) / 2
    wanted = np.mean([np.mean((array(z) - mean) ** 2) for z in (z1, z2)])
    assert prediction_loss(z1, z2).item() == pytest.approx(wanted)


def test_spread_is_zero_for_collapsed_projections_and_about_one_for_an_orthonormal_frame() -> None:
    z = torch.eye(4)
    full = torch.cat([z, -z])
    assert agreement(full, full)["spread"].item() == pytest.approx(8 / 7), "of 8 images: n - 1"
    one = torch.ones(8, 4)
    assert agreement(one, one)["spread"].item() == pytest.approx(0, abs=1e-6)
    assert agreement(full, -full)["alignment"].item() == pytest.approx(-1)


def test_spread_is_the_covariance_of_the_two_views_summed_over_coordinates() -> None:
    z1, z2 = rows(0, 1)
    a, b = (array(z) / np.linalg.norm(array(z), axis=1, keepdims=True) for z in (z1, z2))
    covariance = sum(np.cov(a[:, j], b[:, j])[0, 1] for j in range(a.shape[1]))
    assert agreement(z1, z2)["spread"].item() == pytest.approx(covariance)


def test_noise_of_two_views_does_not_count_as_spread() -> None:
    one, noise = torch.ones(4000, 16), torch.randn(2, 4000, 16, generator=torch.Generator().manual_seed(0))
    assert agreement(one + noise[0], one + noise[1])["spread"].item() == pytest.approx(0, abs=0.02)


def test_terms_of_bfloat16_tensors_are_computed_in_float32_even_under_autocast() -> None:
    h1, h2, z1, z2 = (z.detach().bfloat16() for z in rows(0, 1, 2, 3))
    plain = [nt_xent(z1.float(), z2.float(), temperature=0.1), sim1_loss(*(z.float() for z in (h1, h2, z1, z2)))]
    with torch.autocast("cpu", torch.bfloat16):
        cast = [nt_xent(z1, z2, temperature=0.1), sim1_loss(h1, h2, z1, z2)]
    for expected, actual in zip(plain, cast, strict=True):
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)
