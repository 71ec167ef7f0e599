"""Protocol ``calibration``: ECE, NLL and Brier score of a classifier, before and after temperature scaling.

A stochastic network has two predictions, and both are measured: that of a single draw of its oscillators (each measure
is then a mean over at least 20 draws), and the *mixture*, the mean of the predicted probabilities over draws.

Shapes: k draws, n images, q classes, r resamples.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import ImageSet, batches
from sslkuramoto.data.images.subset import proportional
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.calibration.scores import (
    Binning,
    brier_score,
    errors_if_calibrated,
    mixture_logits,
    negative_log_likelihood,
    reliability_bins,
    resampled_errors,
)
from sslkuramoto.evaluation.calibration.temperature import Temperature, fit_temperature
from sslkuramoto.evaluation.classification.sanity import check_classes, check_first_chunk
from sslkuramoto.evaluation.classification.subset import chosen_indices
from sslkuramoto.evaluation.division import divided_otherwise, trainings_known
from sslkuramoto.evaluation.forward_cost import classifier_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, classifier_of, described, start_of
from sslkuramoto.noise_draws import draws_for, share_over_draws, share_right
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric, Result
from sslkuramoto.statistics import spread
from sslkuramoto.values import Count, Must, Repeats, ShareAboveZero, checked

NAME = "calibration"
RESAMPLES = 500


def _kept_from(subject: Subject) -> str:
    """Return in words whether the network was trained on val images."""
    if found := divided_otherwise(subject, "val"):
        training, option = found
        return f"; {training.run}, from which it started, was trained with {option}, perhaps on some of them"
    return ", which the network was not trained on" if trainings_known(subject) else ""


@dataclass(frozen=True)
class Fitted:
    """Fitted temperatures.

    Attributes:
        notes: sentences about the fit.
        images: number of images they were fitted on.
        temperatures: prefix of a prediction -> its temperature; empty if none was fitted.
    """

    notes: list[str]
    images: int = 0
    temperatures: dict[str, Temperature] = field(default_factory=dict)


Bins = Annotated[
    tuple[int, ...],
    Must("a list of different numbers >= 1", lambda bins: bins and min(bins) >= 1 and len(set(bins)) == len(bins)),
]


@checked
class Calibration(Protocol):
    """Calibration of a classifier: ECE in percent, NLL, Brier score, temperature scaling.

    Args:
        bins: numbers of bins. With the first the metrics are ``ece`` (equal width) and ``ece_equal_mass``; with the
            others ``ece_10`` and so on.
        initial: initial oscillators: "random", "fixed", "fixed_per_image", or "averaged" (mean logits over fresh
            draws).
        average: draws in that mean.
        temperature: whether to fit a temperature, and measure again with the logits divided by it.
        held_out: images for the fit. "val": the split that training held out (``data.holdout`` of the recipe); without
            one no temperature is fitted, and a note says so. A share in (0,1]: that part of the training images, which
            biases the temperature low; a note says so.
        images: number of measured images, None for all; the same images as for attacks.
        split: split that is measured; never the one that the temperature is fitted on.
        draws: fresh draws of a stochastic classifier, at least 20.
    """

    name = NAME
    needs = frozenset({"head", "labels"})
    columns = (Column("calibration_ece", "ECE", "Calibration", False, 17, ["ece"], optional=True, better="lower"),)

    def __init__(
        self,
        *,
        bins: Bins = (15, 10, 20),
        initial: Initial = "random",
        average: Repeats = 8,
        temperature: bool = True,
        held_out: Literal["val"] | ShareAboveZero = "val",
        images: Count | None = None,
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
    ) -> None:
        self.options = options_of(locals())
        if temperature and held_out == split:
            raise UserError(f"split={split}: a temperature is not measured on the images it was fitted on; split=test")
        self.initial: Initial = initial
        self.held_out: Literal["val"] | float = held_out
        self.bins, self.average, self.temperature = bins, average, temperature
        self.images, self.split, self.draws = images, split, draws
        self.splits = (split,) if held_out == "val" or not temperature else (split, "train")
        self.optional_splits = ("val",) if held_out == "val" and temperature else ()

    def measure(self, subject: Subject) -> Result:
        classifier = classifier_of(subject, self.initial, average=self.average)
        images = subject.images(self.split)
        check_classes(subject, images)
        index = chosen_indices(images, self.images)
        (first,) = batches(images, [index[: subject.batch_size]], device=subject.device)
        check_first_chunk(classifier, first.inputs, first.indices, NAME)
        draws = draws_for(classifier.stochastic, self.draws)
        # the noise of protocol clean: the two agree on the accuracy
        logits, labels = self._answers(subject, classifier, images, index, draws, "clean")
        predictions = {"": logits, "mixture/": mixture_logits(logits)[None]}
        fitted = self._fitted(subject, classifier, draws)
        weights = resamples(len(labels), subject.seed)
        metrics: dict[str, Metric] = {}
        for prefix, values in predictions.items():
            own = self._measured(values, labels, weights)
            if found := fitted.temperatures.get(prefix):
                scaled = self._measured(values / found.value, labels, weights)
                own |= {f"{name}_scaled": metric for name, metric in scaled.items() if name != "accuracy"}
                own["temperature"] = Metric(found.value, None, None, fitted.images, draws, unit="factor")
            if prefix:  # the mixture is a single prediction made from all draws
                own = {name: replace(metric, draws=draws, std_over_draws=None) for name, metric in own.items()}
            metrics |= {prefix + name: metric for name, metric in own.items()}
        chance, note = self._chance(predictions, labels, subject.seed)
        return Result(
            metrics=metrics,
            options=self.options,
            data=described(images, len(index)),
            initial=start_of(subject.encoder, self.initial),
            per_image={
                "index": index.tolist(),
                "correct": share_right(logits.argmax(dim=2), labels),
                "confidence": [round(value, 6) for value in _confidence(logits).mean(dim=0).tolist()],
            },
            verdicts=["correct"],
            notes=[*fitted.notes, note],
            details={
                "reliability": self._diagrams(predictions, labels, fitted.temperatures),
                "temperature": {_title(prefix): found._asdict() for prefix, found in fitted.temperatures.items()},
                "if_calibrated": chance,
            },
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        classifier = classifier_of(subject, self.initial, average=self.average)
        draws = draws_for(classifier.stochastic, self.draws)
        costs = [("", classifier_cost(subject, classifier, self.split, images=self.images, passes=draws, look=True))]
        if self.temperature:
            split, images = "val", None
            if self.held_out != "val":
                split, images = "train", max(1, round(self.held_out * len(subject.data("train"))))
            with suppress(UserError):  # without held-out images no temperature is fitted
                costs.append((split, classifier_cost(subject, classifier, split, images=images, passes=draws)))
        return costs

    def _answers(
        self,
        subject: Subject,
        classifier: Classifier,
        images: ImageSet,
        index: Int64[Tensor, " n"],
        draws: int,
        *key: str,
    ) -> tuple[Float[Tensor, "k n q"], Int64[Tensor, " n"]]:
        """Return the logits of every draw, on the CPU, and the labels."""
        assert images.labels is not None
        order = list(index.split(subject.batch_size))
        read = batches(images, order, device=subject.device, workers=subject.workers)
        chunks = ((batch.inputs, batch.indices) for batch in read)
        return logits_over_draws(classifier, chunks, draws, *key).double(), images.labels.cpu()[index]

    def _fitted(self, subject: Subject, classifier: Classifier, draws: int) -> Fitted:
        """Return the temperatures of single-draw predictions and of the mixture."""
        if not self.temperature:
            return Fitted([])
        if self.held_out == "val":
            found = divided_otherwise(subject, "val")
            if found and found[0] == subject.trainings[0]:
                raise UserError(
                    f"held_out=val: the run was trained with {found[1]}, which was changed for the measurement, so its "
                    "val images are not those that the run kept back; held_out=0.2 fits on training images, "
                    "temperature=false on none"
                )
            try:
                images = subject.images("val")
            except UserError as error:
                return Fitted([f"no temperature was fitted: training held out no val images ({error})"])
            index, where = torch.arange(len(images)), f"val images{_kept_from(subject)}"
        else:
            images = subject.images("train")
            assert images.labels is not None
            order = proportional(len(images), images.labels.cpu(), seed=subject.seed, key=NAME)
            index = order[: max(1, round(self.held_out * len(images)))].sort().values
            where = "training images, which biases it low; train with data.holdout to avoid this"
        subject.report(f"calibration: {len(index)} images for the temperature")
        logits, labels = self._answers(subject, classifier, images, index, draws, NAME, "temperature")
        found = {
            "": fit_temperature(logits.flatten(0, 1), labels.repeat(draws)),
            "mixture/": fit_temperature(mixture_logits(logits), labels),
        }
        notes = [f"temperature fitted on {len(index)} {where}"]
        notes += [
            f"temperature of {_title(prefix)}: at the bound of the search, since no finite temperature is optimal"
            for prefix, temperature in found.items()
            if temperature.at_bound
        ]
        return Fitted(notes, len(index), found)

    def _measured(
        self, logits: Float[Tensor, "k n q"], labels: Int64[Tensor, " n"], weights: Float[Tensor, "r n"]
    ) -> dict[str, Metric]:
        """Return every measure, averaged over draws, with its interval over images."""
        confidence, correct = _confidence(logits), logits.argmax(dim=2) == labels
        probabilities = logits.double().softmax(dim=2)
        metrics = {"accuracy": share_over_draws(correct)}
        kinds: dict[str, tuple[int, Binning]] = {
            "ece": (self.bins[0], "equal-width"),
            "ece_equal_mass": (self.bins[0], "equal-mass"),
            **{f"ece_{bins}": (bins, "equal-width") for bins in self.bins[1:]},
        }
        for name, (bins, kind) in kinds.items():
            pairs = list(zip(confidence, correct, strict=True))
            values = [100 * reliability_bins(*pair, bins=bins, kind=kind).error for pair in pairs]
            errors = [100 * resampled_errors(*pair, weights, bins=bins, kind=kind) for pair in pairs]
            metrics[name] = _with_interval(values, torch.stack(errors).mean(dim=0), len(labels), "percent", 100.0)
        for name, score, unit, highest in (
            ("nll", lambda k: negative_log_likelihood(logits[k], labels), "nats", float("inf")),
            ("brier", lambda k: brier_score(probabilities[k], labels), "score", 2.0),
        ):
            scores = torch.stack([score(k) for k in range(len(logits))])
            resampled = weights @ scores.mean(dim=0) / len(labels)
            metrics[name] = _with_interval(scores.mean(dim=1).tolist(), resampled, len(labels), unit, highest)
        return metrics

    def _diagrams(
        self, predictions: dict[str, Tensor], labels: Int64[Tensor, " n"], fitted: dict[str, Temperature]
    ) -> dict[str, Any]:
        """Return the bins of every reliability diagram; that of single-draw predictions pools all draws."""
        found: dict[str, Any] = {}
        for prefix, logits in predictions.items():
            correct = (logits.argmax(dim=2) == labels).flatten()
            temperatures = {"": 1.0} | ({" scaled": fitted[prefix].value} if prefix in fitted else {})
            for ending, temperature in temperatures.items():
                confidence = _confidence(logits / temperature).flatten()
                for kind in ("equal-width", "equal-mass"):
                    drawn = reliability_bins(confidence, correct, bins=self.bins[0], kind=kind)
                    name = f"{prefix.replace('/', ' ')}{self.bins[0]} {kind}{ending}"
                    found[name] = drawn.entry() | {"draws": len(logits), "ece": round(100 * drawn.error, 6)}
        return found

    def _chance(
        self, predictions: dict[str, Tensor], labels: Int64[Tensor, " n"], seed: int
    ) -> tuple[dict[str, Any], str]:
        """Return the ECE that a perfectly calibrated network with these confidences would have, and a note on it."""
        found = {}
        for prefix, logits in predictions.items():
            errors = 100 * errors_if_calibrated(
                _confidence(logits)[0],
                bins=self.bins[0],
                kind="equal-width",
                repetitions=RESAMPLES,
                draw=generator("cpu", seed, NAME, "chance"),
            )
            found[_title(prefix)] = {
                "mean": round(float(errors.mean()), 6),
                "q95": round(float(errors.quantile(0.95)), 6),
            }
        own = found[_title("")]
        note = (
            f"a perfectly calibrated network with these confidences would have a mean ECE of {own['mean']:.2f} % "
            f"over {len(labels)} images (95th percentile {own['q95']:.2f} %)"
        )
        return found, note


@torch.no_grad()
def logits_over_draws(
    classifier: Classifier, chunks: Iterator[tuple[Tensor, Tensor]], draws: int, *key: str
) -> Float[Tensor, "k n q"]:
    """Return the logits of every image in every draw, on the CPU, with the draws of ``predictions_over_draws``."""
    parts = []
    for i, (images, index) in enumerate(chunks):
        noise = [generator(images.device, classifier.seed, *key, k, i) for k in range(draws)]
        parts.append(classifier.at(index).over_draws(images, noise).float().cpu())
    return torch.cat(parts, dim=1)


def resamples(n: int, seed: int) -> Float[Tensor, "r n"]:
    """Return how often each image occurs in each bootstrap resample (Efron 1979)."""
    draw = generator("cpu", seed, NAME, "bootstrap", n)
    return torch.stack(
        [torch.bincount(torch.randint(n, (n,), generator=draw), minlength=n).double() for _ in range(RESAMPLES)]
    )


def _with_interval(values: list[float], resampled: Tensor, n: int, unit: str, highest: float) -> Metric:
    """Return the mean of ``values`` with a bootstrap interval, shifted so that the resampled mean equals it.

    Resampling biases the ECE upwards, since images occur twice; only the width of the bootstrap distribution is used.
    """
    value = sum(values) / len(values)
    low, high = (resampled.quantile(torch.tensor([0.025, 0.975]).double()) - resampled.mean() + value).tolist()
    return Metric(
        value, max(0.0, min(low, value)), min(highest, max(high, value)), n, len(values), spread(values), unit
    )


def _confidence(logits: Float[Tensor, "k n q"]) -> Float[Tensor, "k n"]:
    return logits.double().softmax(dim=2).amax(dim=2)


def _title(prefix: str) -> str:
    return prefix.rstrip("/") or "one draw"
