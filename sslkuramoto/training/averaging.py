"""Averaged weights: the model that AKOrN evaluates and reports (Miyato et al. 2025, arXiv 2410.13821).

The rule of ema_pytorch, which the published code uses: after ``update_after`` steps, every ``update_every``-th step
moves the average by decay min(decay, 1 - (1 + s)**(-2/3)), with s the steps made since then; before that it copies the
weights. Float buffers (BatchNorm statistics) are averaged too, integer ones copied.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from sslkuramoto.recipe import WeightEMA

M = TypeVar("M", bound=nn.Module)


def decay_at(step: int, rule: WeightEMA) -> float:
    """Return the decay of the update made as the ``step``-th step (from 1) ends; 0 copies the weights."""
    since = step - rule.update_after - 1
    if since <= 0:
        return 0.0
    return min(rule.decay, 1 - (1 + since) ** (-2 / 3))


def left_behind(rule: WeightEMA, total: int) -> str | None:
    """Return a note where a run of ``total`` steps exports weights without the last tenth of its steps, or None.

    Until ``update_after`` the average is a copy, made every ``update_every``-th step: of ten steps, after the first.
    """
    last = total - (total - 1) % rule.update_every
    if decay_at(last, rule) or 10 * last >= 9 * total:
        return None
    return (
        f"weight_ema (update_every={rule.update_every}): the averaged weights that this run exports are those after "
        f"step {last} of {total}; train longer, or set weight_ema=null"
    )


class WeightAverage(Generic[M]):
    """The averaged copy of a module, in eval mode: measuring it moves no statistics.

    Args:
        module: what is averaged; never changed.
        rule: when and by how much.
    """

    def __init__(self, module: M, rule: WeightEMA) -> None:
        self.rule = rule
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: M, step: int) -> None:
        """Follow ``module`` after its ``step``-th optimiser step (from 1)."""
        if (step - 1) % self.rule.update_every:
            return
        decay = decay_at(step, self.rule)
        average, current = self.module.state_dict(keep_vars=True), module.state_dict(keep_vars=True)
        for name, value in average.items():
            if decay == 0 or not value.is_floating_point():
                value.copy_(current[name])
            else:
                value.lerp_(current[name].to(value.dtype), 1 - decay)
