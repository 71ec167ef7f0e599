"""A slowly moving copy of encoder and projector: BYOL's target network, X-PhiNet's long-term encoder.

Source: BYOL (Grill et al. 2020, 2006.07733) equation 1 and section 3.2; PhiNet (Ishikawa et al. 2025, 2405.14650).
Shapes: b batch, y x pixels, d features.
"""

from copy import deepcopy
from math import cos, pi
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sslkuramoto.objectives.objective import encode
from sslkuramoto.objectives.ranges import within

Schedule = Literal["constant", "cosine"]


class Target(nn.Module):
    """Deep copy of an encoder and a projector whose parameters follow the online ones and receive no gradient.

    It trains and evaluates with the objective, whatever the mode of the online encoder: in train mode BatchNorm uses
    the statistics of the batch it sees, and keeps its own running ones. Only parameters are averaged; buffers are the
    target's own.

    Args:
        encoder: the online encoder.
        projector: the online projector.
        momentum: share of the old value kept by an update, in [0, 1].
        schedule: keep ``momentum``, or let it rise to 1 over the run on half a cosine.

    Attributes:
        momentum: what the latest update used (before the first: the given value). A buffer: it survives a resume.
    """

    momentum: Tensor

    def __init__(
        self, encoder: nn.Module, projector: nn.Module, *, momentum: float, schedule: Schedule = "constant"
    ) -> None:
        within("momentum", momentum, 0, 1)
        super().__init__()
        self.encoder = deepcopy(encoder)
        self.projector = deepcopy(projector)
        self.requires_grad_(False)
        self.train()
        self.base = momentum
        self.schedule = schedule
        self.register_buffer("momentum", torch.tensor(momentum))

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator | None = None) -> Float[Tensor, "b d"]:
        """Return the projections of ``images`` from oscillators of its own draw, without gradient."""
        return self.projector(encode(self.encoder, images, draw))

    def momentum_at(self, progress: float) -> float:
        """Return the momentum at ``progress`` in [0, 1]: 1 - (1 - base) (cos(pi progress) + 1) / 2 when scheduled."""
        return self.base if self.schedule == "constant" else 1 - (1 - self.base) * (cos(pi * progress) + 1) / 2

    def update(self, encoder: nn.Module, projector: nn.Module, progress: float) -> None:
        """Set each parameter to momentum * itself + (1 - momentum) * the online one.

        Differs: BYOL's schedule counts from step 0, ours the step just made: the last update keeps the target as it is.
        """
        momentum = self.momentum_at(progress)
        own: list[Tensor] = [*self.encoder.parameters(), *self.projector.parameters()]
        online: list[Tensor] = [*encoder.parameters(), *projector.parameters()]
        assert len(own) == len(online), "the online network has changed its shape"
        get_ema_multi_avg_fn(momentum)(own, online, None)
        self.momentum.fill_(momentum)
