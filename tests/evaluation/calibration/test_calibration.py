"""Bins, ECE, NLL and Brier score against double loops, hand-made cases and simulated data."""

import math

import pytest
import torch

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.scores import (
    brier_score,
    errors_if_calibrated,
    expected_calibration_error,
    mixture_logits,
    negative_log_likelihood,
    reliability_bins,
    resampled_errors,
)
from sslkuramoto.randomness import generator

KINDS = ("equal-width", "equal-mass")


def answers(n: int, classes: int = 5, sharpness: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits, and labels that have nothing to do with them."""
    draw = generator("cpu", "calibration", n)
    return sharpness * torch.randn(n, classes, generator=draw), torch.randint(0, classes, (n,), generator=draw)


def confidence_of(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sure, predicted = logits.double().softmax(dim=1).max(dim=1)
    return sure, predicted == labels


def by_hand(confidence: list[float], correct: list[bool], bins: int, kind: str) -> float:
    """Return the ECE by a loop over bins and one over images."""
    n = len(confidence)
    if kind == "equal-width":
        uppers = [(k + 1) / bins for k in range(bins)]
    else:
        ordered = sorted(confidence)
        cuts = [ordered[k * n // bins - 1] for k in range(1, bins) if k * n // bins > 0]
        uppers = sorted({cut for cut in cuts if cut > 0} | {1.0})  # 0 shares the first bin
    total = 0.0
    for k, upper in enumerate(uppers):
        inside = [i for i in range(n) if confidence[i] <= upper and (k == 0 or confidence[i] > uppers[k - 1])]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            sure = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / n * abs(accuracy - sure)
    return total


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bins", [1, 10, 15, 20, 200])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_ece_equals_a_loop_over_bins_and_images(n, bins, kind):
    confidence, correct = confidence_of(*answers(n))
    found = expected_calibration_error(confidence, correct, bins, kind)
    assert found == pytest.approx(by_hand(confidence.tolist(), correct.tolist(), bins, kind), abs=1e-12)


@pytest.mark.parametrize("bins", [2, 5, 15])
def test_ece_of_equal_mass_with_ties_equals_the_loops_and_does_not_see_the_order_of_the_images(bins):
    draw = generator("cpu", "ties")
    confidence = torch.randint(0, 8, (100,), generator=draw).double() / 7  # 0 and 1 among them
    correct = torch.rand(100, generator=draw) < 0.5
    found = expected_calibration_error(confidence, correct, bins, "equal-mass")
    assert found == pytest.approx(by_hand(confidence.tolist(), correct.tolist(), bins, "equal-mass"), abs=1e-12)
    order = torch.randperm(100, generator=draw)
    assert expected_calibration_error(confidence[order], correct[order], bins, "equal-mass") == pytest.approx(found)


def test_three_answers_in_two_bins_by_hand():
    confidence = torch.tensor([0.4, 0.9, 0.8], dtype=torch.float64)
    bins = reliability_bins(confidence, torch.tensor([True, True, False]), bins=2)
    assert bins.count.tolist() == [1, 2]
    assert bins.confidence.tolist() == pytest.approx([0.4, 0.85])
    assert bins.accuracy.tolist() == pytest.approx([1.0, 0.5])
    assert bins.error == pytest.approx(1 / 3 * 0.6 + 2 / 3 * 0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_a_confidence_of_exactly_one_lies_in_the_last_bin_and_zero_in_the_first(kind):
    confidence = torch.tensor([0.0, 0.5, 1.0, 1.0])
    bins = reliability_bins(confidence, torch.tensor([False, True, True, False]), bins=4, kind=kind)
    assert len(bins.count) == len(bins.edges) - 1 == len(bins.confidence)
    assert bins.count.sum() == 4
    assert bins.count[-1] == 2
    assert bins.confidence[-1] == 1.0
    assert bins.count[0] >= 1
    assert (bins.edges[0], bins.edges[-1]) == (0.0, 1.0)


def test_the_extra_bin_of_torchmetrics_is_not_there():
    """Confidence 1 (right) and 0.97 (wrong) share the last of 15 bins: |0.5 - 0.985|, not 1/2 * 0 + 1/2 * 0.97."""
    found = expected_calibration_error(torch.tensor([1.0, 0.97]).double(), torch.tensor([True, False]))
    assert found == pytest.approx(0.485)


def test_a_value_on_an_edge_belongs_to_the_bin_below_in_either_precision():
    for dtype in (torch.float32, torch.float64):
        for k in range(1, 16):
            confidence = torch.tensor([k / 15], dtype=dtype)
            assert reliability_bins(confidence, torch.tensor([True])).count.nonzero().item() == k - 1


def test_empty_bins_count_nothing_and_are_none_in_a_result():
    bins = reliability_bins(torch.tensor([0.95, 0.05]).double(), torch.tensor([True, False]), bins=10)
    assert bins.count.tolist() == [1, *[0] * 8, 1]
    assert bins.error == pytest.approx(0.05)
    entry = bins.entry()
    assert entry["accuracy"] == [0.0, *[None] * 8, 1.0]
    assert entry["confidence"][1] is None
    assert len(entry["edges"]) == 11


def test_equal_mass_bins_hold_equal_numbers_where_no_values_coincide():
    confidence, correct = confidence_of(*answers(100))
    assert reliability_bins(confidence, correct, bins=8, kind="equal-mass").count.tolist() == [12, 13] * 4
    assert reliability_bins(confidence, correct, bins=10, kind="equal-mass").count.tolist() == [10] * 10


def test_fewer_distinct_values_than_bins_make_fewer_bins():
    confidence = torch.tensor([0.3] * 5 + [0.7] * 5).double()
    correct = torch.arange(10) % 2 == 0
    bins = reliability_bins(confidence, correct, bins=15, kind="equal-mass")
    assert bins.count.tolist() == [5, 5]
    assert bins.error == pytest.approx(0.5 * abs(0.6 - 0.3) + 0.5 * abs(0.4 - 0.7))
    alone = reliability_bins(torch.ones(6), torch.ones(6, dtype=torch.bool), bins=15, kind="equal-mass")
    assert alone.count.tolist() == [6]
    assert alone.error == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_is_its_own_bin(kind):
    assert expected_calibration_error(torch.tensor([0.75]), torch.tensor([False]), kind=kind) == pytest.approx(0.75)


@pytest.mark.parametrize("kind", KINDS)
def test_simulated_calibrated_answers_have_an_ece_near_zero_and_overconfident_ones_their_gap(kind):
    draw = generator("cpu", "calibrated")
    confidence = 0.1 + 0.8 * torch.rand(200_000, generator=draw, dtype=torch.float64)
    chance = torch.rand(200_000, generator=draw, dtype=torch.float64)
    assert expected_calibration_error(confidence, chance < confidence, kind=kind) < 0.006
    assert expected_calibration_error(confidence, chance < confidence - 0.1, kind=kind) == pytest.approx(0.1, abs=0.006)


@pytest.mark.parametrize(
    ("confidence", "bins", "message"),
    [
        ([0.5, float("nan")], 15, "confidence: 1 of 2 values are not finite"),
        ([0.5, 1.5], 15, r"confidence: is in \[0.5, 1.5\]; must be probabilities in \[0,1\], not logits"),
        ([0.5, -0.5], 15, "not logits"),
        ([], 15, "there are no predictions"),
        ([0.5, 0.5], 0, "bins=0: must be at least 1"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, bins, message):
    with pytest.raises(UserError, match=message):
        expected_calibration_error(torch.tensor(confidence), torch.ones(len(confidence), dtype=torch.bool), bins)


def test_nll_and_brier_score_equal_double_loops():
    logits, labels = answers(40)
    for row, label, nll, brier in zip(
        logits.tolist(),
        labels.tolist(),
        negative_log_likelihood(logits, labels).tolist(),
        brier_score(logits.softmax(dim=1), labels).tolist(),
        strict=True,
    ):
        p = [math.exp(z) / sum(math.exp(other) for other in row) for z in row]
        assert nll == pytest.approx(-math.log(p[label]), rel=1e-5)
        assert brier == pytest.approx(sum((p[c] - (c == label)) ** 2 for c in range(5)), rel=1e-5)


def test_brier_score_ends_at_0_and_2():
    assert brier_score(torch.eye(3), torch.tensor([0, 1, 0])).tolist() == [0.0, 0.0, 2.0]


def test_logits_in_the_range_of_probabilities_are_taken_for_what_the_name_says():
    """torchmetrics would read logits inside [0,1] as probabilities."""
    logits, labels = torch.tensor([[0.9, 0.1, 0.2]]), torch.tensor([0])
    assert negative_log_likelihood(logits, labels).item() == pytest.approx(-math.log(logits.softmax(1)[0, 0]))
    with pytest.raises(UserError, match="apply a softmax if these are logits"):
        brier_score(logits, labels)


def test_values_that_are_not_finite_are_refused():
    bad, labels = torch.tensor([[0.0, float("inf")]]), torch.tensor([0])
    for measure in (negative_log_likelihood, brier_score):
        with pytest.raises(UserError, match="1 of 2 values are not finite"):
            measure(bad, labels)


def test_the_mixture_is_the_mean_of_the_draws_probabilities():
    logits = torch.stack([answers(30)[0], answers(31)[0][:30], torch.full((30, 5), -1e4).fill_diagonal_(1e4)])
    expected = logits.double().softmax(dim=2).mean(dim=0)
    torch.testing.assert_close(mixture_logits(logits).softmax(dim=1), expected)
    assert mixture_logits(logits).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resample_of_every_image_once_has_the_ece_itself(kind):
    confidence, correct = confidence_of(*answers(200))
    weights = torch.stack([torch.ones(200), torch.zeros(200).index_fill(0, torch.arange(50), 4.0)]).double()
    found = resampled_errors(confidence, correct, weights, bins=15, kind=kind)
    assert found[0].item() == pytest.approx(expected_calibration_error(confidence, correct, 15, kind))
    if kind == "equal-width":  # the edges do not depend on the images
        assert found[1].item() == pytest.approx(expected_calibration_error(confidence[:50], correct[:50]))


def test_chance_alone_gives_the_ece_that_simulated_calibrated_answers_have():
    confidence, _ = confidence_of(*answers(60))
    found = errors_if_calibrated(
        confidence, bins=15, kind="equal-width", repetitions=400, draw=generator("cpu", "chance")
    )
    draw = generator("cpu", "other chance")
    simulated = [
        expected_calibration_error(confidence, torch.rand(60, generator=draw, dtype=torch.float64) < confidence)
        for _ in range(400)
    ]
    assert 0.05 < found.mean().item() == pytest.approx(sum(simulated) / 400, abs=0.005)
