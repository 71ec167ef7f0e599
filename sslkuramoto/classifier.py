"""An encoder and a head as one classifier, with an explicit choice of the initial oscillators.

AKOrN as published draws new oscillators at every forward pass (``random``). ``fixed`` starts every image from the same
seeded field, ``fixed_per_image`` each image from a seeded field of its own. ``averaged`` takes the mean logits of K
draws (``ensemble=K`` of the published code). A *draw* is one sample of the initial oscillators.

Shapes: b batch, c channels, h w grid, y x pixels, q classes, k draws, n images.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.encoders.features import frozen as frozen  # for who attacks a classifier
from sslkuramoto.errors import UserError
from sslkuramoto.heads import taken
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import Key, borrowed_global, generator

Initial = Literal["random", "fixed", "fixed_per_image", "averaged"]

SHARED_ROWS = 64
"""Most rows, images times draws, of a pass that several fresh draws share (docs/performance.md)."""
REORDERED = 1e-3
"""Largest difference of two calls on CUDA, as a share of the largest logit, for the median image. The order of atomic
sums is not fixed there, and oscillators magnify rounding errors on single images."""


class Classifier(nn.Module):
    """Maps images with pixels in [0,1], or other inputs of the encoder, to logits.

    Args:
        encoder: put into eval mode.
        head: maps the features that it ``takes`` (:mod:`~sslkuramoto.heads`) to logits: the pooled features or, for
            each cell, the map.
        mode: "random": new oscillators at every forward pass; "fixed": one seeded field for all images and calls;
            "fixed_per_image": one seeded field per image, the same at every call, which requires the indices of the
            images (:meth:`at`); "averaged": mean logits over ``draws`` draws. A deterministic encoder ignores it.
        seed: keys the random stream and the fixed fields.
        draws: number of draws averaged in mode "averaged".
        held: whether those draws are the same at every forward pass (the classifier is then deterministic) or fresh.

    Attributes:
        stochastic: whether two calls on the same images may differ.
    """

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        mode: Initial = "random",
        *,
        seed: int = 0,
        draws: int = 8,
        held: bool = False,
    ) -> None:
        super().__init__()
        if draws < 1:
            raise UserError(f"average={draws}: must be at least 1")
        self.encoder = encoder
        self.head = head
        self.mode = mode
        self.seed = seed
        self.draws = draws
        self.held = held
        self._stream: dict[torch.device, torch.Generator] = {}
        self._stream_key: tuple[Key, ...] = ("stream",)
        self._fields: dict[tuple, Float[Tensor, "1 c h w"]] = {}
        self._index: Int64[Tensor, " b"] | None = None  # of the images it is bound to, and their states
        self._states: Float[Tensor, "b c h w"] | None = None
        self.eval()

    @property
    def stochastic(self) -> bool:
        return self.encoder.stochastic and (self.mode == "random" or (self.mode == "averaged" and not self.held))

    @property
    def starts(self) -> int:
        """Forward passes of the encoder in one call."""
        return self.draws if self.encoder.stochastic and self.mode == "averaged" else 1

    def at(self, index: Int64[Tensor, " b"]) -> "Classifier":
        """Return a view of this classifier that is bound to a batch of known images.

        Args:
            index: of each image in its data set; used in mode "fixed_per_image" only.
        """
        if not self._needs_index:
            return self
        bound = copy.copy(self)
        bound._index, bound._states = index.cpu(), None
        return bound

    def of(self, rows: Int64[Tensor, " r"] | Bool[Tensor, " b"]) -> "Classifier":
        """Return the classifier bound to some rows of the batch that :meth:`at` bound it to."""
        if self._index is None:
            return self
        bound = self.at(self._index[rows.cpu()])
        if self._states is not None:
            bound._states = self._states[rows.to(self._states.device)]
        return bound

    @property
    def bound(self) -> bool:
        """Whether it holds one state for each image of a batch (:meth:`at`)."""
        return self._index is not None

    @property
    def _needs_index(self) -> bool:
        return self.encoder.stochastic and self.mode == "fixed_per_image"

    def restart(self, *key: Key) -> None:
        """Begin a new random stream, keyed by ``key``, so that a measurement can be repeated."""
        self._stream_key = ("stream", *key)
        self._stream.clear()

    def forward(
        self,
        images: Shaped[Tensor, "b ..."],
        *,
        initial: Float[Tensor, "b c h w"] | None = None,
        draw: torch.Generator | None = None,
    ) -> Float[Tensor, "b q ..."]:
        """Classify images.

        Args:
            images: pixels in [0,1] "b 3 y x", or another input of the encoder.
            initial: initial oscillators, one state per image; overrides the mode.
            draw: generator of fresh oscillators that replaces the classifier's own stream.
        """
        if initial is not None:
            return self._logits(self.encoder(images, initial=initial))
        if not self.encoder.stochastic:
            return self._logits(self.encoder(images))
        if self.mode == "fixed":
            return self._logits(self.encoder(images, initial=self.field(images)))
        if self.mode == "fixed_per_image":
            return self._logits(self.encoder(images, initial=self._own_states(images)))
        if self.mode == "averaged" and self.held:
            fields = (self.field(images, k) for k in range(self.draws))
            return self._mean([self.encoder(images, initial=field) for field in fields])
        draw = self._own_stream(images.device) if draw is None else draw
        return self._mean([self.encoder(images, draw=draw) for _ in range(self.starts)])

    def over_draws(
        self, images: Shaped[Tensor, "b ..."], draws: Sequence[torch.Generator]
    ) -> Float[Tensor, "k b q ..."]:
        """Classify images under several draws, which share passes of :data:`SHARED_ROWS` rows where the encoder can.

        Args:
            images: as for a call.
            draws: the generator of each draw, on the device of the images; a deterministic classifier gives the same
                logits for all.

        Returns:
            The logits of one call for each draw, up to rounding.
        """
        together = SHARED_ROWS // max(1, len(images))
        if together < 2 or not (self.stochastic and self.encoder.draws_share_passes):
            return torch.stack([self(images, draw=draw) for draw in draws])
        each, logits = [draw for draw in draws for _ in range(self.starts)], []
        for first in range(0, len(each), together):
            fields = [self.encoder.sample_initial(images, draw) for draw in each[first : first + together]]
            rows = images.repeat(len(fields), *(1 for _ in images.shape[1:]))
            logits.append(self(rows, initial=torch.cat(fields)))
        return torch.cat(logits).unflatten(0, (len(draws), self.starts, len(images))).mean(dim=1)

    def _logits(self, features: Features) -> Float[Tensor, "b q ..."]:
        """Apply the head to the features that it takes."""
        return self.head(taken(self.head, features.pooled, features.map))

    def _mean(self, found: list[Features]) -> Float[Tensor, "b q ..."]:
        logits = [self._logits(features) for features in found]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)

    def _own_stream(self, device: torch.device) -> torch.Generator:
        if device not in self._stream:
            self._stream[device] = generator(device, self.seed, *self._stream_key)
        return self._stream[device]

    @torch.no_grad()
    def field(self, images: Float[Tensor, "b 3 y x"], *name: Key) -> Float[Tensor, "i c h w"]:
        """Return a fixed initial state for images of this shape, the same for all images of one device.

        Args:
            images: give the shape.
            name: which state; none for that of mode "fixed".
        """
        key = (name, tuple(images.shape[1:]), images.device)
        if key not in self._fields:
            draw = generator(images.device, self.seed, "fixed", *(name or (0,)))
            self._fields[key] = self.encoder.sample_initial(images[:1].detach(), draw)
        return self._fields[key]

    def _own_states(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b c h w"]:
        assert self._index is not None, "fixed_per_image: the images that these states belong to were not given"
        assert len(self._index) == len(images), f"{len(images)} images for {len(self._index)} states"
        if self._states is None:
            draws = (generator(images.device, self.seed, "fixed", "image", int(index)) for index in self._index)
            one = images[:1].detach()
            self._states = torch.cat([self.encoder.sample_initial(one, draw) for draw in draws])
        return self._states


@torch.no_grad()
def differences_of_two_calls(classifier: Classifier, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, " b"]:
    """Return the difference of each image's logits in two calls, as a share of the largest logit.

    The calls are made under different states of the global generators, which are restored: a deterministic network must
    not draw from them.

    Args:
        classifier: not stochastic; in mode "fixed_per_image" bound to the images.
        images: the same in both calls.
    """
    logits = []
    for call in range(2):
        with borrowed_global(generator(images.device, classifier.seed, "two calls", call)):
            logits.append(classifier(images).double())
    return logits_apart(*logits)


def logits_apart(first: Float[Tensor, "b q"], second: Float[Tensor, "b q"]) -> Float[Tensor, " b"]:
    """Return the difference of two sets of logits for each image, as a share of the largest logit of the first set."""
    first, second = first.double(), second.double()
    same = (first == second) | (first.isnan() & second.isnan())
    apart = (first - second).abs().nan_to_num(nan=torch.inf, posinf=torch.inf).where(~same, 0.0)
    largest = first.abs().nan_to_num(posinf=0.0).max().clamp_min(1e-12)
    return apart.amax(dim=1) / largest


def not_deterministic(
    classifier: Classifier, differences: Float[Tensor, " n"], *, reordered: bool | None = None
) -> str | None:
    """Return why a classifier is not deterministic as it declares; None if it is.

    Args:
        classifier: the one that was called.
        differences: of two calls (:func:`differences_of_two_calls`).
        reordered: whether the device may sum in any order; otherwise every bit must agree. None: on CUDA only.
    """
    reordered = differences.is_cuda if reordered is None else reordered
    differ = int((differences > (REORDERED if reordered else 0.0)).sum())
    if differ == 0 or (reordered and differences.quantile(0.5).item() <= REORDERED):
        return None
    fixed = classifier.encoder.stochastic
    said = "starts from fixed oscillators" if fixed else "counts as deterministic (stochastic = False)"
    return (
        f"the encoder {said}, but two calls on the same images differ: on {differ} of {len(differences)} "
        f"images, by up to {differences.max().item():.2g} of the largest logit"
    )


def check_deterministic(classifier: Classifier, images: Float[Tensor, "b 3 y x"]) -> None:
    """Refuse a classifier that is declared deterministic and is not: it would be scored by a single draw.

    Args:
        classifier: any; a stochastic one passes without a call. In mode "fixed_per_image" bound to the images.
        images: a few; two forward passes are made.

    Raises:
        UserError: two calls on the same images differ.
    """
    if classifier.stochastic:
        return
    fault = not_deterministic(classifier, differences_of_two_calls(classifier, images))
    if fault is not None:
        raise UserError(fault)


def check_noiseless(
    classifier: Classifier, attacked: Float[Tensor, "n 3 y x"], index: Int64[Tensor, " n"], chunk: int
) -> None:
    """Refuse a deterministic classifier that draws on attacked images: it may draw only where it is unsure.

    Args:
        classifier: any; a stochastic one passes without a call.
        attacked: the images; two forward passes of each are made.
        index: their places in the data.
        chunk: images per forward pass.

    Raises:
        UserError: two calls on the same attacked images differ.
    """
    if classifier.stochastic:
        return
    chunks = zip(attacked.split(chunk), index.split(chunk), strict=True)
    apart = [differences_of_two_calls(classifier.at(places), part) for part, places in chunks]
    if fault := not_deterministic(classifier, torch.cat(apart)):
        raise UserError(f"on attacked images {fault}")


def check_finite(logits: Float[Tensor, "b q"]) -> None:
    """Refuse NaN and infinite logits: the argmax of NaN logits would be class 0."""
    broken = int((~logits.isfinite().all(dim=1)).sum())
    if broken:
        raise UserError(f"the classifier returns logits that are NaN or infinite, on {broken} of {len(logits)} images")


@torch.no_grad()
def predictions_over_draws(
    classifier: Classifier, chunks: Iterable[Tensor | tuple[Tensor, Tensor]], draws: int, *key: Key
) -> Int64[Tensor, "k n"]:
    """Return the predicted class of every image in every draw, on the CPU.

    Args:
        classifier: in its own mode.
        chunks: images, or pairs of images and their indices in the data set (needed in mode "fixed_per_image").
        draws: number of draws of a stochastic classifier.
        key: of the draws.

    Draw k of chunk i uses ``generator(device, classifier.seed, *key, k, i)``. Two sets of images with the same key get
    the same draws, so equal images score equally. The prediction for NaN or infinite logits is the number of classes,
    which equals no label.

    Raises:
        UserError: fewer than 20 draws of a stochastic classifier.
    """
    draws = draws_for(classifier.stochastic, draws)
    parts = []
    for i, chunk in enumerate(chunks):
        images, index = chunk if isinstance(chunk, tuple) else (chunk, None)
        bound = classifier if index is None else classifier.at(index)
        noise = [generator(images.device, classifier.seed, *key, k, i) for k in range(draws)]
        parts.append(torch.stack([predicted(logits) for logits in bound.over_draws(images, noise)]).cpu())
    return torch.cat(parts, dim=1)


def predicted(logits: Float[Tensor, "b q"]) -> Int64[Tensor, " b"]:
    """Return the class of the largest logit; q, which equals no label, if a logit is NaN or infinite."""
    return logits.argmax(dim=1).where(logits.isfinite().all(dim=1), logits.shape[1])
