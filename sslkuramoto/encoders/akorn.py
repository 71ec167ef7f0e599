"""AKOrN for images: a stem, then blocks of a Kuramoto layer and a readout, each twice as wide as the previous one.

Miyato et al. 2025, "Artificial Kuramoto Oscillatory Neurons" (AKOrN, arXiv 2410.13821), section 4; this is the
classification network of its section 6. Two feature maps pass through the network: oscillators x and the stimulus c.
Shapes: b batch, y x pixels, c channels, n oscillator dimension, h w grid, t Kuramoto steps, d features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import Coupling, coupling_of
from sslkuramoto.dynamics.kuramoto import NaturalFrequency, frequencies_of
from sslkuramoto.dynamics.layer import KuramotoLayer, StimulusNorm, Trace, Update
from sslkuramoto.dynamics.step_size import add_step_size
from sslkuramoto.encoders.features import Features, Sides, check_divides, patch_grid
from sslkuramoto.encoders.oscillator_start import Initial, Start, StartedEncoder
from sslkuramoto.encoders.readout import MapNorm, Readout, ReadoutMap
from sslkuramoto.errors import UserError
from sslkuramoto.values import MOST_STEPS, Count, Kernel, Mark, NotNegative, Positive, Side, Steps, checked, small

T = TypeVar("T")


@small(channels=8, kernel_sizes=(3, 3), num_steps=2)
@checked
class AKOrN(StartedEncoder):
    """An encoder of oscillators that synchronise under the image. The defaults are the published CIFAR network, C = 64.

    Args:
        channels: C, width of the first layer; layer l = 0, 1, ... has C * 2**l channels. Divisible by
            ``oscillator_dim``.
        oscillator_dim: n, dimension of an oscillator (a unit vector of n channels); even with natural frequencies.
        kernel_sizes: side of each layer's kernel in sites, odd, first layer first; as many layers as kernels.
        num_steps: T, Kuramoto steps per layer: one number for all layers, or one for each. It may be larger at test
            time with the same weights.
        coupling: how oscillators act on each other, for all layers or for each: ``"conv"`` (convolution),
            ``"attention"`` (self-attention), ``"attention_symmetric"`` (with the symmetric weights of appendix D.4) or
            ``"conv_symmetric"`` (J = J^T). AKOrN^mix is ``[conv, conv, attention]``.
        attention_heads: number of heads of an attention coupling.
        natural_frequency: how fast oscillators rotate on their own: ``"none"`` (zero), ``"shared"`` (one frequency per
            layer), ``"per_pair"`` (one per two channels), ``"identity"`` (zero as in the published code, which then
            adds x to its velocity and so halves a step size of 1).
        frequency_init: omega, the natural frequency before training, in radians per unit step.
        learn_frequency: whether the natural frequency omega is trained.
        project: whether the drive is projected onto the tangent space of the sphere (false: ablation of AKOrN table 5).
        update: ``"kuramoto"``, or ``"residual"`` without projection and normalisation (ablation of AKOrN table 6).
        step_size: gamma, the Kuramoto step size, one for the network.
        learn_step_size: whether gamma is trained, as in the paper, or constant, as in the published classification
            code.
        stimulus: whether each layer is driven by a stimulus c (false: the image is x(0) and one readout ends the
            network, ablation of AKOrN fig. 18).
        stimulus_norm: how c is normalised on entry of each layer: ``"group"`` (GroupNorm, one group per oscillator),
            ``"scale_bias"`` (learned scale and offset per channel) or ``"none"``.
        readout_dim: dimension of the vectors whose length the readout takes, for all layers or for each.
        readout_kernel: side of the kernels of the readout, of g and of the convolution between layers, odd (one number
            for all three, as in the published code).
        readout_norm: whether the readout takes the length of its vectors (false: ablation "no m" of AKOrN fig. 18).
        readout_map: g, the map from the readout to the next stimulus: ``"residual"`` (three convolutions, published
            code), ``"single"`` (one convolution, paper) or ``"identity"``.
        readout_map_norm: normalisation within g: ``"batch"`` (BatchNorm), ``"group"`` (GroupNorm, 8 groups) or
            ``"none"``.
        initial: where the oscillators start: ``"random"`` (uniform on the sphere, a new draw at each call),
            ``"fixed"`` (one draw from ``initial_seed`` for all images and calls), ``"stimulus"`` (the stimulus,
            normalised) or ``"learned"`` (a trained field for images of ``image_size``).
        initial_seed: seed of the draw of initial="fixed", and of the untrained field of initial="learned".
        image_size: side of the images in pixels, required by ``initial="learned"`` and unused otherwise.
        patch: side of a patch in pixels. 1: the stem is a 3 x 3 convolution at full resolution, as published; larger: a
            convolution of that size and stride (WONN's baseline on ImageNet: 4).

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), sections 4 and 6.

    Differs: as in the published code, x and c share the convolution between layers, and from the fourth layer on the
        grid keeps its size. See also :class:`~sslkuramoto.encoders.readout.NormReadout` and
        :class:`~sslkuramoto.dynamics.coupling.AttentionCoupling`.

    Example:
        >>> import torch
        >>> from sslkuramoto.randomness import generator
        >>> encoder = AKOrN(channels=8, kernel_sizes=(3, 3), num_steps=2).eval()
        >>> images = torch.rand(4, 3, 16, 16)  # pixels in [0, 1]
        >>> features = encoder(images, draw=generator("cpu", 0), trace=True)
        >>> tuple(features.pooled.shape), tuple(features.map.shape)
        ((4, 16), (4, 16, 8, 8))
        >>> tuple(features.trace[0].states.shape)  # first layer: steps, images, channels, grid
        (2, 4, 8, 16, 16)
    """

    has_energy: ClassVar[bool] = True
    normalises_initial: ClassVar[bool] = True
    oscillator_dim: int
    step_size: Tensor

    def __init__(
        self,
        *,
        channels: Count = 64,
        oscillator_dim: Count = 2,
        kernel_sizes: tuple[Kernel, ...] = (9, 7, 5),
        num_steps: Steps | tuple[Steps, ...] = 3,
        coupling: Coupling | tuple[Coupling, ...] = "conv",
        attention_heads: Count = 8,
        natural_frequency: NaturalFrequency = "shared",
        frequency_init: NotNegative = 1.0,
        learn_frequency: bool = True,
        project: bool = True,
        update: Update = "kuramoto",
        step_size: Positive = 1.0,
        learn_step_size: bool = False,
        stimulus: bool = True,
        stimulus_norm: StimulusNorm = "group",
        readout_dim: Count | tuple[Count, ...] = 2,
        readout_kernel: Kernel = 3,
        readout_norm: bool = True,
        readout_map: ReadoutMap = "residual",
        readout_map_norm: MapNorm = "batch",
        initial: Initial = "random",
        initial_seed: int = 0,
        image_size: Side | None = None,
        patch: Annotated[Count, Mark.LATER] = 1,
    ) -> None:
        super().__init__()
        if not kernel_sizes:
            raise UserError("kernel_sizes=[]: needs one odd kernel for each layer")
        layers = len(kernel_sizes)
        self.num_steps = check_steps(num_steps, layers)
        couplings: tuple[Coupling, ...] = one_a_layer("coupling", coupling, layers)
        readout_dims = one_a_layer("readout_dim", readout_dim, layers)
        if initial == "learned" and image_size is None:
            raise UserError("initial=learned: needs image_size, the side of the images in pixels")
        if not stimulus and initial != "random":
            raise UserError(f"initial={initial!r}: has no meaning with stimulus=false, where the image enters x(0)")

        self.channels, self.oscillator_dim = channels, oscillator_dim
        self.initial: Initial = initial
        self.has_stimulus = stimulus
        self.stochastic = initial == "random" and stimulus
        widths = [channels * 2**layer for layer in range(layers)]
        self.num_features = widths[-1]

        self.patch = self.multiple_of = patch
        self.stem = (
            nn.Conv2d(3, channels, 3, padding=1, bias=False)
            if patch == 1
            else nn.Conv2d(3, channels, patch, stride=patch, bias=False)
        )
        self.layers = nn.ModuleList()
        self.readouts = nn.ModuleList()
        self.transitions = nn.ModuleList()
        for layer, (width, kernel, kind) in enumerate(zip(widths, kernel_sizes, couplings, strict=True)):
            self.layers.append(
                KuramotoLayer(
                    coupling_of(kind, width, kernel_size=kernel, heads=attention_heads),
                    channels=width,
                    oscillator_dim=oscillator_dim,
                    frequencies=frequencies_of(natural_frequency, width, frequency_init, learn_frequency),
                    norm=stimulus_norm if stimulus else "none",
                    project=project,
                    identity=natural_frequency == "identity",
                    update=update,
                )
            )
            if stimulus or layer == layers - 1:
                self.readouts.append(
                    Readout(
                        width,
                        width,
                        dim=readout_dims[layer],
                        kernel_size=readout_kernel,
                        take_norm=readout_norm,
                        g=readout_map,
                        g_norm=readout_map_norm,
                    )
                )
        for layer, (narrow, wide) in enumerate(pairwise(widths)):
            stride = 2 if layer < 2 else 1
            self.transitions.append(nn.Conv2d(narrow, wide, readout_kernel, stride=stride, padding=readout_kernel // 2))
        add_step_size(self, step_size, learn_step_size)
        grid = None if image_size is None else patch_grid(image_size, patch)
        self.start = Start(initial, channels, initial_seed, grid)
        if initial == "learned":
            self.sides = Sides(only=image_size, options=f"initial=learned, image_size={image_size}")

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
            images: pixels in [0, 1]; both sides divisible by ``patch``.
            initial: initial oscillators, one field per image or one for all (i = b or 1).
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies, or ``"energy"``: the energies only.
            num_steps: Kuramoto steps of this call, for all layers or for each, instead of the number in training.

        Returns:
            Features with d = ``num_features``. The map is the last readout, "b d h w", at a quarter of the grid of
            the stem, rounded up; at half of it with two layers, on that grid with one.

        Raises:
            UserError: the patch does not divide the images; a stochastic encoder got neither ``initial`` nor ``draw``;
                ``initial`` has another shape; or x(0) is the image, so that there is no place for ``initial``.
        """
        if initial is not None and not self.has_stimulus:
            raise UserError("initial: with stimulus=false the image enters x(0), no other field can")
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.layers))
        check_divides(self.patch, images)
        c = self.stem(2 * images - 1)
        x = self.started(c, images, initial, draw, self.stem.weight.dtype) if self.has_stimulus else c
        traces = []
        for index, layer in enumerate(self.layers):
            if index:
                move = self.transitions[index - 1]
                x, c = move(x), move(c) if self.has_stimulus else c
            x, layer_trace = layer(
                x,
                c if self.has_stimulus else None,
                step_size=self.step_size,
                num_steps=steps[index],
                trace=trace,
            )
            traces.append(layer_trace)
            if self.has_stimulus:
                c = self.readouts[index](x)
        if not self.has_stimulus:
            c = self.readouts[0](x)
        return Features(c.mean(dim=(2, 3)), c, tuple(traces) if trace else None)


def check_steps(num_steps: int | Sequence[int], layers: int, counted_by: str = "kernel_sizes") -> tuple[int, ...]:
    """Return the number of steps of each layer, from one number for all or one per layer.

    Args:
        num_steps: as the recipe states it.
        layers: number of layers.
        counted_by: the option that sets the number of layers, for errors.

    Raises:
        UserError: a number is out of range, or their count is not that of the layers.
    """
    steps = one_a_layer("num_steps", num_steps, layers, counted_by)
    if min(steps) < 1 or max(steps) > MOST_STEPS:
        shown = num_steps if isinstance(num_steps, int) else list(num_steps)
        wanted = ">= 1" if min(steps) < 1 else f"at most {MOST_STEPS:,}"
        raise UserError(f"num_steps={shown}: must be {wanted} in every layer")
    return steps


def one_a_layer(key: str, value: T | Sequence[T], layers: int, counted_by: str = "kernel_sizes") -> tuple[T, ...]:
    """Return one value per layer, from one value for all layers or one per layer; a string is one value.

    Args:
        key: the option, for errors.
        value: as the recipe states it.
        layers: number of layers.
        counted_by: the option that sets the number of layers, for errors.

    Raises:
        UserError: the count of values is not that of the layers.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return (cast(T, value),) * layers
    if len(value) != layers:
        raise UserError(
            f"{key}={list(value)}: has {len(value)} {'entry' if len(value) == 1 else 'entries'} for {layers} "
            f"{'layer' if layers == 1 else 'layers'}; give one value for all layers or one a layer, as many as "
            f"{counted_by} {'has' if counted_by == 'kernel_sizes' else 'says'}"
        )
    return tuple(value)
