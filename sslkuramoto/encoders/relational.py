"""The relational network: a CNN for each picture, oscillators that bind the pictures of a pair, coherence as output.

The poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz, Altabaa and
Lafferty); the CNN is that of ESBN (Webb et al. 2021, arXiv 2012.14601).
Shapes: b batch, p pictures per example (2 or 6), y x pixels, d features of a picture, n oscillator dimension, c = d n
channels of the oscillators, k = p / 2 pairs of an example, t Kuramoto steps.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from sslkuramoto.dynamics.binding import PairCoupling, coherence, descending_step
from sslkuramoto.dynamics.kuramoto import NaturalFrequencies
from sslkuramoto.dynamics.layer import KuramotoLayer, LayerTrace, Trace
from sslkuramoto.dynamics.sphere import random_oscillators
from sslkuramoto.encoders.akorn import check_steps
from sslkuramoto.encoders.features import Encoder, Features, Sides
from sslkuramoto.encoders.oscillator_start import Start
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images, Pairs, Reads
from sslkuramoto.randomness import normal, without_memory
from sslkuramoto.values import Count, NotNegative, Positive, Side, Steps, checked, small

Pictures = Literal[2, 6]
Group = Annotated[int, Field(ge=2)]


class PairEncoder(Encoder):
    """What encoders of pairs share: the CNN that turns each picture into features.

    Weights in front of a ReLU start as Kaiming normal, those of the last layer as Xavier normal, biases at 0.

    Args:
        size: side of the pictures in pixels.
        pictures: p.
        channels: of the convolutions.
        hidden: width of the hidden layer.
        outputs: number of features of a picture.
        normalise: whether features have mean 0 and variance 1 over a batch.

    Raises:
        UserError: three convolutions of stride 2 do not fit the size.
    """

    reads: ClassVar[Reads] = (Pairs,)
    sides = Sides()

    def __init__(
        self, size: int, pictures: Pictures, channels: int, hidden: int, outputs: int, normalise: bool
    ) -> None:
        super().__init__()
        if size % 8:
            raise UserError(f"size={size}: must be divisible by 8, for three convolutions of stride 2")
        self.built_for = Pairs(Images(size), pictures)
        self.size, self.pictures = size, pictures
        self.cnn = nn.Sequential(
            *(nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 4, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(channels * (size // 8) ** 2, hidden), nn.ReLU()),
            *(nn.Linear(hidden, outputs), nn.BatchNorm1d(outputs, affine=False) if normalise else nn.Identity()),
        )
        if without_memory():  # to find that there is nothing to draw, torch would load its compiler
            return
        *inner, last = (part for part in self.cnn if isinstance(part, nn.Conv2d | nn.Linear))
        for part in inner:
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        nn.init.xavier_normal_(last.weight)
        for part in (*inner, last):
            assert part.bias is not None
            nn.init.zeros_(part.bias)

    def of_pictures(self, images: Float[Tensor, "b p 3 y x"]) -> Float[Tensor, "b p f"]:
        """Return the features of every picture.

        Raises:
            UserError: pictures of another number or size.
        """
        wanted = (self.pictures, 3, self.size, self.size)
        if tuple(images.shape[1:]) != wanted:
            raise UserError(f"examples of shape {tuple(images.shape[1:])}: this encoder was built for {wanted}")
        return self.cnn(images.flatten(0, 1)).unflatten(0, images.shape[:2])


@small(size=16, channels=4, hidden=8, dimensions=4, num_steps=2)
@checked
class Relational(PairEncoder):
    """An encoder of pairs of pictures whose output is how coherent their oscillators have become.

    Each picture i becomes D features E_i by a CNN: three 4 x 4 convolutions of stride 2, a hidden layer, a linear
    layer. Each feature drives one oscillator by c_{i,d} = W_d E_i[d] + b_d. The oscillators of both pictures run T
    Kuramoto steps; rho_d = |x_{1,d} + x_{2,d}| is all that is passed on.

    Args:
        size: side of the pictures in pixels, divisible by 8.
        pictures: p, pictures per example: 2, or 6 for match-to-sample, which are three pairs. The weights are the same.
        channels: of the convolutions.
        hidden: width of the hidden layer.
        dimensions: D, oscillators per picture.
        normalise: whether features are normalised over the batch (BatchNorm without weights, as W and b are there).
        oscillator_dim: N, dimension of an oscillator; even with natural frequencies.
        num_steps: T, Kuramoto steps. It may be larger at test time with the same weights.
        between: whether the oscillators of one picture act on those of the other (J_out).
        symmetric: whether J_in and J_out are symmetric, as the poster's energy needs.
        natural_frequency: whether oscillators rotate by themselves (Omega_d, the same for both pictures).
        frequency_init: root mean square of the natural frequencies before training, radians per unit step.
        learn_frequency: whether they are trained.
        step_size: gamma, the step size.
        learn_step_size: whether gamma is trained.
        initial: where the oscillators start: ``"random"`` (a new draw at each call), ``"fixed"`` (one draw from
            ``initial_seed`` for all examples and calls) or ``"stimulus"`` (c).
        initial_seed: seed of the draw of initial="fixed".

    Raises:
        UserError: a value is out of range, or values do not fit together.

    Source: Veliz, Altabaa and Lafferty (poster); Webb et al. 2021 (arXiv 2012.14601) for the CNN.

    Differs: the poster states no N, D, gamma, initial values, nor T of training, and no normalisation of E. Without it,
        or with b as large as W at the start, nothing was learned in 16 epochs. Omega_d rotates planes of two
        coordinates; that is any skew-symmetric matrix up to a rotation of each oscillator, which W, b and J absorb.
    """

    has_energy: ClassVar[bool] = True
    gives_coherence: ClassVar[bool] = True
    normalises_initial: ClassVar[bool] = True
    oscillator_dim: int

    def __init__(
        self,
        *,
        size: Side = 32,
        pictures: Pictures = 2,
        channels: Count = 32,
        hidden: Count = 256,
        dimensions: Count = 64,
        normalise: bool = True,
        oscillator_dim: Group = 2,
        num_steps: Steps = 8,
        between: bool = True,
        symmetric: bool = False,
        natural_frequency: bool = True,
        frequency_init: NotNegative = 0.1,
        learn_frequency: bool = True,
        step_size: Positive = 0.5,
        learn_step_size: bool = False,
        initial: Literal["random", "fixed", "stimulus"] = "random",
        initial_seed: int = 0,
    ) -> None:
        super().__init__(size, pictures, channels, hidden, dimensions, normalise)
        width = dimensions * oscillator_dim
        self.num_features = dimensions * (pictures // 2)
        self.oscillator_dim = oscillator_dim
        self.num_steps = check_steps(num_steps, 1)
        self.initial, self.stochastic = initial, initial == "random"
        self.drive = nn.Parameter(torch.randn(dimensions, oscillator_dim))
        # b is small beside W: with drives that point nearly the same way coherences are near 2 for all pairs, where
        # they have no slope
        self.drive_bias = nn.Parameter(normal(dimensions, oscillator_dim, std=0.3))
        frequencies = None
        if natural_frequency:
            frequencies = NaturalFrequencies(-(-width // 2), frequency_init, learn_frequency)
            if not without_memory():
                nn.init.normal_(frequencies.vector, std=frequency_init / 2**0.5)  # they shall be diverse
        self.layer = KuramotoLayer(
            PairCoupling(width, between=between, symmetric=symmetric),
            channels=width,
            oscillator_dim=oscillator_dim,
            frequencies=frequencies,
            norm="none",
            project=True,
        )
        gamma = torch.tensor(float(step_size))
        self.step_size: Tensor
        if learn_step_size:
            self.step_size = nn.Parameter(gamma)
        else:
            self.register_buffer("step_size", gamma, persistent=False)
        self.start = Start(initial, width, initial_seed)

    def forward(
        self,
        images: Float[Tensor, "b p 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
        num_steps: int | Sequence[int] | None = None,
    ) -> Features:
        """Encode pairs; see :meth:`Encoder.forward`.

        Args:
            images: pictures of each example, pixels in [0, 1].
            initial: initial oscillators, one field per example or one for all (i = b or 1). n consecutive channels are
                an oscillator, the pictures are the rows of the grid.
            draw: generator from which ``initial="random"`` draws when ``initial`` is None here.
            trace: whether to record states and energies, or ``"energy"``: the energies only. There is one layer:
                ``trace[0].states`` is "t b c p 1", laid out as ``initial``; ``trace[0].energy`` is "t+1 b", before the
                first step and after each, of three pairs added up.
            num_steps: Kuramoto steps of this call instead of the number in training.

        Returns:
            Features. Pooled: the coherences "b d", of six pictures "b (3 d)", pair by pair. Map: the oscillators after
            the last step, "b c p 1".

        Raises:
            UserError: pictures of another number or size, or a stochastic encoder got neither ``initial`` nor ``draw``.
        """
        stimulus = self.stimulus(images)
        steps = self.num_steps if num_steps is None else check_steps(num_steps, 1)
        if initial is None:
            initial = self.fixed_initial(images)
            if self.stochastic and draw is not None:
                initial = self.sample_initial(images, draw).to(stimulus.device)
        x = self.start(stimulus, initial, self.drive.dtype)
        x, found = self.layer(
            pair_by_pair(x), pair_by_pair(stimulus), step_size=self.step_size, num_steps=steps[0], trace=trace
        )
        pooled = coherence(x, self.oscillator_dim).view(len(images), -1)
        return Features(pooled, self._together(x), None if found is None else (self._joined(found),))

    def stimulus(self, images: Float[Tensor, "b p 3 y x"]) -> Float[Tensor, "b c p 1"]:
        """Return c_{i,d} = W_d E_i[d] + b_d of every picture.

        Raises:
            UserError: pictures of another number or size.
        """
        driven = self.of_pictures(images).unsqueeze(3) * self.drive + self.drive_bias  # b p d n
        return driven.flatten(2).transpose(1, 2).unsqueeze(3)

    def descending_step(self, images: Float[Tensor, "b p 3 y x"]) -> Float[Tensor, " b"]:
        """Return, for each example, the largest step size with which no step is known to raise the energy.

        It holds for ``symmetric`` without natural frequencies only, see
        :func:`~sslkuramoto.dynamics.binding.descending_step`.

        Raises:
            UserError: the coupling is not symmetric, or there are natural frequencies.
        """
        coupling = self.layer.coupling
        assert isinstance(coupling, PairCoupling)
        if not coupling.symmetric or self.layer.frequencies is not None:
            raise UserError("an energy that falls needs symmetric=true and natural_frequency=false")
        stimulus = pair_by_pair(self.stimulus(images))
        return descending_step(coupling, stimulus, self.oscillator_dim).view(len(images), -1).amin(dim=1)

    def sample_initial(self, images: Float[Tensor, "b p 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c p 1"]:
        """Draw initial oscillators, standard normal, on the generator's device."""
        return random_oscillators((len(images), self.start.channels, self.pictures, 1), draw)

    def fixed_initial(self, images: Float[Tensor, "b p 3 y x"]) -> Float[Tensor, "1 c p 1"] | None:
        """Return the field of ``initial="fixed"``, and None otherwise."""
        return self._fixed().to(images.device) if self.initial == "fixed" else None

    def _fixed(self) -> Float[Tensor, "1 c p 1"]:
        """Return the field of two pictures for every pair: with six pictures each pair starts as it does alone."""
        return self.start.fixed((2, 1)).repeat(1, 1, self.pictures // 2, 1)

    def _together(self, x: Float[Tensor, "bk c 2 1"]) -> Float[Tensor, "b c p 1"]:
        """Return the pairs of an example as rows of one grid: undoes :func:`pair_by_pair`."""
        return x.unflatten(0, (-1, self.pictures // 2)).transpose(1, 2).flatten(2, 3)

    def _joined(self, trace: LayerTrace) -> LayerTrace:
        """Return the trace of examples from that of their pairs."""
        states = trace.states.unflatten(1, (-1, self.pictures // 2)).transpose(2, 3).flatten(3, 4)
        energies = (each.unflatten(1, (-1, self.pictures // 2)).sum(dim=2) for each in trace[1:])
        return LayerTrace(states, *energies)


def pair_by_pair(x: Float[Tensor, "b c p 1"]) -> Float[Tensor, "bk c 2 1"]:
    """Return the pairs of all examples as examples of their own."""
    return x.unflatten(2, (-1, 2)).transpose(1, 2).flatten(0, 1)


@small(size=16, channels=4, hidden=8, dimensions=4)
@checked
class RelationalControl(PairEncoder):
    """A network like the relational one, of the same CNN, without oscillators.

    Args:
        size: side of the pictures in pixels, divisible by 8.
        pictures: p, pictures per example: 2, or 6 for match-to-sample, which are three pairs. The weights are the same.
        channels: of the convolutions.
        hidden: width of the hidden layer; a larger one makes up for the weights of the coupling.
        dimensions: D, cosines of a pair, or features of a picture.
        normalise: whether features are normalised over the batch (BatchNorm without weights).
        oscillator_dim: N, features of each picture from which one cosine is computed. Unused by "concatenated".
        compare: ``"cosine"`` passes on cos(E_{1,d}, E_{2,d}) of D groups of N features, a relational bottleneck of the
            same width without dynamics; ``"concatenated"`` passes on the D features of all pictures.

    Raises:
        UserError: a value is out of range.
    """

    def __init__(
        self,
        *,
        size: Side = 32,
        pictures: Pictures = 2,
        channels: Count = 32,
        hidden: Count = 256,
        dimensions: Count = 64,
        normalise: bool = True,
        oscillator_dim: Group = 2,
        compare: Literal["cosine", "concatenated"] = "cosine",
    ) -> None:
        of_a_picture = dimensions * oscillator_dim if compare == "cosine" else dimensions
        super().__init__(size, pictures, channels, hidden, of_a_picture, normalise)
        self.compare = compare
        self.group = oscillator_dim
        self.num_features = dimensions * (pictures // 2 if compare == "cosine" else pictures)

    def forward(
        self,
        images: Float[Tensor, "b p 3 y x"],
        *,
        initial: Tensor | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
    ) -> Features:
        """Encode pairs; see :meth:`Encoder.forward`.

        Args:
            images: pictures of each example, pixels in [0, 1].
            initial: must be None, for there are no oscillators.
            draw: has no effect.
            trace: has no effect.

        Returns:
            Features. Pooled: the cosines "b d", of six pictures "b (3 d)", pair by pair; or the features of all
            pictures, "b (p d)". Map: the same, "b d 1 1".

        Raises:
            UserError: pictures of another number or size, or ``initial`` is given.
        """
        if initial is not None:
            raise UserError("initial: this encoder has no oscillators")
        features = self.of_pictures(images)
        if self.compare == "cosine":
            first, second = features.unflatten(2, (-1, self.group)).unflatten(1, (-1, 2)).unbind(2)
            features = nn.functional.cosine_similarity(first, second, dim=-1)
        pooled = features.flatten(1)
        return Features(pooled, pooled[:, :, None, None])
