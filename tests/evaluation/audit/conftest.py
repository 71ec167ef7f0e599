"""Networks whose robustness is known: a plain CNN that has none, and one that was trained to have some."""

from collections.abc import Callable

import pytest
from torch import nn
from torch.nn import functional as F

from sslkuramoto.encoders import ENCODERS, Encoder, Features
from sslkuramoto.evaluation import Result, Subject, subject_of
from sslkuramoto.evaluation.audit import Audit
from sslkuramoto.recipe import recipe_from
from sslkuramoto.training import train

Network = tuple[Encoder, nn.Module]
ADVERSARIAL = {"name": "adversarial", "eps": 0.2, "steps": 3}


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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """Train the CNN on digits, plainly or against an adversary, by the engine that trains everything; once each."""
    done: dict[str, Subject] = {}

    def build(objective: str) -> Subject:
        if objective not in done:
            recipe = recipe_from(
                {
                    "data": {"name": "digits", "size": 8},
                    "views": {"name": "plain"},
                    "encoder": {"name": "three_convolutions"},
                    "objective": ADVERSARIAL if objective == "adversarial" else {"name": objective},
                    "optimizer": {"name": "adam", "lr": 5e-3},
                    "epochs": 12 if objective == "adversarial" else 8,
                    "batch_size": 64,
                    "measure": {"monitor_every": 0, "checkpoint_every": 100},
                    "engine": {"device": "cpu"},
                }
            )
            path = tmp_path_factory.mktemp(objective) / "run"
            done[objective] = subject_of(train(recipe, path).path)
        return done[objective]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENCODERS._members, "three_convolutions", ThreeConvolutions)
        for objective in ("classification", "adversarial"):
            build(objective)
    return build


@pytest.fixture(scope="session")
def audited(trained: Callable[[str], Subject]) -> Callable[..., Result]:
    """Audit a trained CNN; options are those of the protocol."""

    def audit(objective: str, **options) -> Result:
        return Audit(**{"images": 64, "steps": [5, 10, 20], "k": [1, 4, 16], "directions": 16, **options})(
            trained(objective)
        )

    return audit
