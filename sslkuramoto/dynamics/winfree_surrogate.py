"""The Winfree step with surrogate derivatives: the forward pass is unchanged bit for bit, the backward pass replaced.

What may cut or shrink a gradient in a Winfree layer is the rectifier of the field, ReLU, and the derivative of a step
with respect to its own phase, 1 + gamma S'(theta) f, which is below 1 for a phase that locks. The wrap has the
derivative 1. docs/methods/winfree.md derives this.

Shapes: b batch, c channels, h w grid.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from sslkuramoto.dynamics.winfree import winfree_step
from sslkuramoto.dynamics.winfree_layer import WinfreeLayer

SLOPES = {"leaky_rectifier": 0.1, "open_rectifier": 1.0}
"""The derivative of the rectifier where the field is cut, by surrogate."""
FREE_PHASE = "free_phase"


class _Rectified(torch.autograd.Function):
    """ReLU whose derivative below zero is a slope instead of zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,), (g,) = ctx.saved_tensors, grads
        return torch.where(x > 0, g, ctx.slope * g), None


class OpenRectifier(nn.Module):
    """ReLU with another derivative where it is zero.

    Args:
        slope: that derivative.
    """

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return ReLU(x)."""
        return _Rectified.apply(x, self.slope)


def free_step(theta: Float[Tensor, "b c h w"], field: Float[Tensor, "b c h w"], **options: Any) -> Tensor:
    """Return :func:`~sslkuramoto.dynamics.winfree.winfree_step`, whose derivative with respect to theta is 1 here.

    The derivatives with respect to the field and the frequencies are its own.
    """
    sensitivity = options.pop("sensitivity")
    return winfree_step(theta, field, sensitivity=lambda phase: sensitivity(phase.detach()), **options)


def winfree_layers(encoder: nn.Module) -> list[WinfreeLayer]:
    """Return all Winfree layers of an encoder, in the order of its modules."""
    return [part for part in encoder.modules() if isinstance(part, WinfreeLayer)]
