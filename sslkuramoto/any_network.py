"""Any torch network as an encoder or a classifier: its randomness found out and controlled, its answers checked.

The protocols need an :class:`~sslkuramoto.encoders.features.Encoder` whose noise is an argument. A plain network draws
from torch's global generator (dropout left on, noise on the pixels), so its noise is named by a seed: every call seeds
the generators of torch, numpy and Python and those that the network holds as attributes, and puts them back afterwards.
Fresh noise is one such call for a batch. Held noise must give an image the same noise in whatever batch it is: images
of one seed are answered by ``torch.vmap`` with equal randomness where that was seen to agree with one image at a time,
and one by one elsewhere.

Shapes: b batch, n images, y x pixels, d features, q classes.
"""

import copy
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.checkpoint import weights_hash
from sslkuramoto.classifier import REORDERED, Classifier, check_finite, logits_apart, predicted
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError, too_large
from sslkuramoto.model_checks import (
    check_answers,
    check_classes_told,
    check_network,
    check_no_probabilities,
    check_range,
)
from sslkuramoto.randomness import own_generators, reseeded
from sslkuramoto.sources import foreign_code

SEEDS = 8
"""Seeds under which a network that draws nothing must answer alike: one that flips a coin once per batch is taken for
deterministic with a chance of 2^-7, and refused later."""
DIGITS = 2**24  # whole numbers that float32 holds exactly: a seed is two of them
SAME = 1e-4  # of the largest output: rounding between one image and many
FEW, SOME = 16, 128
"""Images on which the noise of a network is looked for, and its answers are checked: each costs some ten passes."""


class AnyNetwork(Encoder):
    """A plain network; what it returns for an image is its pooled features.

    Args:
        network: maps images to ``[b, d]``. Its mode stays as it is: ``train()`` and ``eval()`` do not reach it.
        images: a few, on the network's device.
        mean, std: of each channel, taken off the pixels before the network sees them; None: pixels of [0,1].
        seed: names the noise of the first look.

    Attributes:
        notes: what was noticed, in sentences.
        identity: hash of the weights, the plain attributes and the source files of the network.

    Raises:
        UserError: it cannot answer these images, or its randomness cannot be controlled.
    """

    def __init__(
        self,
        network: nn.Module,
        images: Float[Tensor, "b 3 y x"],
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.scaled = mean is not None or std is not None
        self.mean: Tensor
        self.std: Tensor
        for name, values, default in (("mean", mean, 0.0), ("std", std, 1.0)):
            given = torch.tensor([default] if values is None else list(values), dtype=torch.float32)
            if given.numel() not in (1, 3) or (name == "std" and not bool((given > 0).all())):
                raise UserError(f"{name}={values}: must be three numbers, one a channel{' and > 0' * (name == 'std')}")
            self.register_buffer(name, given.view(-1, 1, 1).to(images.device), persistent=False)
        self.notes: list[str] = []
        self.identity = identity_of(network, [self.mean.tolist(), self.std.tolist()])
        with torch.no_grad(), self.on_a_copy():
            first = self._look(images, seed)
            self.num_features = first.shape[1]
            self.stochastic = self._draws(first, images, seed)
            self.together = self.stochastic and self._agrees(images[:4], seed)
        if self.stochastic:
            held = "" if self.together else ", one image at a time (torch.vmap does not give the same)"
            self.notes.append(
                "the network draws from torch's, numpy's or Python's generators: every forward pass is seeded, and "
                f"held noise is a held seed{held}"
            )

    def train(self, mode: bool = True) -> "AnyNetwork":
        """Set the mode of this wrapper alone; that of the network inside was decided when it was wrapped."""
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
        """Answer images.

        Args:
            images: pixels in [0,1].
            initial: seeds from :meth:`sample_initial`, one an image or one for all.
            draw: gives the seed of this call where ``initial`` is None.
            trace: without effect.
        """
        if not self.stochastic:
            if initial is not None:
                raise UserError("initial: this network draws nothing")
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
        """Ask a copy inside, where the network can be copied: one that keeps what it sees must not have seen images."""
        network = self.network
        with suppress(RuntimeError, TypeError, ValueError, copy.Error, pickle.PicklingError):
            self.network = copy.deepcopy(network)
        try:
            yield
        finally:
            self.network = network

    def _asked(self, images: Tensor) -> Tensor:
        pixels = (images - self.mean) / self.std if self.scaled else images
        return self.network(pixels).float()

    def under(self, seed: int, images: Tensor) -> Tensor:
        """Answer images with the noise of a seed, if there is any."""
        with reseeded(seed, images.device, own_generators(self.network)):
            return self._asked(images)

    def _held(self, images: Tensor, initial: Tensor) -> Tensor:
        """Give each image the noise of its seed, whatever stands beside it."""
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
        size = " x ".join(map(str, images.shape[1:]))
        try:
            with reseeded(seed, images.device, own_generators(self.network)):
                answer = self.network((images - self.mean) / self.std if self.scaled else images)
        except Exception as error:  # whatever the network does with images that it is not made for
            if found := too_large(error):
                raise UserError(f"the network cannot answer {len(images)} images of {size}: {found.what}") from None
            raise UserError(f"the network cannot answer images of {size}: {_line(error)}") from error
        check_answers(answer, len(images))
        return answer.float()

    def _draws(self, first: Tensor, images: Tensor, seed: int) -> bool:
        """Return whether the network answers otherwise under another seed.

        Raises:
            UserError: it does under the same one.
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
        """Return whether ``torch.vmap`` gives images the noise that each gets on its own.

        Raises:
            UserError: the network cannot answer one image on its own.
        """
        for each in (seed, seed + 1):
            try:
                alone = torch.cat([self.under(each, image[None]) for image in images])
            except Exception as error:
                raise UserError(
                    f"the network draws, and cannot answer a single image, so its noise cannot be held: {_line(error)}"
                ) from error
            try:
                joined = self._vmapped(images, each)
            except Exception:  # vmap knows no control flow on values, no numpy, not every operator
                return False
            if not torch.allclose(joined, alone, rtol=0, atol=SAME * float(alone.abs().max()), equal_nan=True):
                return False
        return True


class Logits(nn.Module):
    """The head of a network whose features are its logits already.

    Attributes:
        out_features: q.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.out_features = num_classes

    def forward(self, logits: Float[Tensor, "b q"]) -> Float[Tensor, "b q"]:
        """Return what came in."""
        return logits


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


def as_encoder(
    network: nn.Module | Callable[[Tensor], Tensor],
    images: Float[Tensor, "b 3 y x"],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    keep_training: bool = False,
    seed: int = 0,
) -> Encoder:
    """Return a network that maps images to features as an encoder; an encoder comes back as it is.

    The encoder is for measuring: its mode is decided here. To train a network of your own with an objective, hand it
    over as it is, with ``num_features`` set.

    Args:
        network: maps images in [0,1] to ``[b, d]``.
        images: a few; the network is asked some ten times, on at most 16.
        mean, std: of each channel, if the network expects normalised pixels.
        keep_training: leave a network in training mode as it is. Otherwise a network in training mode is set to eval,
            with a note; one in eval mode whose parts are in training mode (dropout left on) is taken as meant.
        seed: names the noise of the first look.

    Raises:
        UserError: what is wrong with the network, in one line.
    """
    if isinstance(network, Encoder):
        return network
    module = network if isinstance(network, nn.Module) else _Function(network)
    device = check_network(module, images)
    notes = _set_mode(module, keep_training)
    found = AnyNetwork(module, _spread(images, FEW).to(device), mean=mean, std=std, seed=seed)
    found.notes = [*notes, *found.notes]
    return found


def as_classifier(
    network: nn.Module | Callable[[Tensor], Tensor],
    images: Float[Tensor, "b 3 y x"],
    labels: Int64[Tensor, " b"] | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    keep_training: bool = False,
    range_checked: bool = True,
    seed: int = 0,
) -> Classifier:
    """Return a network that maps images to logits as a classifier; a classifier comes back as it is.

    Args:
        network: maps images in [0,1] to logits ``[b, q]``.
        images: some, of different classes; at most 128 of them, spread over all, are looked at.
        labels: their classes; without them the range that the network expects is not checked.
        mean, std, keep_training: as for :func:`as_encoder`.
        range_checked: refuse a network that is far better on images of another range than [0,1].
        seed: keys the noise.

    Raises:
        UserError: what is wrong with the network, in one line: no logits, probabilities, NaN, too few classes for the
            labels, another range, randomness that cannot be controlled.
    """
    if isinstance(network, Classifier):
        return network
    encoder = as_encoder(network, images, mean=mean, std=std, keep_training=keep_training, seed=seed)
    if not isinstance(encoder, AnyNetwork):
        raise UserError("an encoder has no classes: give Classifier(encoder, head)")
    found = Classifier(encoder, Logits(encoder.num_features), seed=seed)
    some, classes = _spread(images, SOME).to(encoder.mean.device), None if labels is None else _spread(labels, SOME)
    with torch.no_grad(), encoder.on_a_copy():
        logits = encoder.under(seed, some)
        check_finite(logits)
        check_no_probabilities(logits)
        if classes is not None:
            check_classes_told(classes, encoder.num_features)
        if classes is not None and range_checked and not encoder.scaled:
            check_range(lambda pixels: predicted(encoder.under(seed, pixels)), some, classes.to(some.device))
    if len(some) > 1 and len(predicted(logits).unique()) == 1:
        same = f"the network answers class {int(predicted(logits)[0])} to each of {len(some)} images"
        encoder.notes = [*encoder.notes, same]
    return found


def _set_mode(network: nn.Module, keep_training: bool) -> list[str]:
    """Bring a network in training mode to eval mode; return what was done or left, in sentences."""
    if network.training and not keep_training:
        network.eval()
        return ["the network was in training mode and was set to eval mode (keep_training=True leaves it)"]
    left = sorted({type(part).__name__ for part in network.modules() if part.training})
    return [f"in training mode, as it was given: {', '.join(left)}"] if left else []


def identity_of_encoder(encoder: Encoder) -> str:
    """Return what an encoder is known by: the hash that was taken before it was asked anything, or one taken now."""
    return encoder.identity if isinstance(encoder, AnyNetwork) else identity_of(encoder)


def identity_of(network: nn.Module, more: object = None) -> str:
    """Return a hash of what decides a network's answers: weights, plain attributes, code of its parts."""
    usual = set(vars(nn.Module()))
    plain = {
        name: {key: value for key, value in sorted(vars(part).items()) if key not in usual}
        for name, part in network.named_modules()
    }
    training = [name for name, part in network.named_modules() if part.training]
    code = foreign_code(*(part for part in network.modules() if not type(part).__module__.startswith("torch.")))
    text = json.dumps([plain, training, code, more], sort_keys=True, default=_named)
    return sha256(f"{weights_hash(network)}\0{text}".encode()).hexdigest()


def _spread(values: Tensor, most: int) -> Tensor:
    """Return at most so many rows, at equal distances: folders are sorted by class."""
    return values if len(values) <= most else values[torch.linspace(0, len(values) - 1, most).long()]


def _named(value: object) -> object:
    """Stand for what is no plain value: a tensor's content, anything else's kind."""
    if isinstance(value, Tensor):
        return sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return getattr(value, "__qualname__", type(value).__qualname__)


def _differ(first: Tensor, second: Tensor) -> bool:
    """Return whether two answers differ by more than the order of sums, which only CUDA leaves open."""
    apart = logits_apart(first, second)
    return bool(apart.quantile(0.5) > REORDERED) if apart.is_cuda else bool((apart > 0).any())


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
