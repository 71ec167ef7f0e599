"""Error rates on corrupted images, their means, and mCE.

Hendrycks and Dietterich 2019 (1903.12261), section 4.2. E(s, c) is the error at severity s of corruption c, E the clean
error, * those of a baseline:

    CE(c) = sum_s E(s, c) / sum_s E*(s, c),   mCE = mean_c CE(c)
    relative CE(c) = sum_s (E(s, c) - E) / sum_s (E*(s, c) - E*)

Shapes: k draws, n images.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.classifier import Classifier, check_finite
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.scores import expected_calibration_error
from sslkuramoto.evaluation.corruptions.baseline import Baseline
from sslkuramoto.evaluation.corruptions.sources import Chunk
from sslkuramoto.evaluation.corruptions.strengths import SEVERITIES
from sslkuramoto.randomness import generator
from sslkuramoto.results import Metric
from sslkuramoto.statistics import spread, wilson

ROUNDING = 1e-9  # of a sum of five errors; one more wrong answer of 10,000 images in 1,000 draws is 1e-7


class Cell(NamedTuple):
    """Results for one corruption at one severity, or for the clean images.

    Attributes:
        shares: for each image the share of draws that are correct.
        by_draw: accuracy of each draw.
        ece: expected calibration error of each draw in percent; empty if not requested.
    """

    shares: Float[Tensor, " n"]
    by_draw: list[float]
    ece: list[float]

    @property
    def accuracy(self) -> float:
        return fmean(self.by_draw)

    def entry(self) -> dict[str, float]:
        """Return the entry of this cell in the details of the result."""
        found = {"accuracy": self.accuracy, "error": 1 - self.accuracy}
        return {**found, "ece": fmean(self.ece)} if self.ece else found


@torch.no_grad()
def answers(
    classifier: Classifier, chunks: Iterable[Chunk], labels: Int64[Tensor, " n"], draws: int, *, ece: bool, where: str
) -> Cell:
    """Return accuracy and calibration of a classifier on some images.

    Args:
        classifier: in its own mode.
        chunks: images and their indices.
        labels: of all of them, in order.
        draws: number of draws. Draw k of chunk i is keyed by ``(seed, "corruptions", k, i)`` for every corruption, so
            a corruption that changes nothing changes no prediction.
        ece: whether to measure the ECE of the top-label confidence (15 bins of equal width, percent).
        where: description of the images, for messages.

    Raises:
        UserError: logits that are NaN or infinite.
    """
    right: list[Tensor] = []
    confidence: list[Tensor] = []
    start = 0
    for i, (images, index) in enumerate(chunks):
        wanted = labels[start : start + len(index)].to(images.device)
        start += len(index)
        noise = [generator(images.device, classifier.seed, "corruptions", k, i) for k in range(draws)]
        logits = classifier.at(index).over_draws(images, noise).float()
        try:
            check_finite(logits.flatten(0, 1))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        top = logits.softmax(dim=2).max(dim=2)
        right.append((top.indices == wanted).cpu())
        confidence.append(top.values.cpu())
    correct, sure = torch.cat(right, dim=1), torch.cat(confidence, dim=1)
    errors = [100 * expected_calibration_error(*pair) for pair in zip(sure, correct, strict=True)] if ece else []
    return Cell(correct.double().mean(dim=0), correct.double().mean(dim=1).tolist(), errors)


def mean_accuracy(cells: Iterable[Cell]) -> Metric:
    """Return the accuracy, averaged over cells; the interval is over images."""
    cells = list(cells)
    shares = torch.stack([cell.shares for cell in cells])
    value = min(1.0, float(shares.mean()))
    by_draw = [fmean(values) for values in zip(*(cell.by_draw for cell in cells), strict=True)]
    low, high = wilson(value, shares.shape[1])
    return Metric(value, low, high, shares.shape[1], len(by_draw), spread(by_draw))


def error_of(accuracy: Metric) -> Metric:
    """Return the error that belongs to an accuracy."""
    assert accuracy.low is not None
    assert accuracy.high is not None
    low, high = 1 - accuracy.high, 1 - accuracy.low
    return Metric(1 - accuracy.value, low, high, accuracy.n, accuracy.draws, accuracy.std_over_draws)


def increase(cells: Iterable[Cell], clean: Cell) -> Metric:
    """Return the increase of the error over that on clean images, fraction; without an interval."""
    cells = list(cells)
    pairs = zip(*(cell.by_draw for cell in cells), strict=True)
    by_draw = [own - fmean(values) for own, values in zip(clean.by_draw, pairs, strict=True)]
    return Metric(fmean(by_draw), None, None, len(clean.shares), len(by_draw), spread(by_draw))


def mean_ece(cells: Iterable[Cell]) -> Metric:
    """Return the calibration error, averaged over cells, percent."""
    cells = list(cells)
    return _percent([fmean(values) for values in zip(*(cell.ece for cell in cells), strict=True)], cells[0])


def corruption_errors(cells: Mapping[str, list[Cell]], clean: Cell, baseline: Baseline) -> dict[str, Metric]:
    """Return ``mce`` and, where the baseline loses accuracy in every corruption, ``relative_mce``, percent.

    Each draw has its own; the baseline is the mean over its draws.

    Args:
        cells: corruption -> its five severities.
        clean: the same images without corruption.
        baseline: the other run.
    """
    count, draws = len(SEVERITIES), range(len(clean.by_draw))
    sums = {name: [sum(1 - cell.by_draw[k] for cell in row) for k in draws] for name, row in cells.items()}
    found = {"mce": [fmean(sums[name][k] / baseline.errors[name] for name in sums) for k in draws]}
    other = {name: baseline.errors[name] - count * baseline.clean_error for name in sums}
    if all(value > ROUNDING for value in other.values()):
        own = {name: [sums[name][k] - count * (1 - clean.by_draw[k]) for k in draws] for name in sums}
        found["relative_mce"] = [fmean(own[name][k] / other[name] for name in own) for k in draws]
    return {name: _percent([100 * value for value in values], clean) for name, values in found.items()}


def _percent(by_draw: list[float], clean: Cell) -> Metric:
    """Return the mean over draws, without an interval over images."""
    return Metric(fmean(by_draw), None, None, len(clean.shares), len(by_draw), spread(by_draw), unit="percent")
