"""Encoder and linear head as one classifier, with the initial oscillators as a stated choice.

AKOrN as published draws new oscillators at every forward pass (``random``); ``fixed`` starts every image of every call
from one seeded field; ``averaged`` takes the mean logits of K draws (``ensemble=K`` of the published code).

Shapes: b batch, c channels, h w grid, y x pixels, q classes, k draws, n images.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.draws import draws_for
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.randomness import Key, generator

Initial = Literal["random", "fixed", "averaged"]


class Classifier(nn.Module):
    """Images with pixels in [0,1] -> logits.

    Args:
        encoder: put into eval mode.
        head: linear layer on pooled features.
        mode: "random": new oscillators at every forward; "fixed": one seeded field for all images and calls;
            "averaged": mean logits over ``draws`` starts. A deterministic encoder is the same in every mode.
        seed: keys the random stream and the fixed fields.
        draws: starts averaged in mode "averaged".
        held: whether those starts are the same at every forward (then the classifier is deterministic) or fresh.

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
        self.eval()

    @property
    def stochastic(self) -> bool:
        return self.encoder.stochastic and (self.mode == "random" or (self.mode == "averaged" and not self.held))

    def restart(self, *key: Key) -> None:
        """Begin a new random stream, named by ``key``, so that a measurement can be repeated."""
        self._stream_key = ("stream", *key)
        self._stream.clear()

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "b c h w"] | None = None,
        draw: torch.Generator | None = None,
    ) -> Float[Tensor, "b q"]:
        """Classify images.

        Args:
            images: pixels in [0,1].
            initial: oscillators to start from, one state an image; overrides the mode.
            draw: source of fresh oscillators instead of the classifier's own stream (where the mode needs any).
        """
        if initial is not None:
            return self.head(self.encoder(images, initial=initial).pooled)
        if not self.encoder.stochastic:
            return self.head(self.encoder(images).pooled)
        if self.mode == "fixed":
            return self.head(self.encoder(images, initial=self.field(images)).pooled)
        if self.mode == "averaged" and self.held:
            return self._mean([self.encoder(images, initial=self.field(images, k)).pooled for k in range(self.draws)])
        draw = self._own_stream(images.device) if draw is None else draw
        starts = self.draws if self.mode == "averaged" else 1
        return self._mean([self.encoder(images, draw=draw).pooled for _ in range(starts)])

    def _mean(self, pooled: list[Float[Tensor, "b d"]]) -> Float[Tensor, "b q"]:
        logits = [self.head(features) for features in pooled]
        return logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)

    def _own_stream(self, device: torch.device) -> torch.Generator:
        if device not in self._stream:
            self._stream[device] = generator(device, self.seed, *self._stream_key)
        return self._stream[device]

    @torch.no_grad()
    def field(self, images: Float[Tensor, "b 3 y x"], k: int = 0) -> Float[Tensor, "b c h w"]:
        """Return the k-th fixed start for images of this shape: one state, shared by all (a device has its own)."""
        key = (k, tuple(images.shape[1:]), images.device)
        if key not in self._fields:
            draw = generator(images.device, self.seed, "fixed", k)
            self._fields[key] = self.encoder.sample_initial(images[:1].detach(), draw)
        return self._fields[key].expand(len(images), *self._fields[key].shape[1:])


def classifier_of(subject: Subject, protocol: str, mode: Initial = "random", *, average: int = 8) -> Classifier:
    """Return the classifier of a run.

    Raises:
        UserError: the run holds an encoder only.
    """
    if subject.head is None:
        raise UserError(f"{protocol} needs a classifier: {subject.run_dir} holds an encoder only; finetune it first")
    return Classifier(subject.encoder, subject.head, mode, seed=subject.seed, draws=average)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no gradient reach the parameters inside, and give their flags back afterwards."""
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@torch.no_grad()
def predictions_over_draws(
    classifier: Classifier, chunks: Iterable[Tensor], draws: int, *key: Key
) -> Int64[Tensor, "k n"]:
    """Return the predicted class of every image in every draw, on the CPU.

    Chunk i of draw k draws from ``generator(device, classifier.seed, *key, k, i)``: the same key gives two sets of
    images the same noise, image by image, so that equal images score equally.

    Raises:
        UserError: fewer than 20 draws of a stochastic classifier.
    """
    draws = draws_for(classifier.stochastic, draws)
    parts = []
    for i, images in enumerate(chunks):
        noise = (generator(images.device, classifier.seed, *key, k, i) for k in range(draws))
        parts.append(torch.stack([classifier(images, draw=draw).argmax(dim=1) for draw in noise]).cpu())
    return torch.cat(parts, dim=1)
