"""What an audit costs before it runs: its own questions, asked of a bench that counts in place of attacking."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil

from torch import Tensor, nn

from sslkuramoto.attacks import Attack, Passes
from sslkuramoto.threat import Threat


class Tally:
    """Passes of one image, at most: every image right when clean and standing to the end.

    Args:
        num_classes: of the data.

    Attributes:
        attacks: that were counted.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.attacks = 0
        self._passes, self._cut = Passes(0, 0), Passes(0, 0)
        self._batteries: set[tuple[str, Threat]] = set()

    def add(self, forward: int = 0, backward: int = 0) -> None:
        """Count passes without a gradient, and with one."""
        self._passes = Passes(self._passes.forward + forward, self._passes.backward + backward)

    def attack(self, attack: Attack, threat: Threat, against: str, *, stochastic: bool, draws: int) -> None:
        """Count an attack with all its restarts; draws of the attacked classifier judge the candidates of each.

        Args:
            attack: prepared.
            threat: with eps = 0 an attack takes its passes too.
            against: name of the attacked classifier; the ledger keeps what its draws say of the clean images.
            stochastic: whether that draws.
            draws: that judge.
        """
        own = attack.passes(self.num_classes, stochastic)
        clean = 0 if (against, threat) in self._batteries else draws
        self._batteries.add((against, threat))
        asked = 1 if stochastic else 3  # whether it returns logits, and the same ones twice
        self.add(asked + clean + attack.restarts * (own.forward + draws), attack.restarts * own.backward)
        self.attacks += 1

    def since(self) -> Passes:
        """Return what was counted since the last call."""
        new = Passes(self._passes.forward - self._cut.forward, self._passes.backward - self._cut.backward)
        self._cut = self._passes
        return new

    @contextmanager
    def watching(self, *encoders: nn.Module, images: int) -> Iterator[None]:
        """Count what is asked of encoders, and copies made inside, shared among the images, as if with a gradient."""
        rows = 0

        def seen(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            nonlocal rows
            rows += len(arguments[0])

        hooks = [encoder.register_forward_pre_hook(seen) for encoder in encoders]  # a copy has them too
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self.add(backward=ceil(rows / images))
