"""Where the states of an encoder start: drawn anew, one fixed draw, the stimulus, or a trained field.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 4. Shapes: b batch, c channels, h w grid.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import random_oscillators
from sslkuramoto.encoders.features import Encoder, Sides
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator, without_memory

Initial = Literal["random", "fixed", "stimulus", "learned"]


class Start(nn.Module):
    """The initial oscillators of one encoder.

    Args:
        initial: ``"random"`` (a new draw at each call, which the encoder makes and gives), ``"fixed"`` (one draw from
            ``seed`` for all examples and calls), ``"stimulus"`` (the stimulus) or ``"learned"`` (a trained field, which
            begins as the draw of ``"fixed"``).
        channels: c.
        seed: seed of the draw of ``"fixed"`` and ``"learned"``.
        grid: h and w, required by ``"learned"``.
    """

    def __init__(self, initial: Initial, channels: int, seed: int, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.initial, self.channels, self.seed = initial, channels, seed
        self.field: nn.Parameter | None = None
        if initial == "learned":
            assert grid is not None
            self.field = nn.Parameter(torch.empty(channels, *grid) if without_memory() else self.fixed(grid)[0])

    def fixed(self, grid: Sequence[int]) -> Float[Tensor, "1 c h w"]:
        """Return the one draw from the seed for a grid."""
        return random_oscillators((1, self.channels, *grid), generator("cpu", self.seed, "initial oscillators"))

    def forward(
        self,
        stimulus: Float[Tensor, "b c h w"],
        given: Tensor | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "b c h w"]:
        """Return the initial oscillators, of any length.

        Args:
            stimulus: c, whose shape and device they get.
            given: the caller's own field or the new draw, one per example or one for all; None for ``initial``.
            dtype: of the weights; autocast may give the stimulus another one.

        Raises:
            UserError: ``given`` has another shape, ``"random"`` was given nothing, or the trained field is for another
                grid.
        """
        b, _, h, w = stimulus.shape
        if given is not None:
            if given.shape[1:] != stimulus.shape[1:] or given.shape[0] not in (1, b):
                raise UserError(f"initial of shape {tuple(given.shape)}: these inputs need {tuple(stimulus.shape)}")
            return given.to(dtype).expand(stimulus.shape)
        if self.initial == "random":
            raise UserError("a stochastic encoder needs draw= (a torch.Generator) or initial= (its initial states)")
        if self.initial == "stimulus":
            return stimulus
        if self.field is None:
            return self.fixed((h, w)).to(stimulus.device, dtype).expand(stimulus.shape)
        if self.field.shape != stimulus.shape[1:]:
            raise UserError(
                f"a grid of {h} x {w} sites: the learned initial oscillators are for "
                f"{self.field.shape[1]} x {self.field.shape[2]}"
            )
        return self.field.expand(stimulus.shape)


class StartedEncoder(Encoder):
    """Base class of encoders whose states begin where their :class:`Start` says.

    Attributes:
        start: for the width of the first layer, on the grid that ``multiple_of`` makes of the sides of an example.
    """

    sides = Sides()
    draws_share_passes = True
    start: Start

    def sample_initial(self, images: Shaped[Tensor, "b ..."], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw standard normal numbers, one field per example, on the generator's device."""
        return random_oscillators((len(images), self.start.channels, *self._grid(images)), draw)

    def fixed_initial(self, images: Shaped[Tensor, "b ..."]) -> Float[Tensor, "1 c h w"] | None:
        """Return the field of ``initial="fixed"``, and None for every other ``initial``."""
        return self.start.fixed(self._grid(images)).to(images.device) if self.start.initial == "fixed" else None

    def started(
        self,
        stimulus: Float[Tensor, "b c h w"],
        images: Shaped[Tensor, "b ..."],
        given: Tensor | None,
        draw: torch.Generator | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "b c h w"]:
        """Return the states from which one call starts.

        Args:
            stimulus: c, whose shape and device they get.
            images: the examples of the call.
            given: the caller's own field; None for ``initial``.
            draw: generator from which a stochastic encoder draws where nothing is given.
            dtype: of the weights.

        Raises:
            UserError: as :meth:`Start.forward`.
        """
        if given is None and self.stochastic and draw is not None:
            given = self.sample_initial(images, draw).to(stimulus.device)
        return self.start(stimulus, given, dtype)

    def _grid(self, images: Shaped[Tensor, "b ..."]) -> tuple[int, int]:
        return images.shape[-2] // self.multiple_of, images.shape[-1] // self.multiple_of
