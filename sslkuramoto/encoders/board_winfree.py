"""The Winfree network for boards (Sudoku, mazes): each cell's phases turn at frequencies that its symbol says.

"Winfree Oscillatory Neural Network" (WONN, arXiv 2605.20922), sections 3.3 and 3.4, tables 8 and 9.
Shapes: b batch, y x cells, c channels, d features.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import Coupling, coupling_of
from sslkuramoto.dynamics.layer import Trace
from sslkuramoto.dynamics.step_size import add_step_size
from sslkuramoto.dynamics.winfree import InfluenceKind, SensitivityKind, influence_of, sensitivity_of
from sslkuramoto.dynamics.winfree_layer import FrequencyTransition, PhaseTransition, WinfreeLayer
from sslkuramoto.encoders.akorn import check_steps
from sslkuramoto.encoders.board_inputs import BoardInputs, SymbolTable
from sslkuramoto.encoders.features import Features
from sslkuramoto.encoders.oscillator_start import Start, StartedEncoder
from sslkuramoto.encoders.winfree import PhasePositions, phase_decoder
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.values import Count, Kernel, Layers, NotNegative, Positive, Side, Steps, checked, small


@small(side=4, symbols=4, channels=8, num_steps=2, attention_heads=2)
@checked
class BoardWinfree(StartedEncoder):
    """An encoder of phase oscillators that settle on the symbols of a board.

    The defaults are the published Sudoku network, but for its size (there ``side=9, symbols=9``).

    The natural frequencies of a cell are a learned table entry of its symbol. All cells start from noise around 0. A
    layer after the first adds the frequencies of given cells, in mazes those of all cells, to those that it reads off
    the phases.

    Args:
        side: side of the board in cells; null: boards of any side, which no weight depends on but those of a
            ``"dense_symmetric"`` coupling and of a kernel left out; a convolution then needs ``kernel_size``.
        symbols: number of symbols that a cell of the solution can hold, numbered from 1.
        input_symbols: number of symbols that boards to be solved hold where none of their cells is blank: mazes hold 4
            (wall, free, start, goal) of 5. Null: cells hold 0 (blank) or one of ``symbols``.
        channels: C, phases per cell; divisible by 8 with ``rectify``.
        layers: L, number of Winfree layers.
        num_steps: T, Winfree steps per layer: one number for all layers, or one for each. It may be larger at test time
            with the same weights.
        sensitivity: S: ``"cos"`` or ``"mlp"`` (learned).
        influence: I: ``"sin"``, or learned from sin alone (``"sin_mlp"``) or from sin and cos (``"mlp"``).
        hidden_ratio: r, hidden numbers of learned interactions for each phase.
        coupling: how cells act on each other: ``"attention"``, ``"conv"`` (without bias), or symmetric:
            ``"conv_symmetric"``, ``"dense_symmetric"`` (every cell with every other, c = c^T), or
            ``"attention_symmetric"``, with the weights of :class:`~sslkuramoto.dynamics.coupling.AttentionCoupling`.
        kernel_size: side of a convolution's kernel in cells, odd; null: 2 * side - 1, which connects every cell with
            every other.
        attention_heads: number of heads of an attention coupling.
        positions: ``"rope"`` rotates queries and keys of an attention by the two coordinates (heads of 4 channels or
            more), ``"none"``.
        rectify: whether the field is normalised and rectified, ReLU(GroupNorm(.)), as published.
        step_size: gamma, the step size.
        learn_step_size: whether gamma is trained.
        transition_bias: whether the convolution between the phases of two layers has a bias.
        initial: where the phases start: ``"random"`` (a new draw at each call) or ``"fixed"`` (one draw from
            ``initial_seed`` for all boards and calls).
        initial_scale: standard deviation of the initial phases around 0 in radians, before they are wrapped.
        initial_seed: seed of the draw of initial="fixed".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: WONN (arXiv 2605.20922), sections 3.3 and 3.4, appendix C.1; the published code.

    Differs: groups have one cell (N = 1), as in all published networks on boards. The published head has no ReLU:
        objective cells with ``relu: false``. That ``transition_bias`` is true unless stated is ours: no published
        network on boards has more than one layer.
    """

    reads: ClassVar[Reads] = (Boards,)
    has_energy: ClassVar[bool] = True
    inputs: BoardInputs
    oscillator_dim: int = 2
    initial_scale: float
    step_size: Tensor

    def __init__(
        self,
        *,
        side: Side | None,
        symbols: Count,
        input_symbols: Count | None = None,
        channels: Count = 256,
        layers: Layers = 1,
        num_steps: Steps | tuple[Steps, ...] = 16,
        sensitivity: SensitivityKind = "cos",
        influence: InfluenceKind = "sin",
        hidden_ratio: Count = 2,
        coupling: Coupling = "attention",
        kernel_size: Kernel | None = None,
        attention_heads: Count = 8,
        positions: PhasePositions = "rope",
        rectify: bool = True,
        step_size: Positive = 0.1,
        learn_step_size: bool = False,
        transition_bias: bool = True,
        initial: Literal["random", "fixed"] = "random",
        initial_scale: NotNegative = 0.1,
        initial_seed: int = 0,
    ) -> None:
        super().__init__()
        self.inputs = BoardInputs(side, symbols, input_symbols).check()
        if coupling.startswith("conv") and kernel_size is None:
            self.inputs.grid("kernel_size=null")
        self.num_steps = check_steps(num_steps, layers, "layers")
        self.built_for = self.inputs.spec
        self.channels = self.num_features = channels
        self.initial = initial
        self.initial_scale: float = initial_scale
        self.stochastic = initial == "random"
        self.frequencies = SymbolTable(self.inputs.entries, channels)
        self.layers = nn.ModuleList(
            WinfreeLayer(
                coupling_of(
                    coupling,
                    channels,
                    kernel_size=kernel_size or (1 if side is None else 2 * side - 1),
                    heads=attention_heads,
                    positions="fixed_rope" if positions == "rope" else "none",
                    grid=None if side is None else (side, side),
                    bias=False,
                ),
                channels=channels,
                group_size=1,
                sensitivity=sensitivity_of(sensitivity, channels, hidden_ratio),
                influence=influence_of(influence, channels, 1, hidden_ratio),
                rectify=rectify,
            )
            for _ in range(layers)
        )
        between = range(layers - 1)
        self.phase_transitions = nn.ModuleList(PhaseTransition(channels, channels, transition_bias) for _ in between)
        self.frequency_transitions = nn.ModuleList(FrequencyTransition(channels, channels) for _ in between)
        self.decoder = phase_decoder(channels, kernels=(1, 3))
        add_step_size(self, step_size, learn_step_size)
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
            initial: the noise of the initial phases, multiplied by ``initial_scale`` here, one field per board or one
                for all (i = b or 1).
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies, or ``"energy"``: the energies only. States are (cos theta, sin
                theta) of each phase.
            num_steps: Winfree steps of this call, for all layers or for each, instead of the number in training.

        Returns:
            Features with d = ``channels`` and a map of one vector per cell, "b d y x".

        Raises:
            UserError: the boards have another side or other symbols, or a stochastic encoder got neither ``initial``
                nor ``draw``.
        """
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.layers), "layers")
        of_symbols = self.frequencies(self.inputs.entry(images)).permute(0, 3, 1, 2)
        start = self.started(of_symbols, images, initial, draw, of_symbols.dtype)
        theta, omega = self.initial_scale * start, of_symbols
        traces = []
        for index, layer in enumerate(self.layers):
            if index:
                move, change = self.phase_transitions[index - 1], self.frequency_transitions[index - 1]
                theta, omega = move(theta), change(theta, omega)
                omega = omega + (images > 0).unsqueeze(1).to(omega.dtype) * of_symbols
            theta, layer_trace = layer(theta, omega, step_size=self.step_size, num_steps=steps[index], trace=trace)
            traces.append(layer_trace)
        grid = self.decoder(theta)
        return Features(grid.mean(dim=(2, 3)), grid, tuple(traces) if trace else None)
