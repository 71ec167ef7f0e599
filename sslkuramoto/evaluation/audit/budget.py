"""The budget of an audit: numbers of images, steps, draws, restarts and queries."""

from dataclasses import dataclass, replace
from typing import Literal

from sslkuramoto.dynamics.surrogate import EVERY_SURROGATE, Surrogate
from sslkuramoto.errors import UserError

BudgetName = Literal["quick", "full"]

LEAST = {
    "restarts": (2, ", since they are compared with a single start"),
    "directions": (8, ": a correlation over fewer is mostly chance"),
    "queries": (100, ": a black-box attack with fewer finds nothing"),
}
"""Smallest counts with which the checks are meaningful."""


@dataclass(frozen=True)
class Budget:
    """The budget of an audit.

    Attributes:
        images: number of attacked images.
        steps: iterations of the white-box attacks, increasing. Checks that do not vary the steps use the largest.
        k: draws per gradient of a stochastic network, increasing. Checks that do not vary them use the second largest.
        eot_draws: draws per gradient of the usual EoT attack.
        restarts: compared with a single start, at least 2.
        queries: of each black-box search, per image, at least 100.
        votes: draws per query of a stochastic network.
        samples: random perturbations tried on each image.
        targets: target classes of the targeted attack.
        directions: random directions of the finite differences, per image, at least 8.
        surrogates: surrogate derivatives of Kuramoto and Winfree steps that are tried, where they are defined.
        fab: whether FAB is run on a deterministic network.
    """

    images: int
    steps: tuple[int, ...]
    k: tuple[int, ...]
    eot_draws: int
    restarts: int
    queries: int
    votes: int
    samples: int
    targets: int
    directions: int
    surrogates: tuple[Surrogate, ...]
    fab: bool

    @property
    def most_steps(self) -> int:
        """Iterations of checks that do not vary the steps."""
        return self.steps[-1]

    @property
    def usual_steps(self) -> int:
        """Iterations of checks for which a shorter ascent suffices."""
        return self.steps[-2]

    @property
    def usual_k(self) -> int:
        """Draws per gradient of checks that do not vary the draws."""
        return self.k[-2]

    def for_control(self) -> "Budget":
        """Return the small budget of the control at eps = 0, large enough that every stage of an attack runs.

        APGD halves its step size several times in 20 steps; HopSkipJump makes a round of probes within 200 queries.
        """
        return replace(
            self,
            steps=tuple(min(count, 20) for count in self.steps),
            k=tuple(min(count, 4) for count in self.k),
            queries=min(self.queries, 200),
            votes=min(self.votes, 2),
            samples=min(self.samples, 5),
            targets=min(self.targets, 3),
        )

    def changed(self, **values: int | list[int] | None) -> "Budget":
        """Return the budget with some values replaced; None keeps a value.

        Raises:
            UserError: a count that is too small, or a list that is not increasing or has fewer than two entries.
        """
        kept = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if value}
        for key, value in values.items():
            least, why = LEAST.get(key, (1, ""))
            if isinstance(value, int) and value < least:
                raise UserError(f"{key}={value}: must be at least {least}{why}")
            if isinstance(value, list) and (len(value) < 2 or value[0] < 1 or sorted(set(value)) != value):
                raise UserError(f"{key}={value}: needs at least two numbers >= 1, in increasing order")
        return replace(self, **kept)  # type: ignore[arg-type]


BUDGETS: dict[BudgetName, Budget] = {
    "quick": Budget(
        images=64,
        steps=(5, 10, 20, 40),
        k=(1, 4, 16, 64),
        eot_draws=16,
        restarts=2,
        queries=500,
        votes=4,
        samples=50,
        targets=3,
        directions=32,
        surrogates=("no_norm", "root_arctan", "half_gamma", "small_gamma", "open_rectifier", "free_phase"),
        fab=False,
    ),
    "full": Budget(
        images=1000,
        steps=(10, 20, 50, 100, 200),
        k=(1, 5, 20, 64, 256),
        eot_draws=20,
        restarts=5,
        queries=5000,
        votes=8,
        samples=500,
        targets=9,
        directions=128,
        surrogates=tuple(name for name in EVERY_SURROGATE if name != "autograd"),
        fab=True,
    ),
}
