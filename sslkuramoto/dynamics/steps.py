"""Iterate the steps of a layer; where memory is short, keep a few states and compute the others again.

Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sslkuramoto.errors import UserError


class Stepped(nn.Module):
    """A module that iterates a step.

    Attributes:
        checkpoint_steps: steps between two states that are kept for the backward pass, which computes the steps between
            them once more, with the same results; 0 keeps everything. With T steps, about sqrt(T) needs least memory.
    """

    checkpoint_steps: int = 0

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
            part = partial(_after, step, min(kept_every, num_steps - start))
            x = checkpoint(part, x, use_reentrant=False, preserve_rng_state=False)
        return x


def _after(step: Callable[[Tensor], Tensor], times: int, x: Tensor) -> Tensor:
    for _ in range(times):
        x = step(x)
    return x


def set_checkpoint_steps(module: nn.Module, steps: int) -> None:
    """Let all layers of ``module`` that iterate a step keep one state in ``steps``; 0 keeps all.

    Raises:
        UserError: nothing in it iterates a step.
    """
    stepped = [layer for layer in module.modules() if isinstance(layer, Stepped)]
    if steps and not stepped:
        raise UserError(f"engine.checkpoint_steps={steps}: this encoder has no steps")
    for layer in stepped:
        layer.checkpoint_steps = steps
