"""Linear probe: multinomial logistic regression on frozen, standardised features.

The penalty is chosen on a held-out part of the training set, never on the test set; the probe is then fitted again on
the whole training set. The problem is convex, so it is solved (L-BFGS, float64) rather than trained: no learning rate,
no epochs, the same answer every time.

Shapes: n images, d features, q classes.
"""

from typing import Annotated, Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.forward_cost import features_cost
from sslkuramoto.evaluation.protocol import Protocol, Subject, described, start_of
from sslkuramoto.evaluation.representation.features import split_features
from sslkuramoto.noise_draws import accuracies, share_right
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.values import Count, Positive, checked, small

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Probe(NamedTuple):
    """Affine map on raw features; standardisation is part of it."""

    weight: Float[Tensor, "q d"]
    bias: Float[Tensor, " q"]
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    def __call__(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n q"]:
        return ((features.to(self.mean) - self.mean) / self.scale) @ self.weight.T + self.bias


def fit_probe(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    *,
    num_classes: int,
    penalty: float,
    max_iterations: int = 500,
    start: Probe | None = None,
) -> Probe:
    """Return the minimum of mean cross-entropy + penalty / 2 * |W|^2 (the bias is free).

    Args:
        features: standardised inside by their own mean and standard deviation.
        labels: classes in [0, num_classes).
        num_classes: q.
        penalty: > 0; scikit-learn's ``C`` is 1 / (n * penalty).
        max_iterations: of L-BFGS.
        start: a probe to begin from (a neighbouring penalty).
    """
    features = features.double()
    mean, scale = features.mean(dim=0), features.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-12, scale, torch.ones_like(scale))  # a constant feature becomes 0
    inputs = (features - mean) / scale
    if start is None:
        weight, bias = inputs.new_zeros(num_classes, inputs.shape[1]), inputs.new_zeros(num_classes)
    else:
        weight, bias = start.weight.clone(), start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    solver = torch.optim.LBFGS(
        parameters, max_iter=max_iterations, tolerance_grad=1e-7, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.cross_entropy(inputs @ weight.T + bias, labels) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, scale)


def held_out(labels: Int64[Tensor, " n"], share: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return indices (kept, held out): a class-balanced share of a set, at least one image a class with two or more."""
    kept, out = [], []
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        members = members[torch.randperm(len(members), generator=draw)]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        out.append(members[:count])
        kept.append(members[count:])
    return torch.cat(kept).sort().values, torch.cat(out).sort().values


@small(penalties=(0.001, 1.0), max_iterations=20)
@checked
class LinearProbe(Protocol):
    """Accuracy of a linear probe fitted on the training features.

    Args:
        penalties: weight penalties to choose from, > 0.
        holdout: share of the training set that chooses among them, in (0, 1).
        max_iterations: of L-BFGS a fit.
        split: split that is scored.
        draws: passes over that split with a stochastic encoder, at least 20. Training features are drawn once.
    """

    name = "linear"
    needs = frozenset({"features", "labels"})
    columns = (Column("linear", "linear probe", "Frozen encoder", True, 2, ["accuracy"]),)

    def __init__(
        self,
        *,
        penalties: tuple[Positive, ...] = PENALTIES,
        holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2,
        max_iterations: Count = 500,
        split: Literal["test", "val"] = "test",
        draws: Count = 20,
    ) -> None:
        self.options = options_of(locals())
        if not penalties:
            raise UserError("penalties=[]: must name at least one")
        self.penalties = tuple(sorted(penalties, reverse=True))
        self.holdout, self.max_iterations, self.split = holdout, max_iterations, split
        self.draws = draws
        self.splits = (split, "train")

    def measure(self, subject: Subject) -> Result:
        test = split_features(subject, self.split, draws=self.draws)
        train = split_features(subject, "train")
        assert train.images.classes is not None
        num_classes = len(train.images.classes)
        features, labels = train.values[0].to(subject.device), train.labels.to(subject.device)
        penalty, chosen_by = self._choose(features, labels, num_classes, subject)
        probe = fit_probe(
            features, labels, num_classes=num_classes, penalty=penalty, max_iterations=self.max_iterations
        )
        predictions = torch.stack([probe(values.to(subject.device)).argmax(dim=1).cpu() for values in test.values])
        notes = [f"penalty {penalty:g} chosen on {self.holdout:g} of the training set (accuracy there {chosen_by:.4f})"]
        if subject.encoder.stochastic:
            notes.append("training features were drawn once, the scored split once a draw")
        return Result(
            metrics=accuracies(predictions, test.labels),
            options=self.options,
            data=described(test.images),
            initial=start_of(subject.encoder),
            per_image={"correct": share_right(predictions, test.labels)},
            verdicts=["correct"],
            notes=notes,
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return what its features cost on this device after timing a few passes; fits nothing."""
        return [
            (self.split, features_cost(subject, self.split, self.draws)),
            ("train", features_cost(subject, "train")),
        ]

    def _choose(
        self, features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"], num_classes: int, subject: Subject
    ) -> tuple[float, float]:
        """Return the penalty with the best held-out accuracy (the larger penalty wins a tie) and that accuracy."""
        kept, out = held_out(labels.cpu(), self.holdout, generator("cpu", subject.seed, "linear", "holdout"))
        if len(out) == 0 or len(kept) == 0:
            raise UserError(f"linear: holdout={self.holdout}: too few training images ({len(labels)}) to hold any out")
        kept, out = kept.to(labels.device), out.to(labels.device)
        best, best_accuracy, probe = self.penalties[0], -1.0, None
        for penalty in self.penalties:
            subject.report(f"linear probe: penalty {penalty:g}")
            probe = fit_probe(
                features[kept],
                labels[kept],
                num_classes=num_classes,
                penalty=penalty,
                max_iterations=self.max_iterations,
                start=probe,
            )
            accuracy = (probe(features[out]).argmax(dim=1) == labels[out]).double().mean().item()
            if accuracy > best_accuracy:
                best, best_accuracy = penalty, accuracy
        return best, best_accuracy
