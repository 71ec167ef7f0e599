"""Learning rates as functions of progress: nothing to save, nothing to restore."""

import math
from abc import ABC, abstractmethod

from sslkuramoto.errors import UserError
from sslkuramoto.registry import Registry
from sslkuramoto.values import NotNegative, Share, checked


class Schedule(ABC):
    """A factor on the learning rate.

    Args:
        hold: names of submodules whose learning rate stays at its base value (SimSiam's and PhiNet's predictor).
        decay_norm_and_bias: False exempts biases and norms from weight decay (usual with LARS).

    Attributes:
        before_fall: options that state how many epochs come before the learning rate falls, with their values; empty
            for a schedule that has no such part.
    """

    def __init__(self, *, hold: tuple[str, ...] = (), decay_norm_and_bias: bool = True) -> None:
        self.hold = hold
        self.decay_norm_and_bias = decay_norm_and_bias
        self.before_fall: dict[str, float] = {}

    def check(self, epochs: int) -> None:
        """Check that the learning rate falls within a run.

        Raises:
            UserError: what comes before is as long as the run.
        """
        stated = " + ".join(f"schedule.{key}={value:g}" for key, value in self.before_fall.items() if value)
        if stated and sum(self.before_fall.values()) >= epochs:
            raise UserError(f"{stated}: must be below epochs={epochs}, or the learning rate never falls")

    @abstractmethod
    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor for ``step`` in [0, total)."""


class Constant(Schedule):
    """The base learning rate throughout."""

    def __init__(self, *, hold: tuple[str, ...] = (), decay_norm_and_bias: bool = True) -> None:
        super().__init__(hold=hold, decay_norm_and_bias=decay_norm_and_bias)

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return 1."""
        return 1.0


@checked
class WarmupCosine(Schedule):
    """A linear rise over the first epochs, a flat part, then half a cosine down to a last factor.

    Args:
        warmup_epochs: length of the rise, >= 0; step 0 has 1 / (steps of the rise).
        flat_epochs: length of the flat part at the base learning rate, >= 0; with the rise less than the run.
        final: factor that the last step approaches, in [0, 1].
    """

    def __init__(
        self,
        *,
        warmup_epochs: NotNegative = 10.0,
        flat_epochs: NotNegative = 0.0,
        final: Share = 0.0,
        hold: tuple[str, ...] = (),
        decay_norm_and_bias: bool = True,
    ) -> None:
        super().__init__(hold=hold, decay_norm_and_bias=decay_norm_and_bias)
        self.warmup_epochs = warmup_epochs
        self.flat_epochs = flat_epochs
        self.final = final
        self.before_fall = {"warmup_epochs": warmup_epochs, "flat_epochs": flat_epochs}

    def factor(self, step: int, total: int, steps_per_epoch: int) -> float:
        """Return the factor."""
        warmup = round(self.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        top = warmup + round(self.flat_epochs * steps_per_epoch)
        progress = max(step - top, 0) / max(total - top, 1)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: Registry[Schedule] = Registry("schedule", "sslkuramoto.schedules")
SCHEDULES.add("constant", Constant)
SCHEDULES.add("warmup_cosine", WarmupCosine)
