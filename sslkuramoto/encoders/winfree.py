"""The Winfree network for images: phases that turn at frequencies read off the image, layer by layer on one grid.

"Winfree Oscillatory Neural Network" (WONN, arXiv 2605.20922), section 2 and appendix C. Two maps pass through the
network: phases theta and natural frequencies omega. Shapes: b batch, y x pixels, c channels, h w grid, d features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import coupling_of
from sslkuramoto.dynamics.layer import Trace
from sslkuramoto.dynamics.step_size import add_step_size
from sslkuramoto.dynamics.winfree import InfluenceKind, SensitivityKind, influence_of, sensitivity_of
from sslkuramoto.dynamics.winfree_layer import FrequencyTransition, PhaseEmbedding, PhaseTransition, WinfreeLayer
from sslkuramoto.encoders.akorn import check_steps, one_a_layer
from sslkuramoto.encoders.features import Features, Sides, check_divides
from sslkuramoto.encoders.oscillator_start import Start, StartedEncoder
from sslkuramoto.values import Count, Kernel, Layers, NotNegative, Positive, Steps, checked, small

PhasePositions = Literal["rope", "none"]
GridCoupling = Literal["attention", "conv", "conv_symmetric", "attention_symmetric"]
"""Couplings between groups for images of any size."""


@small(channels=8, layers=2, num_steps=2, group_size=2, attention_heads=2)
@checked
class Winfree(StartedEncoder):
    """An encoder of phase oscillators that react to the influence of groups.

    The defaults are the published CIFAR network with 128 channels and learned interactions.

    Args:
        channels: C, phases per site: one number for all layers, or one for each. Divisible by 8 with ``rectify``. The
            published network "64 to 256" is ``[64, 128, 128, 256, 256, 256]``.
        layers: L, number of Winfree layers, all on one grid.
        num_steps: T, Winfree steps per layer: one number for all layers, or one for each. It may be larger at test time
            with the same weights.
        group_size: N, side in sites of the groups that share one influence and one field. At the right and lower edge
            groups may be smaller.
        sensitivity: S, how strongly a phase reacts to its field: ``"mlp"`` (learned) or ``"cos"``.
        influence: I, what a group sends to the others: ``"mlp"`` (learned from sin and cos of its phases),
            ``"sin_mlp"`` (learned from sin alone, the published "trigonometric" image networks) or ``"sin"`` (the mean
            of sin).
        hidden_ratio: r, hidden numbers of learned interactions for each phase.
        coupling: how groups act on each other: ``"attention"``, ``"conv"`` (without bias) or ``"conv_symmetric"``
            (c = c^T, for the theory of the energy), or ``"attention_symmetric"``, with the weights of
            :class:`~sslkuramoto.dynamics.coupling.AttentionCoupling`; for all layers or for each.
        attention_heads: number of heads of an attention coupling.
        kernel_size: side of a convolution's kernel in groups, odd; one for all layers or one for each. Unused where all
            couplings are attention.
        positions: ``"rope"`` rotates queries and keys of an attention by the two coordinates (heads of 4 channels or
            more), ``"none"``.
        rectify: whether the field is normalised and rectified, ReLU(GroupNorm(.)), as published.
        step_size: gamma, the step size, one for the network.
        learn_step_size: whether gamma is trained.
        patch: side of a patch in pixels. 1: the stem is a 3 x 3 convolution at full resolution (CIFAR); larger: a
            convolution of that size and stride (ImageNet: 4).
        transition_bias: whether the convolution between the phases of two layers has a bias.
        initial: where the phases start: ``"random"`` (a new draw at each call) or ``"fixed"`` (one draw from
            ``initial_seed`` for all images and calls).
        initial_scale: standard deviation of the initial phases around 0 in radians, before they are wrapped. 0.01 as
            published: they start close together, not anywhere on the circle.
        initial_seed: seed of the draw of initial="fixed".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: WONN (arXiv 2605.20922), section 2.2, tables 5 to 7; the published code.

    Example:
        >>> import torch
        >>> from sslkuramoto.randomness import generator
        >>> encoder = Winfree(channels=8, layers=2, num_steps=3, attention_heads=2).eval()
        >>> images = torch.rand(4, 3, 16, 16)  # pixels in [0, 1]
        >>> features = encoder(images, draw=generator("cpu", 0), trace=True)
        >>> tuple(features.pooled.shape), tuple(features.map.shape)
        ((4, 8), (4, 8, 16, 16))
        >>> tuple(features.trace[0].states.shape)  # (cos, sin) of 8 phases: steps, images, 2 * 8 channels, grid
        (3, 4, 16, 16, 16)
    """

    has_energy: ClassVar[bool] = True
    oscillator_dim: int = 2
    initial_scale: float
    step_size: Tensor

    def __init__(
        self,
        *,
        channels: Count | tuple[Count, ...] = 128,
        layers: Layers = 6,
        num_steps: Steps | tuple[Steps, ...] = 3,
        group_size: Count = 2,
        sensitivity: SensitivityKind = "mlp",
        influence: InfluenceKind = "mlp",
        hidden_ratio: Count = 2,
        coupling: GridCoupling | tuple[GridCoupling, ...] = "attention",
        attention_heads: Count = 8,
        kernel_size: Kernel | tuple[Kernel, ...] = (7, 5, 5, 3, 3, 3),
        positions: PhasePositions = "rope",
        rectify: bool = True,
        step_size: Positive = 0.1,
        learn_step_size: bool = False,
        patch: Count = 1,
        transition_bias: bool = False,
        initial: Literal["random", "fixed"] = "random",
        initial_scale: NotNegative = 0.01,
        initial_seed: int = 0,
    ) -> None:
        super().__init__()
        self.widths = one_a_layer("channels", channels, layers, "layers")
        self.num_features = self.widths[-1]
        self.num_steps = check_steps(num_steps, layers, "layers")
        self.patch = self.multiple_of = patch
        self.sides = Sides(least=group_size * patch, options=f"group_size={group_size}, patch={patch}")
        self.initial = initial
        self.initial_scale: float = initial_scale
        self.stochastic = initial == "random"
        first = self.widths[0]
        stem = (
            nn.Conv2d(3, first, 3, padding=1, bias=False)
            if patch == 1
            else nn.Conv2d(3, first, patch, stride=patch, bias=False)
        )
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(first), nn.ReLU())
        couplings: tuple[GridCoupling, ...] = one_a_layer("coupling", coupling, layers, "layers")
        kernels = _kernels(kernel_size, couplings)
        self.layers = nn.ModuleList(
            WinfreeLayer(
                coupling_of(
                    kind,
                    width,
                    kernel_size=kernel,
                    heads=attention_heads,
                    positions="fixed_rope" if positions == "rope" else "none",
                    bias=False,
                ),
                channels=width,
                group_size=group_size,
                sensitivity=sensitivity_of(sensitivity, width, hidden_ratio),
                influence=influence_of(influence, width, group_size, hidden_ratio),
                rectify=rectify,
            )
            for width, kind, kernel in zip(self.widths, couplings, kernels, strict=True)
        )
        self.phase_transitions = nn.ModuleList(PhaseTransition(a, b, transition_bias) for a, b in pairwise(self.widths))
        self.frequency_transitions = nn.ModuleList(FrequencyTransition(a, b) for a, b in pairwise(self.widths))
        self.decoder = phase_decoder(self.widths[-1], kernels=(3, 1))
        add_step_size(self, step_size, learn_step_size)
        self.start = Start(initial, first, initial_seed)

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
        num_steps: int | Sequence[int] | None = None,
    ) -> Features:
        """Encode images; see :meth:`Encoder.forward`.

        Args:
            images: pixels in [0, 1], which the published networks read as they are; both sides divisible by ``patch``.
            initial: the noise of the initial phases, multiplied by ``initial_scale`` here, one field per image or one
                for all (i = b or 1).
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies, or ``"energy"``: the energies only. States are (cos theta, sin
                theta) of each phase.
            num_steps: Winfree steps of this call, for all layers or for each, instead of the number in training.

        Returns:
            Features with d = the channels of the last layer, and the map whose mean they are.

        Raises:
            UserError: the patch does not divide the images, a group is larger than the grid, or a stochastic encoder
                got neither ``initial`` nor ``draw``.
        """
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.layers), "layers")
        check_divides(self.patch, images)
        omega = self.stem(images)
        theta = self.initial_scale * self.started(omega, images, initial, draw, next(self.parameters()).dtype)
        traces = []
        for index, layer in enumerate(self.layers):
            if index:
                move, change = self.phase_transitions[index - 1], self.frequency_transitions[index - 1]
                theta, omega = move(theta), change(theta, omega)
            theta, layer_trace = layer(theta, omega, step_size=self.step_size, num_steps=steps[index], trace=trace)
            traces.append(layer_trace)
        grid = self.decoder(theta)
        return Features(grid.mean(dim=(2, 3)), grid, tuple(traces) if trace else None)


def phase_decoder(channels: int, kernels: tuple[int, int]) -> nn.Sequential:
    """Return the readout of phases: their embedding, a convolution to 2 c, BatchNorm, ReLU, one back to c, BatchNorm.

    Args:
        channels: c.
        kernels: sides of the kernels of the two convolutions, odd.
    """
    first, second = kernels
    return nn.Sequential(
        PhaseEmbedding(channels),
        nn.Conv2d(channels, 2 * channels, first, padding=first // 2, bias=False),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(),
        nn.Conv2d(2 * channels, channels, second, padding=second // 2, bias=False),
        nn.BatchNorm2d(channels),
    )


def _kernels(kernel_size: int | Sequence[int], couplings: Sequence[GridCoupling]) -> tuple[int, ...]:
    """Return one kernel for each layer; a network without convolutions has no use for them, however many there are."""
    if all(kind.startswith("attention") for kind in couplings):
        return (1,) * len(couplings)
    return one_a_layer("kernel_size", kernel_size, len(couplings), "layers")
