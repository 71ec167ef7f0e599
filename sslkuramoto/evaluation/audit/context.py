"""The context that every check of an audit gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch
from torch import nn

from sslkuramoto.classifier import Classifier, Initial
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import Budget
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.runner import Bench, Run
from sslkuramoto.randomness import Key, generator
from sslkuramoto.threat import Threat

Side = Literal["from", "up to"]
"""Of a threshold: where a check passes."""
FIXED_VERSION = "the same weights with fixed oscillators"
"""Name of :meth:`Case.fixed_version` in labels and in the ledger."""


@dataclass
class Case:
    """The context that every check of an audit gets.

    Attributes:
        bench: runs attacks on the audited classifier and keeps what they found.
        arsenal: builds the attacks.
        budget: of the audit.
        grid: radii of the curve, increasing; an unbounded attack is added to them.
        sources: run directories of networks from which attacks are transferred.
        gradients: diagnostics of the gradient.
        curves: name -> curve for a report page, filled by checks.
        histograms: name -> histogram for a report page, filled by checks.
        scores: number of attacks that were run -> the scores of them all.
    """

    bench: Bench
    arsenal: Arsenal
    budget: Budget
    grid: tuple[float, ...]
    sources: tuple[str, ...]
    gradients: GradientFacts
    curves: dict[str, Any] = field(default_factory=dict)
    histograms: dict[str, Any] = field(default_factory=dict)
    scores: dict[int | str, Any] = field(default_factory=dict)

    @property
    def classifier(self) -> Classifier:
        """The audited classifier."""
        return self.bench.classifier

    @property
    def stochastic(self) -> bool:
        """Whether it draws oscillators or other noise."""
        return self.classifier.stochastic

    @property
    def threat(self) -> Threat:
        """The ball of the audit."""
        return self.bench.threat

    @property
    def n(self) -> int:
        """Attacked images."""
        return self.bench.n

    def with_budget(self, budget: Budget) -> "Case":
        """Return the case with another budget; attacks that were run, curves, histograms and scores are shared."""
        return replace(self, budget=budget, arsenal=replace(self.arsenal, budget=budget))

    def plain(self) -> list[Run]:
        """Run the plain attacks, which treat the network as deterministic."""
        attacks = [self.arsenal.plain("ce"), self.arsenal.plain("dlr")]
        return [self.bench.run(attack) for attack in attacks]

    def white_box(self) -> list[Run]:
        """Run all white-box attacks, the plain ones included."""
        attacks = [self.arsenal.targeted(), self.arsenal.reference(), *self.arsenal.fab()]
        if self.stochastic:
            attacks += [self.arsenal.reference(k=self.budget.k[-1], noise=noise) for noise in ("held", "fresh")]
        return [*self.plain(), *(self.bench.run(attack) for attack in attacks)]

    def with_head(self, head: nn.Module) -> Classifier:
        """Return the audited classifier with another head."""
        ours = self.classifier
        return Classifier(
            ours.encoder, head, cast(Initial, ours.mode), seed=ours.seed, draws=ours.draws, held=ours.held
        )

    def fixed_version(self) -> Classifier:
        """Return the same weights with one fixed initial state for all images and calls; K if logits are averaged."""
        ours = self.classifier
        if ours.mode == "averaged":
            return Classifier(ours.encoder, ours.head, "averaged", seed=ours.seed, draws=ours.draws, held=True)
        return Classifier(ours.encoder, ours.head, "fixed", seed=ours.seed)

    def draw(self, *use: Key) -> torch.Generator:
        """Return a generator for a purpose of the audit itself."""
        return generator(self.bench.images.device, self.bench.seed, "audit", *use)

    def start(self, images: torch.Tensor, *use: Key) -> torch.Tensor | None:
        """Return initial states of the audited classifier for these images; None for a deterministic encoder.

        They are its fixed field in mode "fixed", else one draw.
        """
        ours = self.classifier
        if not ours.encoder.stochastic:
            return None
        if ours.mode == "fixed":
            return ours.field(images).expand(len(images), -1, -1, -1)
        return ours.encoder.sample_initial(images, self.draw(*use))

    def add_curve(
        self,
        name: str,
        title: str,
        x_label: str,
        x: Sequence[float | int],
        series: Mapping[str, Sequence[float]],
        unit: str = "fraction",
        passes: tuple[Side, float] | None = None,
    ) -> None:
        """Keep a curve for the report: values over x, one list per series, and where the check passes, if anywhere."""
        rounded = {label: [round(value, 6) for value in values] for label, values in series.items()}
        self.curves[name] = {"title": title, "x_label": x_label, "x": list(x), "series": rounded, "unit": unit}
        self.curves[name] |= _threshold(passes)

    def add_histogram(
        self,
        name: str,
        title: str,
        x_label: str,
        edges: list[float],
        count: list[int],
        passes: tuple[Side, float] | None = None,
    ) -> None:
        """Keep a histogram for the report, and where the check passes, if it says so."""
        self.histograms[name] = {"title": title, "x_label": x_label, "edges": edges, "count": count}
        self.histograms[name] |= _threshold(passes)


def _threshold(passes: tuple[Side, float] | None) -> dict[str, Any]:
    return {} if passes is None else {"passes": passes[0], "threshold": round(passes[1], 6)}


def median(values: torch.Tensor) -> float:
    """Return the median (the mean of the two middle values of an even number)."""
    return torch.quantile(values.double(), 0.5).item()
