"""The contract of an encoder: it maps images with pixels in [0, 1], or another kind of example, to :class:`Features`.

Shapes: b batch, c channels, h w grid of the map, t Kuramoto steps, d features, y x pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from sslkuramoto.dynamics.layer import LayerTrace, Trace
from sslkuramoto.encoders.board_inputs import BoardInputs
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images, Reads, Spec, check_reads

UNTRAINED = "the encoder is untrained: the objective froze its random weights (no init), only the head was trained"


class Features(NamedTuple):
    """The output of an encoder.

    Attributes:
        pooled: one feature vector per image.
        map: the feature map from which ``pooled`` was computed.
        trace: states and energies, one entry per Kuramoto layer; None unless requested and the encoder has dynamics.
    """

    pooled: Float[Tensor, "b d"]
    map: Float[Tensor, "b d h w"]
    trace: tuple[LayerTrace, ...] | None = None


class Sides(NamedTuple):
    """The sides of images that an encoder takes.

    Attributes:
        least: the smallest one, pixels.
        only: the one that the weights fit, pixels; None if there is no such limit.
        options: the options that decide this, for errors: ``"group_size=4"``.
    """

    least: int = 1
    only: int | None = None
    options: str = ""

    def check(self, part: str, source: str, spec: Spec) -> None:
        """Check the side of a source's examples; arguments as of :func:`check_takes`."""
        if self.only not in (None, spec.side):
            taken = f"{self.only} pixels"
        elif spec.side < self.least:
            taken = f"at least {self.least} pixels"
        else:
            return
        raise UserError(f"{part}, {self.options}: takes {spec.kind} of {taken}; {source} gives {spec}")


def patch_grid(image_size: int, patch: int) -> tuple[int, int]:
    """Return the grid of patches of a square image.

    Raises:
        UserError: the patch does not divide the image.
    """
    if image_size % patch:
        raise UserError(f"patch={patch}: does not divide image_size={image_size}")
    return image_size // patch, image_size // patch


def check_divides(patch: int, images: Float[Tensor, "b 3 y x"]) -> None:
    """Check that patches cover the images.

    Raises:
        UserError: they do not.
    """
    if images.shape[2] % patch or images.shape[3] % patch:
        raise UserError(f"images of {images.shape[2]} x {images.shape[3]} pixels: patch={patch} does not divide them")


class Encoder(nn.Module):
    """Base class of encoders.

    Attributes:
        num_features: d, the length of ``Features.pooled``.
        reads: the kinds of examples that ``forward`` accepts.
        built_for: the only spec that the weights fit, for example boards of one side; None if there is no such limit.
        inputs: symbols and side of the boards that ``forward`` accepts; None for an encoder of other examples.
        stochastic: whether two calls on the same images may differ. Every call then needs ``initial`` or ``draw``.
        initial: how the oscillators start, the word that results state; "deterministic" without oscillators.
        oscillator_dim: n, dimension of an oscillator; None without oscillators.
        multiple_of: the sides of images must be multiples of this number of pixels, such as the side of a patch.
        sides: which sides of images it takes beyond that; None for a network of which only a forward pass tells, as of
            timm: the check of a recipe then makes one without memory.
        num_steps: steps of each iterated layer in training; empty for a network that does not iterate. If it is not
            empty, ``forward`` takes ``num_steps=``: other numbers of steps for one call, for all layers or for each.
        normalises_initial: whether ``initial`` may have any length, of which only the direction counts; otherwise it is
            noise that has a size.
        initial_scale: radians of an initial phase for each unit of ``initial``; None where ``initial`` is no noise of
            phases.
        draws_share_passes: whether several draws may share one call, which gets copies of the images and the fields of
            each draw from ``sample_initial``. True only where that gives what calls with ``draw`` give, is not slower,
            and no answer depends on other images of the batch or on earlier calls.
        has_energy: whether the trace holds the energy of the states, as of oscillators.
        gives_coherence: whether ``Features.pooled`` holds the coherences of pairs of oscillators, in [0, 2].
        gives: what ``Features.pooled`` holds: "features", or "logits" for a whole classifier of the user's own.
        notes: sentences that a reader of its results must know.
        untrained: whether its weights are random, because the run that left it froze them (:data:`UNTRAINED`).
    """

    num_features: int
    reads: ClassVar[Reads] = (Images,)
    built_for: Spec | None = None
    inputs: BoardInputs | None = None
    stochastic: bool = False
    initial: str = "deterministic"
    oscillator_dim: int | None = None
    multiple_of: int = 1
    sides: Sides | None = None
    num_steps: tuple[int, ...] = ()
    normalises_initial: ClassVar[bool] = False
    initial_scale: float | None = None
    draws_share_passes: bool = False
    has_energy: ClassVar[bool] = False
    gives_coherence: ClassVar[bool] = False
    gives: Literal["features", "logits"] = "features"
    notes: Sequence[str] = ()
    untrained: bool = False

    @classmethod
    def pretrained(cls, options: Mapping[str, Any]) -> bool:
        """Return whether these options start from trained weights. By default: whether they name a file of weights."""
        return cls.weight_file(options) is not None

    @classmethod
    def weight_file(cls, options: Mapping[str, Any]) -> str | None:
        """Return the file of trained weights that these options name. A study trains anew where its content changed."""
        return None

    @classmethod
    def rebuilt(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options that build an encoder for weights already at hand, so that nothing else is loaded.

        The options may come from an untrusted file. Published weights (an option ``pretrained``) are not downloaded.

        Args:
            options: as saved with the weights.
        """
        return {key: value if key != "pretrained" else False for key, value in options.items()}

    def forward(
        self,
        images: Shaped[Tensor, "b ..."],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
    ) -> Features:
        """Encode images with pixels in [0, 1], or the other kind of example that the encoder reads.

        Args:
            images: "b 3 y x", pixels in [0, 1], which the encoder itself normalises; or inputs of another spec.
            initial: initial oscillators, one field per image or one for all (i = b or 1): of any length, where
                ``normalises_initial`` says that they are normalised, else the noise of a random start, which has a
                size.
            draw: generator from which a stochastic encoder draws its initial oscillators when ``initial`` is None.
            trace: whether to return the states and energies of every Kuramoto step, or ``"energy"``: the energies only.

        Returns:
            Features with one vector of length ``num_features`` per image.
        """
        raise NotImplementedError

    def sample_initial(self, images: Shaped[Tensor, "b ..."], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw initial oscillators for ``images``: standard normal numbers, before they are normalised or scaled."""
        raise NotImplementedError

    def fixed_initial(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "1 c h w"] | None:
        """Return the one field from which every call on images of this shape starts; None if there is none."""
        return None


def check_takes(part: str, encoder: Encoder, source: str, spec: Spec) -> None:
    """Check that an encoder takes the examples of a source, from what both declare.

    Args:
        part: the encoder as errors name it: ``"encoder akorn"``.
        encoder: its weights are not read.
        source: kind and name of the source, such as ``"data sudoku"``.
        spec: of the source's examples.

    Raises:
        UserError: another kind of examples, another spec than the one that the weights fit, or sides that are too small
            or that the patches do not divide.
    """
    check_reads(part, encoder.reads, source, spec)
    wanted = encoder.built_for if encoder.inputs is None else encoder.inputs.at(spec.side)
    if wanted not in (None, spec):
        raise UserError(f"{part} is built for {wanted}; {source} gives {spec}")
    if spec.unsized:
        return
    if spec.side % encoder.multiple_of:
        raise UserError(
            f"{part} takes {spec.kind} of a multiple of {encoder.multiple_of} pixels; {source} gives {spec}"
        )
    if encoder.sides is not None:
        encoder.sides.check(part, source, spec)


def one_field(
    encoder: Encoder, images: Shaped[Tensor, "b ..."], draw: torch.Generator
) -> Float[Tensor, "1 c h w"] | None:
    """Draw one field of initial oscillators for all of ``images``; None for an encoder that draws nothing.

    Features under one field differ between images only because the images differ.
    """
    return encoder.sample_initial(images[:1], draw) if encoder.stochastic else None


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Restore the train or eval mode of every submodule when the context ends."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def buffers_kept(*modules: nn.Module) -> Iterator[None]:
    """Give every buffer its value back afterwards: passes in train mode move the statistics of BatchNorm."""
    parts = {part for module in modules for part in module.modules()}
    kept = [(part, name, each, each.clone()) for part in parts for name, each in part.named_buffers(recurse=False)]
    try:
        yield
    finally:
        with torch.no_grad():
            for part, name, buffer, value in kept:
                same_shape = buffer.shape == value.shape
                part._buffers[name] = buffer if same_shape else value  # a network may have put another in its place
                if same_shape and not torch.allclose(buffer, value, rtol=0, atol=0, equal_nan=True):
                    buffer.copy_(value)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Within this context the parameters receive no gradient; their ``requires_grad`` is restored afterwards.

    Raises:
        UserError: tensors that were made in inference mode, through which torch takes no gradient.
    """
    if any(each.is_inference() for module in modules for each in (*module.parameters(), *module.buffers())):
        raise UserError(
            "the network's weights were made in torch.inference_mode(), so no gradient passes them: make, load "
            "or copy (copy.deepcopy) the network outside it"
        )
    trained = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
