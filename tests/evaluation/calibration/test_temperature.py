"""Temperature scaling: a known temperature comes back, a grid finds nothing better, predictions stay."""

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.scores import negative_log_likelihood
from sslkuramoto.evaluation.calibration.temperature import HIGHEST, LOWEST, fit_temperature
from sslkuramoto.randomness import generator


def drawn_from(logits: torch.Tensor, key: str) -> torch.Tensor:
    """Return labels drawn with the probabilities softmax(logits): the logits are then calibrated."""
    return torch.multinomial(logits.softmax(dim=1), 1, generator=generator("cpu", key)).squeeze(1)


@pytest.mark.parametrize("known", [0.3, 1.0, 2.5])
def test_the_temperature_that_the_logits_were_sharpened_by_comes_back(known):
    true = torch.randn(40_000, 6, generator=generator("cpu", "true logits"))
    found = fit_temperature(true * known, drawn_from(true, "labels"))
    assert found.value == pytest.approx(known, rel=0.03)
    assert found.nll_after <= found.nll_before
    assert not found.at_bound


def test_no_temperature_of_a_grid_is_better():
    logits = 3 * torch.randn(200, 4, generator=generator("cpu", "grid"))
    labels = drawn_from(logits / 4, "grid labels")
    found = fit_temperature(logits, labels)
    grid = [negative_log_likelihood(logits / t, labels).mean() for t in torch.logspace(-1, 1.5, 300).tolist()]
    assert found.nll_after <= min(grid) + 1e-12
    assert found.nll_after == pytest.approx(float(negative_log_likelihood(logits / found.value, labels).mean()))


def test_a_constant_added_to_the_logits_of_an_image_changes_nothing():
    logits = torch.randn(100, 4, generator=generator("cpu", "shift"), dtype=torch.float64)
    labels = drawn_from(logits, "shift labels")
    shifted = fit_temperature(logits + 1000 * torch.arange(100)[:, None], labels)
    assert shifted.value == pytest.approx(fit_temperature(logits, labels).value)


def test_a_search_without_an_end_stops_at_its_bounds_and_says_so():
    logits = torch.eye(4)
    right = fit_temperature(logits, torch.arange(4))
    assert (right.value, right.at_bound) == (LOWEST, True)
    wrong = fit_temperature(logits, (torch.arange(4) + 1) % 4)
    assert (wrong.value, wrong.at_bound) == (HIGHEST, True)


def test_classes_that_are_all_alike_keep_the_temperature_at_one():
    found = fit_temperature(torch.full((5, 3), 7.0), torch.tensor([0, 1, 2, 0, 1]))
    assert found[:1] + found[3:] == (1.0, False)


def test_no_images_and_no_numbers_are_refused():
    with pytest.raises(UserError, match="no images"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(UserError, match="not finite"):
        fit_temperature(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))
