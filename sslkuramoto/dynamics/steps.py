"""Iterate the steps of a layer; where memory is short, keep a few states and compute the others again.

Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174).
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from sslkuramoto.dynamics.coupling import AnyCoupling, ConvCoupling, Couple
from sslkuramoto.errors import UserError


class Recomputing(nn.Module):
    """A module that can compute what lies between its states once more in the backward pass.

    Attributes:
        checkpoint_steps: steps between two states that are kept for the backward pass, which computes the steps between
            them once more, with the same results; 0 keeps everything. With T steps, about sqrt(T) needs least memory.
            If it is not 0, readouts are computed again, too, and convolutions are not done in the Fourier domain, whose
            spectra take memory, and which rounds differently.
    """

    checkpoint_steps: int = 0

    def prepared(self, coupling: AnyCoupling, x: Tensor) -> Couple:
        """Return the map that the steps iterate, ``coupling.prepared(x)`` or the direct convolution."""
        direct = self.checkpoint_steps and isinstance(coupling, ConvCoupling)
        return coupling if direct else coupling.prepared(x)

    def iterate(self, step: Callable[[Tensor], Tensor], x: Tensor, num_steps: int) -> Tensor:
        """Return the state after ``num_steps`` steps from ``x``.

        Args:
            step: from a state to the next one, without randomness.
            x: the first state.
            num_steps: T, >= 0.
        """
        kept_every = self.checkpoint_steps if torch.is_grad_enabled() else 0
        if not kept_every:
            return _after(step, num_steps, x)
        for start in range(0, num_steps, kept_every):
            x = self.computed(partial(_after, step, min(kept_every, num_steps - start)), x)
        return x

    def computed(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return ``function(x)``, which the backward pass computes again unless everything is kept.

        Args:
            function: without randomness. Its BatchNorm layers belong to this module; they count a batch once.
            x: its argument, which is kept.
        """
        if not (self.checkpoint_steps and torch.is_grad_enabled()):
            return function(x)
        checkpointed = partial(checkpoint, function, x, use_reentrant=False, preserve_rng_state=False)
        if torch.compiler.is_compiling():  # the compiler writes statistics once by itself
            found = checkpointed()
        else:
            found = checkpointed(context_fn=lambda: (nullcontext(), _StatisticsKept(self)))
        assert found is not None
        return found


class _StatisticsKept:
    """Undo what passes in this context change in the running statistics of BatchNorm; may be entered again."""

    def __init__(self, module: nn.Module) -> None:
        norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
        self.buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.before: list[Tensor] = []

    def __enter__(self) -> None:
        self.before = [buffer.clone() for buffer in self.buffers]

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for buffer, old in zip(self.buffers, self.before, strict=True):
                buffer.copy_(old)


def _after(step: Callable[[Tensor], Tensor], times: int, x: Tensor) -> Tensor:
    for _ in range(times):
        x = step(x)
    return x


def set_checkpoint_steps(module: nn.Module, steps: int) -> None:
    """Let all layers of ``module`` that iterate a step keep one state in ``steps``; 0 keeps all.

    Raises:
        UserError: nothing in it iterates a step.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Recomputing)]
    if steps and not layers:
        raise UserError(f"engine.checkpoint_steps={steps}: this encoder has no steps")
    for layer in layers:
        layer.checkpoint_steps = steps
