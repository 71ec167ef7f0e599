"""Cases of an audit whose figures are made by hand: nothing is attacked or trained. Shapes: n images."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders import AKOrN, Encoder, Features
from sslkuramoto.evaluation import Subject
from sslkuramoto.evaluation.audit.attacks import Arsenal
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.audit.context import Case
from sslkuramoto.evaluation.audit.gradients import GradientFacts
from sslkuramoto.evaluation.audit.runner import ITSELF, Bench, Run, copy_of, union
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import Threat

N = 64
EPS, GRID = 0.1, (0.05, 0.1, 0.2)
ALL, NONE = torch.ones(N), torch.zeros(N)


def broken(count: int, share: float = 0.0) -> Tensor:
    """The first ``count`` images are broken, the others stand; attacks that break fewer break some of the same."""
    return torch.cat([torch.full((count,), share), torch.ones(N - count)])


def last_broken(count: int) -> Tensor:
    """The last ``count`` images are broken."""
    return broken(count).flip(0)


class Pixels(Encoder):
    """Pixels as features."""

    num_features = 192

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        return Features(self.scale * images.flatten(1), images)


class NoisyPixels(Pixels):
    """The same with a start that is added."""

    stochastic = True

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        if initial is None:
            assert draw is not None
            initial = self.sample_initial(images, draw)
        return super().forward(images + initial)

    def sample_initial(self, images, draw) -> Tensor:
        return torch.randn(images.shape, generator=draw)


def oscillators(**options) -> AKOrN:
    with borrowed_global(generator("cpu", "each check")):
        return AKOrN(channels=8, kernel_sizes=(3,), num_steps=1, **options).eval()


class Hand(Bench):
    """A bench that is told what every attack leaves: label -> share right, of ``found`` or else ``otherwise``.

    A label may carry "@ eps" for one radius; ``there`` is what is left of another classifier that was attacked.
    """

    def __init__(self, classifier: Classifier, found: dict[str, Tensor], otherwise: Tensor, **more: Any) -> None:
        draw = generator("cpu", "images of each check")
        self.classifier, self.unseen = classifier, copy_of(classifier)
        self.images, self.labels = torch.rand(N, 3, 8, 8, generator=draw), torch.zeros(N, dtype=torch.long)
        self.threat, self.seed, self.chunk, self.draws = Threat("linf", EPS), 0, N, 20
        self.runs = {}
        self.found, self.otherwise, self.more = found, otherwise, more
        self.clean = more.get("clean", ALL)

    def run(self, attack, *, threat=None, against=None, name=ITSELF, rescaled=False) -> Run:
        threat = threat or self.threat
        label = attack.label if name == ITSELF else f"{attack.label} on {name}"
        right = self.found.get(f"{label} @ {threat.eps:g}", self.found.get(label, self.otherwise))
        there = self.more.get("there", {}).get(label, right)
        self.runs[label, name, threat] = Run(label, right, there, self.images)
        return self.runs[label, name, threat]

    def share_right(self, candidates) -> Tensor:
        return self.more.get("shaken", self.clean)

    def looked(self, runs) -> Tensor:
        return self.more.get("looked", union)(runs)

    def differences_of_two_calls(self) -> Tensor:
        return self.more.get("differences", NONE)

    def predictions(self, candidates, key, *, draws=None) -> Tensor:
        return self.more["predictions"]


Build = Callable[..., Case]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build a case: attacks leave what is said, and ``otherwise`` where nothing is."""

    def case(
        found: dict[str, Tensor] | None = None,
        *,
        otherwise: Tensor = ALL,
        encoder: Encoder | None = None,
        mode: Any = "random",
        size: Any = "quick",
        facts: GradientFacts | None = None,
        budget: dict | None = None,
        **more: Any,
    ) -> Case:
        encoder = (encoder or Pixels()).eval()
        with borrowed_global(generator("cpu", "head")):
            head = nn.Linear(encoder.num_features, 10)
        classifier = Classifier(encoder, head, mode)
        subject = Subject(
            encoder=encoder,
            head=head,
            data=lambda split: None,  # type: ignore[arg-type, return-value]
            run_dir=tmp_path / "run",
            encoder_hash="0" * 64,
            batch_size=N,
            device=torch.device("cpu"),
        )
        own = replace(BUDGETS[size], **(budget or {}))
        bench = Hand(classifier, found or {}, otherwise, **more)
        return Case(bench, Arsenal(subject, own, classifier.stochastic, 10), own, GRID, (), facts or GradientFacts())

    return case
