"""The twins of AKOrN without oscillators: iterated self-attention (ItrSA), iterated convolution (ItrConv), and a ViT.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), section 5 and figure 11. A block repeats one mixing layer with the same
weights T times, x <- x + mix(norm(x)), and then applies one MLP, x <- x + MLP(norm(x)). With T = 1 and attention, L
blocks are a plain transformer (ViT). Shapes: b batch, y x pixels or cells, c channels, h w grid, d features.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling, ConvCoupling
from sslkuramoto.dynamics.layer import Trace, group_norm
from sslkuramoto.dynamics.position import Positions, PositionTable
from sslkuramoto.dynamics.steps import Recomputing
from sslkuramoto.encoders.akorn import check_steps, one_a_layer
from sslkuramoto.encoders.board_inputs import BoardInputs, SymbolTable
from sslkuramoto.encoders.features import Features, check_divides, patch_grid
from sslkuramoto.encoders.oscillator_start import Start, StartedEncoder
from sslkuramoto.encoders.patch_akorn import Pool, pooled
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.values import Count, Kernel, Layers, Side, Steps, checked, small

Mixer = Literal["attention", "conv"]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each site of a map."""

    def forward(self, input: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the normalised map."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _norm(mixer: Mixer, channels: int) -> nn.Module:
    return ChannelNorm(channels) if mixer == "attention" else group_norm(channels)


class Block(Recomputing):
    """T times x <- x + mix(norm(x)), once x <- x + MLP(norm(x)); the MLP is 1 x 1, c to 2 c, GELU, to c.

    Args:
        channels: c.
        mixer: ``"attention"`` with LayerNorm, or ``"conv"`` with GroupNorm.
        kernel_size: side of a convolution's kernel in sites.
        heads: number of attention heads.
        positions: rotations inside the attention, see :class:`~sslkuramoto.dynamics.coupling.AttentionCoupling`.
        grid: h and w that rotations are made for.

    Raises:
        UserError: the heads or the groups do not divide the channels.
    """

    def __init__(
        self,
        channels: int,
        mixer: Mixer,
        *,
        kernel_size: int,
        heads: int,
        positions: Positions = "none",
        grid: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm, self.mlp_norm = _norm(mixer, channels), _norm(mixer, channels)
        inside = positions if positions in ("rope", "gta") else "none"
        self.mix = (
            AttentionCoupling(channels, heads, inside, grid)
            if mixer == "attention"
            else ConvCoupling(channels, kernel_size)
        )
        self.mlp = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1))

    def forward(self, x: Float[Tensor, "b c h w"], num_steps: int) -> Float[Tensor, "b c h w"]:
        """Return the map after ``num_steps`` mixing steps and the MLP."""
        mix = self.prepared(self.mix, x)
        x = self.iterate(lambda x: x + mix(self.norm(x)), x, num_steps)
        return x + self.mlp(self.mlp_norm(x))


class _Twin(StartedEncoder):
    """What twins of every input share: blocks on one grid or on halved grids, and a random start as an option."""

    def _blocks(
        self,
        widths: Sequence[int],
        mixers: Sequence[Mixer],
        kernels: Sequence[int],
        heads: int,
        positions: Positions,
        grid: tuple[int, int] | None,
    ) -> None:
        self.blocks = nn.ModuleList(
            Block(width, mixer, kernel_size=kernel, heads=heads, positions=positions, grid=grid)
            for width, mixer, kernel in zip(widths, mixers, kernels, strict=True)
        )
        self.start = Start("random", widths[0], seed=0)
        self.norm = _norm(mixers[-1], widths[-1])

    def _noise(
        self, x: Tensor, images: Tensor, given: Tensor | None, draw: torch.Generator | None
    ) -> Float[Tensor, "b c h w"] | None:
        """Return the noise of a random start, None for a start without."""
        return self.started(x, images, given, draw, x.dtype) if self.stochastic or given is not None else None


@small(image_size=16, patch=4, channels=16, attention_heads=2, num_steps=2)
@checked
class Iterative(_Twin):
    """ItrSA, ItrConv or ViT for images: a stem, blocks, a last norm. The defaults are ItrSA for CLEVRTex, L = 1.

    Args:
        image_size: side of the images in pixels that tables of positions are made for, divisible by ``patch``.
        patch: side of a patch in pixels. 1 gives a 3 x 3 convolution at full resolution, as AKOrN on CIFAR has.
        channels: C, width of the first layer.
        layers: L, number of blocks.
        widen: whether each block after the first is twice as wide, and the second and third on half the grid, as in
            AKOrN's classification network.
        num_steps: T, mixing steps per block: one number for all blocks, or one for each. ViT: 1.
        mixer: ``"attention"`` (ItrSA, ViT) or ``"conv"`` (ItrConv), for all blocks or for each.
        attention_heads: number of attention heads.
        kernel_size: side of a convolution's kernel in sites, odd; one for all blocks or one for each.
        positions: ``"ape"`` adds a trained table after the stem; ``"rope"`` and ``"gta"`` rotate inside the attention.
        pool: ``"max"`` or ``"mean"`` over the grid gives the feature vector.
        initial: ``"stimulus"`` starts from the stem's output; ``"random"`` adds noise, drawn at each call.

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 5 and figure 11. The random start:
        C-voting (2026, arXiv 2604.13521).

    Differs: the paper gives no number of groups for ItrConv's GroupNorm and no code for ItrConv; it is 8 here.
    """

    def __init__(
        self,
        *,
        image_size: Side = 128,
        patch: Count = 8,
        channels: Count = 256,
        layers: Layers = 1,
        widen: bool = False,
        num_steps: Steps | tuple[Steps, ...] = 8,
        mixer: Mixer | tuple[Mixer, ...] = "attention",
        attention_heads: Count = 8,
        kernel_size: Kernel | tuple[Kernel, ...] = 7,
        positions: Positions = "ape",
        pool: Pool = "max",
        initial: Literal["stimulus", "random"] = "stimulus",
    ) -> None:
        super().__init__()
        grid = patch_grid(image_size, patch)
        if widen and positions in ("rope", "gta"):
            raise UserError(f"positions={positions}: is for blocks on one grid; with widen=true it changes")
        self.patch = self.multiple_of = patch
        self.channels = channels
        self.pool: Pool = pool
        self.stochastic = initial == "random"
        self.initial = "random" if self.stochastic else "deterministic"
        self.num_steps = check_steps(num_steps, layers, "layers")
        widths = [channels * 2**layer if widen else channels for layer in range(layers)]
        self.num_features = widths[-1]
        self.stem = (
            nn.Conv2d(3, channels, 3, padding=1, bias=False)
            if patch == 1
            else nn.Conv2d(3, channels, patch, stride=patch)
        )
        self.place = PositionTable(channels, grid) if positions == "ape" else None
        self._blocks(
            widths,
            one_a_layer("mixer", mixer, layers, "layers"),
            one_a_layer("kernel_size", kernel_size, layers, "layers"),
            attention_heads,
            positions,
            grid,
        )
        self.transitions = nn.ModuleList(
            nn.Conv2d(narrow, wide, 3, stride=2 if layer < 2 else 1, padding=1)
            for layer, (narrow, wide) in enumerate(pairwise(widths))
            if widen
        )

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
            initial: noise that is added to the stem's output, one field per image or one for all (i = b or 1).
            draw: generator of the noise of ``initial="random"``.
            trace: ignored; there are no oscillators.
            num_steps: mixing steps of this call, for all blocks or for each, instead of the number in training.

        Returns:
            Features with d = ``num_features`` and the map after the last norm.

        Raises:
            UserError: the patch does not divide the images, or a random start got neither ``initial`` nor ``draw``.
        """
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.blocks), "layers")
        check_divides(self.patch, images)
        x = self.stem(2 * images - 1)
        noise = self._noise(x, images, initial, draw)
        x = x if noise is None else x + noise
        x = x if self.place is None else self.place(x)
        for index, block in enumerate(self.blocks):
            if index and self.transitions:
                x = self.transitions[index - 1](x)
            x = block(x, steps[index])
        x = self.norm(x)
        return Features(pooled(x, self.pool), x)


@small(side=4, symbols=4, channels=8, num_steps=2, attention_heads=2)
@checked
class BoardIterative(_Twin):
    """ItrSA or a transformer for boards: an embedding of each cell, blocks, a last norm. The defaults are ItrSA.

    Args:
        side: side of the board in cells; null: boards of any side, with ``positions="none"``; mazes
            then need a convolution.
        symbols: number of symbols that a cell of the solution can hold, numbered from 1.
        input_symbols: number of symbols of boards to be solved where none of their cells is blank: 4 of 5 in mazes.
            Null: cells hold 0 (blank) or one of ``symbols``.
        channels: C, width of every block.
        layers: L, number of blocks; the paper's transformer has 8 with ``num_steps=1``.
        num_steps: T, mixing steps per block: one number for all blocks, or one for each.
        mixer: ``"attention"`` or ``"conv"``.
        attention_heads: number of attention heads.
        kernel_size: side of a convolution's kernel in cells, odd; null: 2 * side - 1.
        positions: ``"ape"`` adds a trained table; ``"rope"`` and ``"gta"`` rotate inside the attention; ``"none"``
            (refused for mazes where all blocks attend: they cannot tell then which cells are neighbours).
        initial: ``"stimulus"`` starts from the embedding; ``"random"`` starts blank cells, of mazes free ones, from
            noise, drawn at each call.

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Miyato et al. 2025 (arXiv 2410.13821), section 5.2 and appendix C.2. The random start:
        C-voting (2026, arXiv 2604.13521).
    """

    reads: ClassVar[Reads] = (Boards,)
    inputs: BoardInputs

    def __init__(
        self,
        *,
        side: Side | None,
        symbols: Count,
        input_symbols: Count | None = None,
        channels: Count = 512,
        layers: Layers = 1,
        num_steps: Steps | tuple[Steps, ...] = 16,
        mixer: Mixer | tuple[Mixer, ...] = "attention",
        attention_heads: Count = 8,
        kernel_size: Kernel | None = None,
        positions: Positions = "ape",
        initial: Literal["stimulus", "random"] = "stimulus",
    ) -> None:
        super().__init__()
        self.inputs = BoardInputs(side, symbols, input_symbols).check()
        self.built_for = self.inputs.spec
        self.channels = self.num_features = channels
        self.stochastic = initial == "random"
        self.initial = "random" if self.stochastic else "deterministic"
        self.num_steps = check_steps(num_steps, layers, "layers")
        grid = None if side is None and positions == "none" else self.inputs.grid(f"positions={positions}")
        mixers: tuple[Mixer, ...] = one_a_layer("mixer", mixer, layers, "layers")
        self.inputs.check_places(blind="conv" not in mixers and positions == "none")
        if "conv" in mixers and kernel_size is None:
            self.inputs.grid("kernel_size=null")
        self.embedding = SymbolTable(self.inputs.entries, channels)
        self.place = PositionTable(channels, grid) if positions == "ape" and grid is not None else None
        kernels = [kernel_size or (1 if side is None else 2 * side - 1)] * layers
        self._blocks([channels] * layers, mixers, kernels, attention_heads, positions, grid)

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
            initial: noise from which blank cells start, one field per board or one for all (i = b or 1).
            draw: generator of the noise of ``initial="random"``.
            trace: ignored; there are no oscillators.
            num_steps: mixing steps of this call, for all blocks or for each, instead of the number in training.

        Returns:
            Features with d = ``channels`` and a map of one vector per cell, "b d y x".

        Raises:
            UserError: the boards have another side or other symbols, or a random start got neither ``initial`` nor
                ``draw``.
        """
        steps = self.num_steps if num_steps is None else check_steps(num_steps, len(self.blocks), "layers")
        x = self.embedding(self.inputs.entry(images)).permute(0, 3, 1, 2)
        noise = self._noise(x, images, initial, draw)
        if noise is not None:
            given = self.inputs.given(images).unsqueeze(1).to(x.dtype)
            x = given * x + (1 - given) * noise
        x = x if self.place is None else self.place(x)
        for block, number in zip(self.blocks, steps, strict=True):
            x = block(x, number)
        x = self.norm(x)
        return Features(x.mean(dim=(2, 3)), x)
