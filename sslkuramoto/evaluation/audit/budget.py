"""How much an audit spends."""

from dataclasses import dataclass, replace
from typing import Literal

from sslkuramoto.dynamics.surrogate import SURROGATES, Surrogate
from sslkuramoto.errors import UserError

BudgetName = Literal["quick", "full"]

LEAST = {
    "restarts": (2, ", since they are compared with a single start"),
    "directions": (8, ": a correlation over fewer is chance"),
    "queries": (100, ": a black box with fewer finds nothing, whatever it is compared with"),
}
"""Counts below which a question would be answered by its own budget."""


@dataclass(frozen=True)
class Budget:
    """How much an audit spends.

    Attributes:
        images: attacked.
        steps: iterations of the white-box attacks, rising; the largest is what every attack gets where steps are not
            the question.
        k: draws behind a gradient of a stochastic network, rising; the last but one is what attacks get where draws
            are not the question.
        eot_draws: behind a gradient of the EoT that a stochastic network's figure is usually made with.
        restarts: compared with a single start, at least 2.
        queries: of each black box that searches, for each image, at least 100.
        votes: draws behind one query of a stochastic network.
        samples: random perturbations tried on each image.
        targets: wrong classes of the targeted attack.
        directions: random directions of the finite differences, for each image, at least 8.
        surrogates: derivatives of the Kuramoto step that are tried in place of its own.
        fab: whether a deterministic network meets FAB.
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
        """Iterations where steps are not the question."""
        return self.steps[-1]

    @property
    def usual_steps(self) -> int:
        """Iterations where a shorter ascent answers the question."""
        return self.steps[-2]

    @property
    def usual_k(self) -> int:
        """Draws a gradient where draws are not the question."""
        return self.k[-2]

    def for_control(self) -> "Budget":
        """Return what attacks may spend that may not move: every part of them has its turn, and none more than a few.

        APGD halves its steps several times in 20, HopSkipJump comes to a round of probes within 200 queries.
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
        """Return the budget with values replaced; None keeps one.

        Raises:
            UserError: a count below its least, or a ladder that does not rise or has a single rung.
        """
        kept = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if value}
        for key, value in values.items():
            least, why = LEAST.get(key, (1, ""))
            if isinstance(value, int) and value < least:
                raise UserError(f"{key}={value}: must be at least {least}{why}")
            if isinstance(value, list) and (len(value) < 2 or value[0] < 1 or sorted(set(value)) != value):
                raise UserError(f"{key}={value}: needs at least two numbers >= 1, rising")
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
        surrogates=("no_norm", "root_arctan", "half_gamma", "small_gamma"),
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
        surrogates=tuple(name for name in SURROGATES if name != "autograd"),
        fab=True,
    ),
}
