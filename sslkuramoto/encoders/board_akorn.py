"""AKOrN for boards: an embedding of each cell, one Kuramoto layer, a readout. Blank cells start at noise.

Miyato et al. 2025, "Artificial Kuramoto Oscillatory Neurons" (AKOrN, arXiv 2410.13821), section 5.2; the Sudoku network
of its published code. Shapes: b batch, c channels, n oscillator dimension, y x cells, t steps.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.sphere import random_oscillators
from sslkuramoto.encoders.akorn import Coupling, check_steps
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.encoders.readout import Readout
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.randomness import generator
from sslkuramoto.values import Count, NotNegative, Positive, checked, small


@small(side=4, symbols=4, channels=8, oscillator_dim=2, num_steps=2, attention_heads=2)
@checked
class BoardAKOrN(Encoder):
    """Oscillators that settle on what the blank cells of a board hold; givens are the stimulus.

    The stimulus c of a cell is the embedding of its symbol plus a learned vector of its place. x(0) is c in given cells
    and noise in blank ones: ``x = mask * c + (1 - mask) * noise``.

    Args:
        side: cells of a side.
        symbols: number of symbols, numbered from 1; 0 is blank.
        channels: width, divisible by ``oscillator_dim``.
        oscillator_dim: n, length of an oscillator; even.
        num_steps: Kuramoto steps T. May be larger at test time with the same weights.
        coupling: ``"attention"`` or ``"conv"`` (a kernel that reaches from every cell to every other).
        attention_heads: heads of the attention.
        frequency_init: omega at the start, radians per unit step, >= 0; one for the layer, trained.
        step_size: gamma > 0 at the start, trained.
        initial: where the noise comes from: ``"random"`` (drawn at each call) or ``"fixed"`` (one field drawn from
            ``initial_seed``, the same for all boards and calls).
        initial_seed: seed of the fixed field.

    Raises:
        UserError: a value out of range or values that do not fit together.

    Differs: the published network has learned rotations inside its attention (GTA) in place of the vectors of places.
    """

    reads: ClassVar[Reads] = (Boards,)
    oscillator_dim: int

    def __init__(
        self,
        *,
        side: Count,
        symbols: Count,
        channels: Count = 64,
        oscillator_dim: Count = 4,
        num_steps: Count = 8,
        coupling: Coupling = "attention",
        attention_heads: Count = 8,
        frequency_init: NotNegative = 0.5,
        step_size: Positive = 1.0,
        initial: Literal["random", "fixed"] = "random",
        initial_seed: int = 0,
    ) -> None:
        super().__init__()
        (self.num_steps,) = check_steps(num_steps, 1)
        self.built_for = Boards(side, symbols)
        self.channels = self.num_features = channels
        self.oscillator_dim = oscillator_dim
        self.initial, self.initial_seed = initial, initial_seed
        self.stochastic = initial == "random"
        self.embedding = nn.Embedding(symbols + 1, channels)
        self.place = nn.Parameter(torch.randn(channels, side, side))
        self.layer = KuramotoLayer(
            AttentionCoupling(channels, attention_heads)
            if coupling == "attention"
            else ConvCoupling(channels, 2 * side - 1),
            channels=channels,
            oscillator_dim=oscillator_dim,
            frequencies=NaturalFrequencies(None, frequency_init, learn=True),
            norm="none",
            project=True,
        )
        self.step_size = nn.Parameter(torch.tensor(float(step_size)))
        self.readout = Readout(
            channels, channels, dim=oscillator_dim, kernel_size=1, take_norm=True, g="residual", g_norm="none"
        )

    def forward(
        self,
        images: Int64[Tensor, "b y x"],
        *,
        initial: Float[Tensor, "i c y x"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Encode boards; see :meth:`Encoder.forward`.

        Args:
            images: symbols from 1, 0 where a cell is blank.
            initial: the noise from which blank cells start, one field for each board or one for all.

        Returns:
            Features with d = ``channels``, the map "b d y x".

        Raises:
            UserError: boards of another side or with other symbols; no ``initial`` and no ``draw`` where the encoder is
                stochastic.
        """
        wanted = self.built_for
        assert isinstance(wanted, Boards)
        if images.shape[1:] != (wanted.side, wanted.side) or images.min() < 0 or images.max() > wanted.symbols:
            raise UserError(f"boards of shape {tuple(images.shape[1:])}: this encoder is built for {wanted}")
        c = self.embedding(images).permute(0, 3, 1, 2) + self.place
        given = (images > 0).unsqueeze(1).to(c.dtype)
        noise = self._noise(images, initial, draw).to(c)
        x = given * c + (1 - given) * noise
        x, layer_trace = self.layer(x, c, step_size=self.step_size, num_steps=self.num_steps, trace=trace)
        grid = self.readout(x)
        return Features(grid.mean(dim=(2, 3)), grid, None if layer_trace is None else (layer_trace,))

    def sample_initial(self, images: Int64[Tensor, "b y x"], draw: torch.Generator) -> Float[Tensor, "b c y x"]:
        """Draw one field of noise for each board, on the generator's device."""
        return random_oscillators((len(images), self.channels, *images.shape[1:]), draw)

    def _noise(self, images: Tensor, initial: Tensor | None, draw: torch.Generator | None) -> Tensor:
        if initial is not None:
            return initial
        if not self.stochastic:
            return self.sample_initial(images[:1], generator("cpu", self.initial_seed, "initial oscillators"))
        if draw is None:
            raise UserError("a stochastic encoder needs draw= (a torch.Generator) or initial= (oscillators)")
        return self.sample_initial(images, draw)
