"""AKOrN for boards: an embedding of each cell, one Kuramoto layer and a readout. Blank cells start from noise.

Miyato et al. 2025, "Artificial Kuramoto Oscillatory Neurons" (AKOrN, arXiv 2410.13821), section 5.2; the Sudoku network
of the published code. Shapes: b batch, c channels, n oscillator dimension, y x cells, t Kuramoto steps.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer, Trace
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
    """An encoder of oscillators that fill in the blank cells of a board, driven by the given cells.

    The stimulus c of a cell is the embedding of its symbol plus a learned vector of its position. Given cells start
    from c, blank cells from noise: ``x(0) = mask * c + (1 - mask) * noise``.

    Args:
        side: side of the board in cells.
        symbols: number of symbols a cell can hold, numbered from 1 (0 is a blank cell).
        channels: width of the layer, divisible by ``oscillator_dim``.
        oscillator_dim: n, dimension of an oscillator (a unit vector of n channels), even.
        num_steps: T, the number of Kuramoto steps. It may be larger at test time with the same weights.
        coupling: how cells act on each other, ``"attention"`` (self-attention) or ``"conv"`` (a kernel of 2 * side - 1
            cells, which connects every cell with every other).
        attention_heads: number of heads of an attention coupling.
        frequency_init: omega, the natural frequency before training, in radians per unit step (one for the layer).
        step_size: gamma, the Kuramoto step size before training.
        initial: where the noise of blank cells comes from: ``"random"`` (a new draw at each call) or ``"fixed"`` (one
            draw from ``initial_seed`` for all boards and calls).
        initial_seed: seed of the draw of initial="fixed".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 5.2.

    Differs: positions enter as learned vectors. In the published network they enter as learned rotations of queries,
        keys and values inside the attention (geometric transform attention).
    """

    reads: ClassVar[Reads] = (Boards,)
    has_energy: ClassVar[bool] = True
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
        self.num_steps = check_steps(num_steps, 1)
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
        trace: Trace = False,
        num_steps: int | Sequence[int] | None = None,
    ) -> Features:
        """Encode boards; see :meth:`Encoder.forward`.

        Args:
            images: boards; symbols are numbered from 1, 0 is a blank cell.
            initial: the noise from which blank cells start, one field per board or one for all (i = b or 1).
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies, or ``"energy"``: the energies only.
            num_steps: Kuramoto steps of this call instead of the number in training.

        Returns:
            Features with d = ``channels`` and a map of one vector per cell, "b d y x".

        Raises:
            UserError: the boards have another side or other symbols, or a stochastic encoder got neither ``initial``
                nor ``draw``.
        """
        wanted = self.built_for
        assert isinstance(wanted, Boards)
        if images.shape[1:] != (wanted.side, wanted.side) or images.min() < 0 or images.max() > wanted.symbols:
            raise UserError(f"boards of shape {tuple(images.shape[1:])}: this encoder is built for {wanted}")
        (steps,) = self.num_steps if num_steps is None else check_steps(num_steps, 1)
        c = self.embedding(images).permute(0, 3, 1, 2) + self.place
        given = (images > 0).unsqueeze(1).to(c.dtype)
        noise = self._noise(images, initial, draw).to(c)
        x = given * c + (1 - given) * noise
        x, layer_trace = self.layer(x, c, step_size=self.step_size, num_steps=steps, trace=trace)
        grid = self.readout(x)
        return Features(grid.mean(dim=(2, 3)), grid, None if layer_trace is None else (layer_trace,))

    def sample_initial(self, images: Int64[Tensor, "b y x"], draw: torch.Generator) -> Float[Tensor, "b c y x"]:
        """Draw one field of noise per board, on the generator's device."""
        return random_oscillators((len(images), self.channels, *images.shape[1:]), draw)

    def _noise(self, images: Tensor, initial: Tensor | None, draw: torch.Generator | None) -> Tensor:
        if initial is not None:
            return initial
        if not self.stochastic:
            return self.sample_initial(images[:1], generator("cpu", self.initial_seed, "initial oscillators"))
        if draw is None:
            raise UserError("a stochastic encoder needs draw= (a torch.Generator) or initial= (oscillators)")
        return self.sample_initial(images, draw)
