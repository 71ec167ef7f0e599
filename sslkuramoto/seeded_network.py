"""A plain torch network as an encoder: its randomness is detected and controlled by a seed.

The protocols need an :class:`~sslkuramoto.encoders.features.Encoder` whose noise is an argument. A plain network draws
from the global generators (dropout left on, noise on the pixels), so a seed takes the place of the noise. Every call
seeds the generators of torch, numpy and Python and those that the network holds as attributes, and restores them
afterwards. Fresh noise is one such call per batch. Held noise must give an image the same noise in every batch: images
of one seed are evaluated by ``torch.vmap`` with equal randomness if that was found to agree with one image at a time,
else one by one.

Shapes: b batch, y x pixels, d features.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.classifier import REORDERED, logits_apart
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError, line_of, too_large
from sslkuramoto.model_checks import ASKS_FOR_GRADIENTS, SAME_LOGITS, check_answers, effect_of_company
from sslkuramoto.network_identity import a_copy, identity_of, images_to_ask
from sslkuramoto.randomness import own_generators, reseeded

SEEDS = 8
"""Seeds under which a deterministic network must give equal answers. A network that flips one coin per batch passes
with probability 2^-7, and is refused later."""
DIGITS = 2**24  # whole numbers that float32 holds exactly: a seed is two of them
SAME = 1e-4  # of the largest output: rounding between one image and a batch


class AnyNetwork(Encoder):
    """A plain network as an encoder; its output is used as the pooled features, even if it is logits.

    Args:
        network: maps images to ``[b, d]``. Its mode is not changed: ``train()`` and ``eval()`` do not reach it.
        images: a few, on the network's device.
        mean, std: per channel; pixels are normalised by them before the network. None: pixels in [0,1].
        seed: keys the noise of the first calls.
        gives: what the network returns, "features" or "logits".

    Attributes:
        notes: sentences on what was detected.
        identity: hash that identifies the network (:mod:`~sslkuramoto.network_identity`).

    Raises:
        UserError: it cannot process these images, or its randomness cannot be controlled.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Float[Tensor, "b 3 y x"],
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
        gives: Literal["features", "logits"] = "features",
    ) -> None:
        super().__init__()
        self.network, self.gives = network, gives
        self.scaled = mean is not None or std is not None
        self.mean: Tensor
        self.std: Tensor
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            given = torch.as_tensor([default] if values is None else values, dtype=torch.float32)
            self.register_buffer(name, given.view(-1, 1, 1).to(images.device), persistent=False)
        self.notes: list[str] = []
        with torch.no_grad(), self.on_a_copy():
            first = self._look(images, seed)
            self.num_features = first.shape[1]
            self.stochastic = self._draws(first, images, seed)
            self.together = self.stochastic and self._agrees(images[:4], seed)
            # the noise of an image may depend on its neighbours where a sampler rejects, and that means nothing
            company = 0.0 if self.stochastic else effect_of_company(self._asked, images)
        scale = [self.mean.tolist(), self.std.tolist()]
        with torch.no_grad():
            probe = images_to_ask(images.shape[-1]).to(images.device)
            self.identity = identity_of(network, lambda each: self._first(each, probe, 0), scale)
        if not company <= SAME_LOGITS:  # also nan
            self.notes.append(
                f"the answer to an image depends on the other images of its batch (by {company:.2g} of the spread "
                "of its answers): figures change with the batch size, and attacks see other batches than the score"
            )
        if self.stochastic:
            held = "" if self.together else ", one image at a time (torch.vmap does not give the same)"
            self.notes.append(
                "the network draws random numbers from torch, numpy or Python: every forward pass is seeded, and held "
                f"draws are held seeds{held}"
            )

    def train(self, mode: bool = True) -> "AnyNetwork":
        """Set the mode of this wrapper only; the wrapped network keeps its own."""
        self.training = mode
        return self

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Return the network's output as features.

        Args:
            images: pixels in [0,1].
            initial: seeds from :meth:`sample_initial`, one per image or one for all.
            draw: generator of the seed of this call, if ``initial`` is None.
            trace: without effect.
        """
        if not self.stochastic:
            if initial is not None:
                raise UserError("initial: this network is deterministic and takes no seeds")
            answer = self._asked(images)
        elif initial is not None:
            answer = self._held(images, initial.expand(len(images), -1, -1, -1))
        elif draw is not None:
            answer = self.under(int(torch.randint(2**62, (), generator=draw, device=draw.device)), images)
        else:
            raise UserError("a stochastic network needs draw= (a torch.Generator) or initial= (seeds)")
        return Features(answer, answer[:, :, None, None])

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b 2 1 1"]:
        """Draw one seed for each image, as two whole numbers below 2^24."""
        return torch.randint(DIGITS, (len(images), 2, 1, 1), generator=draw, device=draw.device).float()

    @contextmanager
    def on_a_copy(self) -> Iterator[None]:
        """Use a copy inside this context, if the network can be copied, so that it does not remember these images."""
        network = self.network
        self.network = a_copy(network)
        try:
            yield
        finally:
            self.network = network

    def _asked(self, images: Tensor) -> Tensor:
        """Return the network's output.

        Raises:
            UserError: it fails on this batch. That it lacks memory stays as it is: a smaller batch may do.
        """
        try:
            return self.network(self._pixels(images)).float()
        except Exception as error:  # whatever the network does with so many images
            if too_large(error) or ASKS_FOR_GRADIENTS.search(str(error)):
                raise
            size = " x ".join(map(str, images.shape[1:]))
            raise UserError(
                f"the network cannot answer a batch of {len(images)}, images of {size}: {line_of(error)}"
            ) from error

    def _pixels(self, images: Tensor) -> Tensor:
        """Return the network's input: a new tensor, which it may overwrite."""
        return (images - self.mean) / self.std if self.scaled else images.clone()

    def under(self, seed: int, images: Tensor) -> Tensor:
        """Return the output with the noise of a seed."""
        with reseeded(seed, images.device, own_generators(self.network)):
            return self._asked(images)

    def _held(self, images: Tensor, initial: Tensor) -> Tensor:
        """Return the output with the noise of each image's seed, whatever the other images of the batch."""
        high, low = initial.flatten(1).long().unbind(dim=1)
        seeds = (high * DIGITS + low).tolist()
        places: dict[int, list[int]] = {}
        for place, seed in enumerate(seeds):
            places.setdefault(seed, []).append(place)
        answers = [self._alike(images[rows], seed) for seed, rows in places.items()]
        order = torch.tensor([place for rows in places.values() for place in rows], device=images.device)
        return torch.cat(answers)[order.argsort()]

    def _alike(self, images: Tensor, seed: int) -> Tensor:
        if self.together and len(images) > 1:
            return self._vmapped(images, seed)
        return torch.cat([self.under(seed, image[None]) for image in images])

    def _vmapped(self, images: Tensor, seed: int) -> Tensor:
        with reseeded(seed, images.device, own_generators(self.network)):
            return torch.vmap(lambda image: self._asked(image[None])[0], randomness="same")(images)

    def _look(self, images: Tensor, seed: int) -> Tensor:
        """Return the first answer.

        Raises:
            UserError: there is none, or none of one row of numbers for each image.
        """
        answer = self._first(self.network, images, seed)
        check_answers(answer, len(images))
        return answer.float()

    def _first(self, network: nn.Module, images: Tensor, seed: int) -> Tensor:
        """Return the output of a network, or raise its error as one line."""
        size = " x ".join(map(str, images.shape[1:]))
        try:
            with reseeded(seed, images.device, own_generators(network)):
                return network(self._pixels(images))
        except (Exception, SystemExit) as error:  # whatever the network does with images that it is not made for
            if isinstance(error, Exception) and (found := too_large(error)):
                raise UserError(f"the network cannot answer {len(images)} images of {size}: {found.what}") from None
            raise UserError(f"the network cannot answer images of {size}: {line_of(error)}") from error

    def _draws(self, first: Tensor, images: Tensor, seed: int) -> bool:
        """Return whether the output depends on the seed.

        Raises:
            UserError: it differs between two calls under the same seed.
        """
        again = self.under(seed, images)
        if _differ(first, again):
            differing = int((logits_apart(first, again) > 0).sum())
            raise UserError(
                f"the network's randomness cannot be controlled: on {differing} of {len(images)} images two calls "
                "differ although the generators of torch, numpy and Python and those it holds were seeded alike (or it "
                "keeps a state between calls)"
            )
        return any(_differ(first, self.under(seed + other, images)) for other in range(1, SEEDS))

    def _agrees(self, images: Tensor, seed: int) -> bool:
        """Return whether ``torch.vmap`` gives each image the noise that it gets alone.

        Raises:
            UserError: the network cannot process a single image.
        """
        for each in (seed, seed + 1):
            try:
                alone = torch.cat([self.under(each, image[None]) for image in images])
            except Exception as error:
                cause = error.__cause__ or error
                why = f"cannot answer a single image, so its noise cannot be held: {line_of(cause)}"
                raise UserError(f"the network draws, and {why}") from error
            try:
                joined = self._vmapped(images, each)
            except Exception:  # vmap does not support control flow on values, numpy, and some operators
                return False
            if not torch.allclose(joined, alone, rtol=0, atol=SAME * float(alone.abs().max()), equal_nan=True):
                return False
        return True


def _differ(first: Tensor, second: Tensor) -> bool:
    """Return whether two outputs differ; on CUDA by more than the undefined order of sums explains."""
    apart = logits_apart(first, second)
    return bool(apart.quantile(0.5) > REORDERED) if apart.is_cuda else bool((apart > 0).any())
