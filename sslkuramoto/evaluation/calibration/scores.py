"""Measures of calibration: reliability bins, expected calibration error (ECE), NLL, Brier score.

Guo, Pleiss, Sun, Weinberger 2017, arXiv 1706.04599, equations 2-3 (bins of equal width); Nguyen and O'Connor 2015,
arXiv 1508.05154 (of equal mass); Brier 1950, Verification of forecasts. Everything is computed in float64.

Shapes: n images, q classes, m bins, r resamples.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.errors import UserError

Binning = Literal["equal-width", "equal-mass"]


@dataclass(frozen=True)
class Bins:
    """A reliability diagram: bin k holds the confidences in (edges[k], edges[k + 1]], the first one 0 as well.

    Attributes:
        edges: from 0 to 1, increasing.
        confidence: mean confidence per bin; NaN if it is empty.
        accuracy: share of correct predictions per bin; NaN if it is empty.
        count: predictions per bin.
    """

    edges: Float[Tensor, " m_plus_1"]
    confidence: Float64[Tensor, " m"]
    accuracy: Float64[Tensor, " m"]
    count: Int64[Tensor, " m"]

    @property
    def error(self) -> float:
        """The expected calibration error of these bins, in [0,1]."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num(0.0)
        return float((self.count.double() / self.count.sum() * gaps).sum())

    def entry(self) -> dict[str, Any]:
        """Return plain lists for a result file; values of empty bins are None."""

        def plain(values: Tensor) -> list[float | None]:
            return [None if value != value else round(value, 6) for value in values.tolist()]

        return {
            "edges": [float(edge) for edge in self.edges.double()],
            "confidence": plain(self.confidence),
            "accuracy": plain(self.accuracy),
            "count": self.count.tolist(),
        }


def reliability_bins(
    confidence: Float[Tensor, " n"], correct: Bool[Tensor, " n"], *, bins: int = 15, kind: Binning = "equal-width"
) -> Bins:
    """Sort predictions into bins by confidence.

    Args:
        confidence: probability of the predicted class (not its logit), in [0,1].
        correct: whether the prediction is correct.
        bins: number of bins, >= 1.
        kind: "equal-width": edges k / bins; "equal-mass": equally many predictions per bin, as far as ties allow.

    Returns:
        ``bins`` bins of equal width, some possibly empty; of equal mass fewer if there are fewer distinct values.

    Raises:
        UserError: no predictions, confidences outside [0,1] or not finite, fewer than one bin.

    Differs: torchmetrics puts a confidence of exactly 1 into an extra bin after the last one.
    """
    _check(confidence, correct, bins)
    edges = bin_edges(confidence, bins, kind)
    place = bin_of(confidence, edges)
    size = len(edges) - 1
    count = torch.bincount(place, minlength=size)
    sums = [torch.bincount(place, weights=values.double(), minlength=size) for values in (confidence, correct)]
    return Bins(edges, sums[0] / count, sums[1] / count, count)


def expected_calibration_error(
    confidence: Float[Tensor, " n"], correct: Bool[Tensor, " n"], bins: int = 15, kind: Binning = "equal-width"
) -> float:
    """Return ECE = sum over bins of (share of the predictions) * |accuracy - mean confidence|, in [0,1].

    Args and Raises: as :func:`reliability_bins`. Protocols report it in percent.
    """
    return reliability_bins(confidence, correct, bins=bins, kind=kind).error


def bin_edges(confidence: Float[Tensor, " n"], bins: int, kind: Binning) -> Float[Tensor, " m_plus_1"]:
    """Return the edges of bins, in the precision of the confidences, so that 0.2 in float32 equals the edge 3 / 15.

    For equal mass the sorted values are cut after the ranks k * n // bins, and an edge is the value before the cut.
    Equal values therefore share a bin, whatever the order of the images, and coinciding edges are merged.
    """
    if kind == "equal-width":
        return (torch.arange(bins + 1, dtype=torch.float64) / bins).to(confidence)
    ordered = confidence.sort().values
    ranks = [k * len(ordered) // bins for k in range(1, bins)]
    inner = ordered[[rank - 1 for rank in ranks if rank > 0]].unique()
    inner = inner[(inner > 0) & (inner < ordered[-1])]  # the largest value lies in the last bin, which ends at 1
    return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


def bin_of(confidence: Float[Tensor, " n"], edges: Float[Tensor, " m_plus_1"]) -> Int64[Tensor, " n"]:
    """Return each confidence's bin. An edge belongs to the bin below it: 1 to the last bin, but 0 to the first."""
    return torch.bucketize(confidence.contiguous(), edges[1:-1].contiguous())


def negative_log_likelihood(logits: Float[Tensor, "n q"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Return -log of the probability that softmax(logits) gives the label, in nats, image by image."""
    _check_finite("logits", logits)
    return F.cross_entropy(logits.double(), labels, reduction="none")


def brier_score(probabilities: Float[Tensor, "n q"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Return the squared distance between prediction and one-hot label, summed over the classes, in [0,2].

    Raises:
        UserError: rows that are not probabilities, such as logits that happen to be in [0,1].
    """
    _check_finite("probabilities", probabilities)
    wide = probabilities.double()
    if bool((wide < 0).any()) or bool(((wide.sum(dim=1) - 1).abs() > 1e-4).any()):
        raise UserError("probabilities: rows must be >= 0 and sum to 1; apply a softmax if these are logits")
    return (wide - F.one_hot(labels, wide.shape[1])).square().sum(dim=1)


def mixture_logits(logits: Float[Tensor, "k n q"]) -> Float64[Tensor, "n q"]:
    """Return the log of the mean over draws of softmax(logits): the logits of the mixture of the draws."""
    _check_finite("logits", logits)
    return torch.logsumexp(logits.double().log_softmax(dim=-1), dim=0) - torch.tensor(len(logits)).double().log()


def resampled_errors(
    confidence: Float[Tensor, " n"],
    correct: Bool[Tensor, " n"],
    weights: Float[Tensor, "r n"],
    *,
    bins: int,
    kind: Binning,
) -> Float64[Tensor, " r"]:
    """Return the ECE of each bootstrap resample of the images, with the bins of the whole set.

    Args:
        confidence, correct, bins, kind: as :func:`reliability_bins`.
        weights: how often each image occurs in a resample; rows sum to n.
    """
    _check(confidence, correct, bins)
    edges = bin_edges(confidence, bins, kind)
    own = F.one_hot(bin_of(confidence, edges), len(edges) - 1).double()
    gaps = own * (correct.double() - confidence.double())[:, None]
    return (weights.double() @ gaps).abs().sum(dim=1) / len(confidence)


def errors_if_calibrated(
    confidence: Float[Tensor, " n"], *, bins: int, kind: Binning, repetitions: int, draw: torch.Generator
) -> Float64[Tensor, " repetitions"]:
    """Return simulated ECEs of a perfectly calibrated classifier: each prediction is correct with its confidence.

    On few images the ECE is above 0 even for perfect calibration; only a larger one indicates miscalibration.

    Source: consistency resampling, Vaicenavicius et al. 2019, arXiv 1902.06977, section 5.
    """
    _check(confidence, torch.ones_like(confidence, dtype=torch.bool), bins)
    edges = bin_edges(confidence, bins, kind)
    own = F.one_hot(bin_of(confidence, edges), len(edges) - 1).double()
    wide = confidence.double()
    chance = torch.rand(repetitions, len(wide), generator=draw, dtype=torch.float64, device=wide.device)
    return ((chance < wide).double() - wide).matmul(own).abs().sum(dim=1) / len(wide)


def _check(confidence: Tensor, correct: Tensor, bins: int) -> None:
    if bins < 1:
        raise UserError(f"bins={bins}: must be at least 1")
    if len(confidence) == 0:
        raise UserError("confidence: there are no predictions")
    assert confidence.shape == correct.shape, f"{tuple(confidence.shape)} confidences, {tuple(correct.shape)} answers"
    _check_finite("confidence", confidence)
    low, high = float(confidence.min()), float(confidence.max())
    if low < 0 or high > 1:
        raise UserError(f"confidence: is in [{low:.3g}, {high:.3g}]; must be probabilities in [0,1], not logits")


def _check_finite(name: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise UserError(f"{name}: {int((~values.isfinite()).sum())} of {values.numel()} values are not finite")
