"""AKOrN on patches: L blocks of a Kuramoto layer and a readout on one grid, for images of any size.

Miyato et al. 2025, "Artificial Kuramoto Oscillatory Neurons" (AKOrN, arXiv 2410.13821), sections 4 and 5.1: the network
of object discovery. Shapes: b batch, y x pixels, c channels, n oscillator dimension, h w grid of patches, d features.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import Coupling, coupling_of
from sslkuramoto.dynamics.kuramoto import NaturalFrequency, frequencies_of
from sslkuramoto.dynamics.layer import KuramotoLayer, StimulusNorm, Trace, Update
from sslkuramoto.dynamics.position import Positions, PositionTable
from sslkuramoto.dynamics.step_size import add_step_size
from sslkuramoto.encoders.akorn import check_steps, one_a_layer
from sslkuramoto.encoders.features import Features, Sides, check_divides, patch_grid
from sslkuramoto.encoders.oscillator_start import Initial, Start, StartedEncoder
from sslkuramoto.encoders.readout import MapNorm, Readout, ReadoutMap
from sslkuramoto.values import Count, Kernel, Layers, NotNegative, Positive, Side, Steps, checked, small

Pool = Literal["max", "mean"]


@small(image_size=16, patch=4, channels=16, attention_heads=2, num_steps=2)
@checked
class PatchAKOrN(StartedEncoder):
    """An encoder of oscillators on a grid of image patches. The defaults are the published network for CLEVRTex, L = 1.

    Args:
        image_size: side of the images in pixels that tables of positions and learned starts are made for, divisible by
            ``patch``. Images of another size get the tables by interpolation.
        patch: side of a patch in pixels, p. The stem is one p x p convolution of stride p.
        channels: C, width of every layer, divisible by ``oscillator_dim``.
        layers: L, number of blocks.
        oscillator_dim: n, dimension of an oscillator; even with natural frequencies.
        num_steps: T, Kuramoto steps per layer: one number for all layers, or one for each.
        coupling: how oscillators act on each other, for all layers or for each: ``"attention"``, ``"conv"``, or
            symmetric (``"conv_symmetric"``, ``"dense_symmetric"``: J = J^T, for the theory of the energy), or
            ``"attention_symmetric"``, with the symmetric weights of appendix D.4.
        attention_heads: number of heads of an attention coupling.
        kernel_size: side of a convolution's kernel in sites, odd.
        positions: ``"none"``; ``"ape"`` adds a trained table to c and one to x; ``"rope"`` and ``"gta"`` rotate inside
            the attention.
        natural_frequency: ``"none"``, ``"shared"``, ``"per_pair"``, or ``"identity"``, as
            :class:`~sslkuramoto.encoders.akorn.AKOrN` explains. All published runs on objects have ``"identity"``,
            which halves a step of size 1.
        frequency_init: omega, the natural frequency before training, in radians per unit step.
        project: whether the drive is projected onto the tangent space.
        update: ``"kuramoto"``, or ``"residual"`` without projection and normalisation (ablation of AKOrN table 6).
        step_size: gamma, the Kuramoto step size, one for the network.
        learn_step_size: whether gamma is trained.
        stimulus_norm: how c is normalised on entry of each layer, ``"group"``, ``"scale_bias"`` or ``"none"``.
        readout_dim: dimension of the vectors whose length the readout takes; null: that of an oscillator.
        readout_kernel: side of the kernels of the readout and of g, odd.
        readout_norm: whether the readout takes the length of its vectors (false: ablation "no m").
        readout_map: g, the map from the readout to the next stimulus: ``"identity"``, ``"single"`` or ``"residual"``.
        readout_map_norm: normalisation within g.
        map_oscillators: whether a 1 x 1 convolution maps the oscillators between two blocks (``use_ro_x`` of the code).
        pool: ``"max"`` or ``"mean"`` over the grid gives the feature vector.
        initial: where the oscillators start: ``"random"``, ``"fixed"``, ``"stimulus"`` or ``"learned"``, as
            :class:`~sslkuramoto.encoders.akorn.AKOrN` explains.
        initial_seed: seed of the draw of initial="fixed", and of the untrained field of initial="learned".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), sections 4 and 5.1, appendix C.1.

    Example:
        >>> import torch
        >>> from sslkuramoto.randomness import generator
        >>> encoder = PatchAKOrN(image_size=32, patch=4, channels=16, attention_heads=2, num_steps=2).eval()
        >>> features = encoder(torch.rand(3, 3, 32, 32), draw=generator("cpu", 0))
        >>> tuple(features.pooled.shape), tuple(features.map.shape)
        ((3, 16), (3, 16, 8, 8))
    """

    has_energy: ClassVar[bool] = True
    normalises_initial: ClassVar[bool] = True
    oscillator_dim: int
    step_size: Tensor

    def __init__(
        self,
        *,
        image_size: Side = 128,
        patch: Count = 8,
        channels: Count = 256,
        layers: Layers = 1,
        oscillator_dim: Count = 4,
        num_steps: Steps | tuple[Steps, ...] = 8,
        coupling: Coupling | tuple[Coupling, ...] = "attention",
        attention_heads: Count = 8,
        kernel_size: Kernel = 7,
        positions: Positions = "gta",
        natural_frequency: NaturalFrequency = "identity",
        frequency_init: NotNegative = 1.0,
        project: bool = True,
        update: Update = "kuramoto",
        step_size: Positive = 1.0,
        learn_step_size: bool = False,
        stimulus_norm: StimulusNorm = "group",
        readout_dim: Annotated[int, Field(ge=1)] | None = None,
        readout_kernel: Kernel = 1,
        readout_norm: bool = True,
        readout_map: ReadoutMap = "identity",
        readout_map_norm: MapNorm = "none",
        map_oscillators: bool = False,
        pool: Pool = "max",
        initial: Initial = "random",
        initial_seed: int = 0,
    ) -> None:
        super().__init__()
        grid = patch_grid(image_size, patch)
        self.patch = self.multiple_of = patch
        self.channels = self.num_features = channels
        self.oscillator_dim = oscillator_dim
        self.pool: Pool = pool
        self.num_steps = check_steps(num_steps, layers, "layers")
        couplings: tuple[Coupling, ...] = one_a_layer("coupling", coupling, layers, "layers")
        self.initial = initial
        self.stochastic = initial == "random"
        self.stem = nn.Conv2d(3, channels, patch, stride=patch)
        self.place_x = PositionTable(channels, grid) if positions == "ape" else None
        self.place_c = PositionTable(channels, grid) if positions == "ape" else None
        self.layers = nn.ModuleList(
            KuramotoLayer(
                coupling_of(
                    kind, channels, kernel_size=kernel_size, heads=attention_heads, positions=positions, grid=grid
                ),
                channels=channels,
                oscillator_dim=oscillator_dim,
                frequencies=frequencies_of(natural_frequency, channels, frequency_init, learn=True),
                norm=stimulus_norm,
                project=project,
                identity=natural_frequency == "identity",
                update=update,
            )
            for kind in couplings
        )
        self.readouts = nn.ModuleList(
            Readout(
                channels,
                channels,
                dim=readout_dim or oscillator_dim,
                kernel_size=readout_kernel,
                take_norm=readout_norm,
                g=readout_map,
                g_norm=readout_map_norm,
            )
            for _ in couplings
        )
        self.oscillator_maps = nn.ModuleList(
            nn.Conv2d(channels, channels, 1) for _ in range(layers - 1 if map_oscillators else 0)
        )
        add_step_size(self, step_size, learn_step_size)
        self.start = Start(initial, channels, initial_seed, grid)
        if initial == "learned" or "dense_symmetric" in couplings:
            decides = "initial=learned" if initial == "learned" else "coupling=dense_symmetric"
            self.sides = Sides(only=image_size, options=f"{decides}, image_size={image_size}")

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
            initial: initial oscillators on the grid of patches, one field per image or one for all (i = b or 1).
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies.
            num_steps: Kuramoto steps of this call, for all layers or for each, instead of the number in training.

        Returns:
            Features with d = ``channels``. The map is the last readout, one vector per patch.

        Raises:
            UserError: the patch does not divide the images, or a stochastic encoder got neither ``initial`` nor
                ``draw``.
        """
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.layers), "layers")
        check_divides(self.patch, images)
        c = self.stem(2 * images - 1)
        x = self.started(c, images, initial, draw, self.stem.weight.dtype)
        if self.place_x is not None and self.place_c is not None:
            x, c = self.place_x(x), self.place_c(c)
        traces = []
        for index, (layer, readout) in enumerate(zip(self.layers, self.readouts, strict=True)):
            x, layer_trace = layer(x, c, step_size=self.step_size, num_steps=steps[index], trace=trace)
            traces.append(layer_trace)
            c = readout(x)
            if index < len(self.oscillator_maps):
                x = self.oscillator_maps[index](x)
        return Features(pooled(c, self.pool), c, tuple(traces) if trace else None)


def pooled(grid: Float[Tensor, "b d h w"], pool: Pool) -> Float[Tensor, "b d"]:
    """Return the maximum or the mean of the map over its grid."""
    return grid.amax(dim=(2, 3)) if pool == "max" else grid.mean(dim=(2, 3))
