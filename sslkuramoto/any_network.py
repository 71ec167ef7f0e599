"""Any torch network as an encoder or a classifier: wrapped, its mode decided, its answers checked.

Shapes: b batch, n images, y x pixels, d features, q classes.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.classifier import Classifier, check_finite, predicted
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError, line_of
from sslkuramoto.heads import taken
from sslkuramoto.model_checks import (
    better_range,
    check_answers,
    check_classes_told,
    check_network,
    check_no_probabilities,
    network_device,
)
from sslkuramoto.network_identity import a_copy, identity_of, images_to_ask
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.seeded_network import AnyNetwork
from sslkuramoto.values import Seed, check_value

FEW, SOME = 16, 128
"""Images on which the noise of a network is looked for, and its answers are checked: each costs some ten passes."""


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


@torch.inference_mode(mode=False)
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

    Who calls this declares that the network returns features: nothing else tells them from logits. The encoder is for
    measuring: its mode is decided here. To train a network of your own with an objective, hand it over as it is, with
    ``num_features`` set.

    Args:
        network: maps images in [0,1] to ``[b, d]``.
        images: a few; the network is asked some ten times, on at most 16.
        mean, std: of each channel, if the network expects normalised pixels; both or none.
        keep_training: leave a network in training mode as it is. Otherwise a network in training mode is set to eval,
            with a note; one in eval mode whose parts are in training mode (dropout left on) is taken as meant.
        seed: names the noise of the first look.

    Raises:
        UserError: what is wrong with the network, in one line.
    """
    if isinstance(network, Encoder):
        _check_not_scaled(mean, std)
        return network
    if isinstance(network, Classifier):
        raise UserError("a Classifier gives logits: give its encoder")
    return _wrapped(network, images, "features", mean=mean, std=std, keep_training=keep_training, seed=seed)


def _wrapped(
    network: nn.Module | Callable[[Tensor], Tensor],
    images: Tensor,
    gives: Literal["features", "logits"],
    *,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    keep_training: bool,
    seed: int,
) -> AnyNetwork:
    if isinstance(network, type) or not callable(network):
        raise UserError(f"network={network!r}: a {type(network).__name__}, must be a torch.nn.Module or a function")
    check_scaling(mean, std)
    seed = check_value("seed", seed, Seed)
    module = network if isinstance(network, nn.Module) else _Function(network)
    device = check_network(module, images)
    notes = _set_mode(module, keep_training) if isinstance(network, nn.Module) else []
    found = AnyNetwork(module, _spread(images, FEW).to(device), mean=mean, std=std, seed=seed, gives=gives)
    found.notes = [*notes, *found.notes]
    return found


def check_scaling(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Refuse anything but a number for each channel, mean and standard deviation together.

    Raises:
        UserError: one without the other, numbers that are none, a standard deviation that is not above 0.
    """
    if (mean is None) != (std is None):
        given, lacking = ("mean", "std") if std is None else ("std", "mean")
        raise UserError(f"{given}: without {lacking}; give both (mean (0, 0, 0) or std (1, 1, 1) changes nothing)")
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            continue
        try:
            found = torch.as_tensor(values, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError):
            found = torch.zeros(0)
        above = name == "mean" or bool((found > 0).all())
        if found.ndim != 1 or len(found) not in (1, 3) or not bool(found.isfinite().all()) or not above:
            wanted = "three finite numbers, one per channel" + (", each above 0" if name == "std" else "")
            raise UserError(f"{name}={values!r}: must be {wanted}")


@torch.inference_mode(mode=False)  # its buffers would pass no gradient
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
    """Return a network that maps images to logits as a classifier; a classifier is checked and returned as it is.

    Args:
        network: maps images in [0,1] to logits ``[b, q]``.
        images: some, of different classes; at most 128 of them, spread over all, are used for the checks.
        labels: their classes; without them the range that the network expects is not checked.
        mean, std, keep_training: as for :func:`as_encoder`.
        range_checked: refuse a network that is far better on images of another range than [0,1]. One that draws gets a
            note instead: its noise may weigh less among larger pixels.
        seed: keys the noise.

    Raises:
        UserError: what is wrong with the network, in one line: no logits, probabilities, NaN, too few classes for the
            labels, another range, randomness that cannot be controlled.
    """
    if isinstance(network, Classifier):
        _check_not_scaled(mean, std)
        _check_classifier(network, images, labels)
        return network
    if isinstance(network, Encoder):
        raise UserError("an encoder has no classes: give Classifier(encoder, head)")
    encoder = _wrapped(network, images, "logits", mean=mean, std=std, keep_training=keep_training, seed=seed)
    found = Classifier(encoder, Logits(encoder.num_features), seed=seed)
    some, classes = _spread(images, SOME).to(encoder.mean.device), None if labels is None else _spread(labels, SOME)
    with torch.no_grad(), encoder.on_a_copy():
        logits = encoder.under(seed, some)
        check_finite(logits)
        check_no_probabilities(logits)
        if classes is not None:
            check_classes_told(classes, encoder.num_features)
        if classes is not None and range_checked and not encoder.scaled:
            better = better_range(lambda pixels: predicted(encoder.under(seed, pixels)), some, classes.to(some.device))
            if better is not None:
                _check_range(encoder, better)
    if len(some) > 1 and len(predicted(logits).unique()) == 1:
        same = f"the network answers class {int(predicted(logits)[0])} to each of {len(some)} images"
        encoder.notes = [*encoder.notes, same]
    return found


def _check_range(encoder: AnyNetwork, better: str) -> None:
    """Refuse a network that is better on another range, unless larger pixels only drown the noise that it draws."""
    if not encoder.stochastic:
        raise UserError(
            f"{better}: does it expect these? Wrap it so that it takes pixels in [0,1], by as_classifier(network, "
            "images, labels, mean=..., std=...); there range_checked=False measures it as it is"
        )
    encoder.notes = [*encoder.notes, f"{better}: it expects these, or larger pixels drown its noise"]


@torch.no_grad()
def check_encoder(encoder: Encoder, images: Float[Tensor, "b 3 y x"]) -> None:
    """Check what an encoder of the user returns for a few images.

    Raises:
        UserError: it fails, or returns no features of finite numbers.
    """
    some = _spread(images, FEW).to(check_network(encoder, images))
    try:
        found = encoder(some, draw=generator(some.device, "first look") if encoder.stochastic else None)
    except UserError:
        raise
    except Exception as error:  # whatever it does with these images
        size = " x ".join(map(str, some.shape[1:]))
        raise UserError(f"the encoder cannot answer images of {size}: {line_of(error)}") from error
    if not isinstance(found, Features):
        raise UserError(f"the encoder returns a {type(found).__name__}, wanted Features(pooled, map)")
    check_answers(found.pooled, len(some))
    if not bool(found.pooled.isfinite().all()):
        raise UserError("the encoder returns features that are NaN or infinite")


@torch.no_grad()
def _check_classifier(classifier: Classifier, images: Tensor, labels: Tensor | None) -> None:
    """Check the answers of a classifier of ours; its own noise stays as it was."""
    if not isinstance(getattr(classifier.head, "out_features", None), int):
        kind = type(classifier.head).__name__
        raise UserError(f"the head, a {kind}, does not state its number of classes: set its out_features")
    if classifier.mode != "random":
        raise UserError(f"a Classifier of mode {classifier.mode!r}: protocols decide it (initial={classifier.mode})")
    some = _spread(images, SOME).to(check_network(classifier, images))
    try:
        logits = classifier(some, draw=generator(some.device, "first look at a classifier"))
    except UserError:
        raise
    except Exception as error:  # a head for other features, another spec, or whatever it does with these images
        size = " x ".join(map(str, some.shape[1:]))
        raise UserError(f"the classifier cannot answer images of {size}: {line_of(error)}") from error
    check_answers(logits, len(some))
    check_finite(logits)
    check_no_probabilities(logits)
    if labels is not None:
        check_classes_told(labels, logits.shape[1])


def _check_not_scaled(mean: object, std: object) -> None:
    if mean is not None or std is not None:
        raise UserError(
            "mean, std: are for plain networks; an Encoder takes pixels of [0,1] and normalises them itself"
        )


def _set_mode(network: nn.Module, keep_training: bool) -> list[str]:
    """Bring a network in training mode to eval mode; return what was done or left, in sentences."""
    if network.training and not keep_training:
        network.eval()
        return ["the network was in training mode and was set to eval mode (keep_training=True leaves it)"]
    left = sorted({type(part).__name__ for part in network.modules() if part.training})
    return [f"in training mode, as it was given: {', '.join(left)}"] if left else []


def identity_of_encoder(encoder: Encoder, size: int) -> str:
    """Return what an encoder is known by.

    Args:
        encoder: in eval mode.
        size: side of the images that it reads, pixels.
    """
    if isinstance(encoder, AnyNetwork):
        return encoder.identity
    device = network_device(encoder)
    images = images_to_ask(size).to(device)

    def ask(network: nn.Module) -> object:
        return network(images, draw=generator(device, "draw for an identity") if encoder.stochastic else None)

    with torch.no_grad():
        return identity_of(encoder, ask)


@torch.no_grad()
def answers_of(encoder: Encoder, head: nn.Module | None, size: int) -> list[list[float | None]]:
    """Return what a wrapped network answers to the images that identify it, under one seed: ten numbers for each image.

    They tell apart what no identity can: networks that read a global variable, or an object that cannot be looked into.

    Args:
        encoder: in eval mode; unchanged.
        head: of the user, that reads its features; in eval mode, unchanged.
        size: side of the images that it reads, pixels.

    Returns:
        Ten fixed random sums of an answer's numbers, six digits each; None where one is nan or infinite. Nothing for
        an :class:`Encoder` that is not wrapped: its identity is that of its weights, options and source.
    """
    if not isinstance(encoder, AnyNetwork):
        return []
    answers, grid = _features_for_identity(encoder, size)
    if head is not None:
        answers = _answered(a_copy(head), answers, grid)
    numbers = answers.flatten(1).double().cpu()
    sums = torch.randn(numbers.shape[1], 10, generator=generator("cpu", "sums of answers"), dtype=torch.double)
    return [[float(f"{value:.6g}") if isfinite(value) else None for value in row] for row in (numbers @ sums).tolist()]


def identity_of_head(encoder: Encoder, head: nn.Module, size: int) -> str:
    """Return the identity of a head that the user put on an encoder.

    Args:
        encoder: gives the features that the head reads; unchanged.
        head: in eval mode; unchanged.
        size: side of the images that the encoder reads, pixels.
    """
    with torch.no_grad():
        features = _features_for_identity(encoder, size)
        return identity_of(head, lambda network: _answered(network, *features))


def _features_for_identity(encoder: Encoder, size: int) -> tuple[Tensor, Tensor]:
    """Return pooled features and their map, of a copy under one seed; generators stay as they were."""
    device = network_device(encoder)
    images = images_to_ask(size).to(device)
    if isinstance(encoder, AnyNetwork):
        with encoder.on_a_copy():
            answers = encoder.under(0, images)
        return answers, answers[:, :, None, None]
    with borrowed_global(generator("cpu", "noise of an encoder for an identity")):
        draw = generator(device, "draw for an identity") if encoder.stochastic else None
        found = a_copy(encoder)(images, draw=draw)
    return found.pooled, found.map


def _answered(head: nn.Module, pooled: Tensor, grid: Tensor) -> Tensor:
    with borrowed_global(generator("cpu", "noise of a head for an identity")):
        return head(taken(head, pooled, grid))


def _spread(values: Tensor, most: int) -> Tensor:
    """Return at most so many rows, at equal distances: folders are sorted by class."""
    return values if len(values) <= most else values[torch.linspace(0, len(values) - 1, most).long()]
