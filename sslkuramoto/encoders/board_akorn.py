"""AKOrN for boards: an embedding of each cell, one Kuramoto layer and a readout. Blank cells start from noise.

Miyato et al. 2025, "Artificial Kuramoto Oscillatory Neurons" (AKOrN, arXiv 2410.13821), section 5.2 and appendix C.2.
Shapes: b batch, c channels, n oscillator dimension, y x cells, t Kuramoto steps.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.dynamics.coupling import Coupling, coupling_of
from sslkuramoto.dynamics.kuramoto import NaturalFrequency, frequencies_of
from sslkuramoto.dynamics.layer import KuramotoLayer, StimulusNorm, Trace, Update
from sslkuramoto.dynamics.position import Positions, PositionTable
from sslkuramoto.dynamics.step_size import add_step_size
from sslkuramoto.encoders.akorn import check_steps
from sslkuramoto.encoders.board_inputs import BoardInputs, SymbolTable
from sslkuramoto.encoders.features import Features
from sslkuramoto.encoders.oscillator_start import Start, StartedEncoder
from sslkuramoto.encoders.readout import Readout, ReadoutMap
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.values import Count, Kernel, NotNegative, Positive, Side, Steps, checked, small


@small(side=4, symbols=4, channels=8, oscillator_dim=2, num_steps=2, attention_heads=2)
@checked
class BoardAKOrN(StartedEncoder):
    """An encoder of oscillators that fill in the blank cells of a board, driven by the given cells.

    The stimulus c of a cell is the embedding of its symbol. Given cells start from c, blank cells from noise:
    ``x(0) = mask * c + (1 - mask) * noise``. In mazes (``input_symbols=4``) walls, start and goal are given, and free
    cells, which are to be decided, start from noise. The defaults are the published Sudoku network, but for its size
    (there ``side=9, symbols=9``).

    Args:
        side: side of the board in cells; null: boards of any side, with ``positions="none"``; mazes
            then need a convolution.
        symbols: number of symbols that a cell of the solution can hold, numbered from 1.
        input_symbols: number of symbols of boards to be solved where none of their cells is blank: 4 of 5 in mazes.
            Null: cells hold 0 (blank) or one of ``symbols``.
        channels: C, width of the layer, divisible by ``oscillator_dim``.
        oscillator_dim: n, dimension of an oscillator (a unit vector of n channels); even with natural frequencies.
        num_steps: T, the number of Kuramoto steps. It may be larger at test time with the same weights.
        coupling: how cells act on each other, ``"attention"`` (self-attention), ``"conv"`` (a convolution), or
            symmetric: ``"conv_symmetric"``, ``"dense_symmetric"`` (every cell with every other, J = J^T), or
            ``"attention_symmetric"``, an attention with the symmetric weights of appendix D.4.
        kernel_size: side of a convolution's kernel in cells, odd; null: 2 * side - 1, which connects every cell with
            every other.
        attention_heads: number of heads of an attention coupling.
        positions: ``"gta"`` and ``"rope"`` rotate inside the attention, ``"ape"`` adds a trained table to c and one to
            x, ``"none"`` (refused for mazes with an attention, which cannot tell then which cells are neighbours).
        natural_frequency: ``"none"``, ``"shared"``, ``"per_pair"`` or ``"identity"``, as
            :class:`~sslkuramoto.encoders.akorn.AKOrN` explains.
        frequency_init: omega, the natural frequency before training, in radians per unit step.
        learn_frequency: whether omega is trained.
        project: whether the drive is projected onto the tangent space.
        update: ``"kuramoto"``, or ``"residual"`` without projection and normalisation (ablation of AKOrN table 6).
        step_size: gamma, the Kuramoto step size before training.
        learn_step_size: whether gamma is trained.
        stimulus_norm: how c is normalised on entry of the layer, ``"none"``, ``"group"`` or ``"scale_bias"``.
        readout_dim: dimension of the vectors whose length the readout takes; null: that of an oscillator.
        readout_norm: whether the readout takes the length of its vectors.
        readout_map: g, the map after the readout: ``"residual"`` (published code), ``"single"`` or ``"identity"``.
        initial: where the noise of blank cells comes from: ``"random"`` (a new draw at each call) or ``"fixed"`` (one
            draw from ``initial_seed`` for all boards and calls).
        initial_seed: seed of the draw of initial="fixed".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 5.2 and appendix C.2; the published code.
    """

    reads: ClassVar[Reads] = (Boards,)
    has_energy: ClassVar[bool] = True
    inputs: BoardInputs
    normalises_initial: ClassVar[bool] = True
    oscillator_dim: int
    step_size: Tensor

    def __init__(
        self,
        *,
        side: Side | None,
        symbols: Count,
        input_symbols: Count | None = None,
        channels: Count = 512,
        oscillator_dim: Count = 4,
        num_steps: Steps = 16,
        coupling: Coupling = "attention",
        kernel_size: Kernel | None = None,
        attention_heads: Count = 8,
        positions: Positions = "gta",
        natural_frequency: NaturalFrequency = "shared",
        frequency_init: NotNegative = 0.5,
        learn_frequency: bool = True,
        project: bool = True,
        update: Update = "kuramoto",
        step_size: Positive = 1.0,
        learn_step_size: bool = True,
        stimulus_norm: StimulusNorm = "none",
        readout_dim: Count | None = None,
        readout_norm: bool = True,
        readout_map: ReadoutMap = "residual",
        initial: Literal["random", "fixed"] = "random",
        initial_seed: int = 0,
    ) -> None:
        super().__init__()
        self.num_steps = check_steps(num_steps, 1)
        self.inputs = BoardInputs(side, symbols, input_symbols).check()
        self.built_for = self.inputs.spec
        self.channels = self.num_features = channels
        self.oscillator_dim = oscillator_dim
        self.initial = initial
        self.stochastic = initial == "random"
        self.inputs.check_places(blind=coupling.startswith("attention") and positions == "none")
        grid = None if side is None and positions == "none" else self.inputs.grid(f"positions={positions}")
        if coupling.startswith("conv") and kernel_size is None:
            self.inputs.grid("kernel_size=null")
        self.embedding = SymbolTable(self.inputs.entries, channels)
        table = grid if positions == "ape" else None
        self.place_x = None if table is None else PositionTable(channels, table)
        self.place_c = None if table is None else PositionTable(channels, table)
        self.layer = KuramotoLayer(
            coupling_of(
                coupling,
                channels,
                kernel_size=kernel_size or (1 if side is None else 2 * side - 1),
                heads=attention_heads,
                positions=positions,
                grid=grid,
            ),
            channels=channels,
            oscillator_dim=oscillator_dim,
            frequencies=frequencies_of(natural_frequency, channels, frequency_init, learn_frequency),
            norm=stimulus_norm,
            project=project,
            identity=natural_frequency == "identity",
            update=update,
        )
        add_step_size(self, step_size, learn_step_size)
        self.readout = Readout(
            channels,
            channels,
            dim=readout_dim or oscillator_dim,
            kernel_size=1,
            take_norm=readout_norm,
            g=readout_map,
            g_norm="none",
        )
        self.start = Start(initial, channels, initial_seed)

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
        (steps,) = self.num_steps if num_steps is None else check_steps(num_steps, 1)
        c = self.embedding(self.inputs.entry(images)).permute(0, 3, 1, 2)
        given = self.inputs.given(images).unsqueeze(1).to(c.dtype)
        x = given * c + (1 - given) * self.started(c, images, initial, draw, c.dtype)
        if self.place_x is not None and self.place_c is not None:
            x, c = self.place_x(x), self.place_c(c)
        x, layer_trace = self.layer(x, c, step_size=self.step_size, num_steps=steps, trace=trace)
        grid = self.readout(x)
        return Features(grid.mean(dim=(2, 3)), grid, None if layer_trace is None else (layer_trace,))
