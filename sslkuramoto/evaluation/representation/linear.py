"""Linear probe: multinomial logistic regression on frozen, standardised features.

The penalty is chosen on a held-out part of the training set, never on the test set; the probe is then fitted again on
the whole training set. The problem is convex, so it is solved (L-BFGS) rather than trained: no learning rate, no
epochs, the same answer every time. Problems of a thousand classes are solved to less precision (``fit_large_probe``).

Shapes: n images, d features, q classes.
"""

from collections.abc import Callable
from functools import partial
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
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.noise_draws import accuracies, share_right
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Result
from sslkuramoto.values import Positive, Repeats, checked, small

LARGE = 10**9
"""Images x features x classes from which a problem is solved by :func:`fit_large_probe`; 50,000 images of CIFAR-10 with
512 features are a quarter of it."""
LARGE_ITERATIONS = 40
CHUNK = 8192
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


def fit_large_probe(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    *,
    num_classes: int,
    penalty: float,
    max_iterations: int = 500,
    start: Probe | None = None,
    report: Callable[[str], None] | None = None,
) -> Probe:
    """Return nearly the same minimum as :func:`fit_probe`, for problems of :data:`LARGE` products and more.

    In float32, with the images in chunks, and with the weights in coordinates in which the problem is well conditioned:
    the Hessian is near covariance / q + penalty, whose inverse root is known. So at most :data:`LARGE_ITERATIONS`
    iterations are made, where ``fit_probe`` needs hundreds. Arguments as there; ``report`` receives lines of progress.
    """
    mean, scale = features.double().mean(dim=0).float(), features.double().std(dim=0, correction=0).float()
    scale = torch.where(scale > 1e-6, scale, torch.ones_like(scale))
    inputs = (features - mean) / scale
    n, root_q = len(inputs), num_classes**0.5
    values, vectors = torch.linalg.eigh((inputs.T @ inputs / n).double())
    root = (values.clamp_min(0) / num_classes + penalty).rsqrt().float()
    basis = vectors.float() * root  # weight = turned @ basis.T, bias = shift * sqrt(q)
    inputs = inputs @ basis
    if start is None:
        turned, shift = inputs.new_zeros(num_classes, inputs.shape[1]), inputs.new_zeros(num_classes)
    else:
        turned, shift = start.weight.float() @ vectors.float() / root, start.bias.float() / root_q
    parameters = [turned.requires_grad_(), shift.requires_grad_()]
    most = min(max_iterations, LARGE_ITERATIONS)
    solver = torch.optim.LBFGS(
        parameters, max_iter=most, tolerance_grad=1e-6, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )
    progress = Progress(report or (lambda line: None), f"linear probe: penalty {penalty:g}", most * 5 // 4, "passes")
    passes = 0

    def loss() -> Tensor:
        nonlocal passes
        solver.zero_grad()
        total = 0.5 * penalty * (turned * root).square().sum()
        total.backward()
        total = total.detach()
        for some, targets in zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True):
            part = F.cross_entropy(some @ turned.T + shift * root_q, targets, reduction="sum") / n
            part.backward()
            total = total + part.detach()
        passes += 1
        progress.done(passes, f", loss {float(total):.4f}")
        return total

    with torch.enable_grad():
        solver.step(loss)
    weight = turned.detach() @ basis.T
    return Probe(weight.double(), shift.detach().double() * root_q, mean.double(), scale.double())


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
        max_iterations: of L-BFGS per fit (a large problem takes at most 40).
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
        max_iterations: Repeats = 500,
        split: Literal["test", "val"] = "test",
        draws: Repeats = 20,
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
        large = features.numel() * num_classes >= LARGE
        fit: Callable[..., Probe] = partial(fit_large_probe, report=subject.report) if large else fit_probe
        fit = partial(fit, num_classes=num_classes, max_iterations=self.max_iterations)
        penalty, chosen_by = self._choose(features, labels, fit, large, subject)
        subject.report(f"linear probe: penalty {penalty:g} on all training images")
        probe = fit(features, labels, penalty=penalty)
        predictions = torch.stack([probe(values.to(subject.device)).argmax(dim=1).cpu() for values in test.values])
        notes = [f"penalty {penalty:g} chosen on {self.holdout:g} of the training set (accuracy there {chosen_by:.4f})"]
        if large:
            notes.append(f"a large problem: at most {LARGE_ITERATIONS} iterations of L-BFGS a fit, in float32")
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
        self,
        features: Float[Tensor, "n d"],
        labels: Int64[Tensor, " n"],
        fit: Callable[..., Probe],
        large: bool,
        subject: Subject,
    ) -> tuple[float, float]:
        """Return the penalty with the best held-out accuracy (the larger penalty wins a tie) and that accuracy.

        Penalties are tried from the largest down; for a large problem the search ends after two that do no better.
        """
        kept, out = held_out(labels.cpu(), self.holdout, generator("cpu", subject.seed, "linear", "holdout"))
        if len(out) == 0 or len(kept) == 0:
            raise UserError(f"linear: holdout={self.holdout}: too few training images ({len(labels)}) to hold any out")
        kept, out = kept.to(labels.device), out.to(labels.device)
        best, best_accuracy, probe, worse = self.penalties[0], -1.0, None, 0
        for penalty in self.penalties:
            subject.report(f"linear probe: penalty {penalty:g}")
            probe = fit(features[kept], labels[kept], penalty=penalty, start=probe)
            accuracy = (probe(features[out]).argmax(dim=1) == labels[out]).double().mean().item()
            if accuracy > best_accuracy:
                best, best_accuracy, worse = penalty, accuracy, 0
            else:
                worse += 1
            if large and worse == 2:
                break
        return best, best_accuracy
