"""Networks whose robustness is known: a plain CNN that has none, and others that were trained to have some."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hand_made_cases import build as build
from torch import nn
from torch.nn import functional as F

from sslkuramoto.encoders import ENCODERS, Encoder, Features
from sslkuramoto.evaluation import Result, Subject, subject_of
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.evaluation.audit.fake_defences import NoisyEncoder
from sslkuramoto.recipe import recipe_from
from sslkuramoto.training import train

Network = tuple[Encoder, nn.Module]
ADVERSARIAL = {"name": "adversarial", "eps": 0.2, "steps": 3}
KINDS = {
    "classification": {"objective": {"name": "classification"}, "epochs": 8},
    "adversarial": {"objective": ADVERSARIAL, "epochs": 15},
    "trades": {"objective": {**ADVERSARIAL, "loss": "trades"}, "epochs": 15},
}
LR = {"classification": 5e-3, "adversarial": 2e-3, "trades": 2e-3}
"""At 5e-3 adversarial training collapses to a constant answer with most seeds, at 2e-3 with none of 0 to 3."""


class ThreeConvolutions(Encoder):
    """A CNN for 8 x 8 pixels; deterministic."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 32
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        grid = F.relu(self.third(F.relu(self.second(F.relu(self.first(2 * images - 1))))))
        return Features(grid.amax(dim=(2, 3)), grid)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Subject]:
    """Train the CNN on digits, plainly or against an adversary, by the engine that trains everything; once each."""
    done: dict[tuple[str, int], Subject] = {}

    def build(kind: str, seed: int = 0) -> Subject:
        if (kind, seed) not in done:
            recipe = recipe_from(
                {
                    **KINDS[kind],
                    "seed": seed,
                    "data": {"name": "digits", "size": 8},
                    "views": {"name": "plain"},
                    "encoder": {"name": "three_convolutions"},
                    "optimizer": {"name": "adam", "lr": LR[kind]},
                    "batch_size": 64,
                    "measure": {"monitor_every": 0, "checkpoint_every": 100},
                    "engine": {"device": "cpu"},
                }
            )
            path = tmp_path_factory.mktemp(kind) / "run"
            with pytest.MonkeyPatch.context() as patch:
                patch.setitem(ENCODERS._members, "three_convolutions", ThreeConvolutions)
                done[kind, seed] = subject_of(train(recipe, path).path)
        return done[kind, seed]

    return build


@pytest.fixture(scope="session")
def audited(trained: Callable[..., Subject]) -> Callable[..., Result]:
    """Audit a trained CNN, with Gaussian noise of ``noise`` added to its pixels; options are those of the protocol."""

    def audit(kind: str, *, seed: int = 0, noise: float = 0.0, **options) -> Result:
        subject = trained(kind, seed)
        if noise:
            folder = subject.run_dir / "noisy"
            subject = replace(subject, encoder=NoisyEncoder(subject.encoder, noise).eval(), run_dir=folder)
        fewer = {"images": 64, "steps": [5, 10, 20], "k": [1, 4, 16], "directions": 16}
        return Audit(**{**fewer, **options})(subject)

    return audit
