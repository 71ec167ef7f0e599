"""Checks of networks, images and labels given by a user; each failure is one clear line.

Shapes: b batch, n images, y x pixels, q classes.
"""

import re
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from sslkuramoto.errors import UserError
from sslkuramoto.statistics import sign_test
from sslkuramoto.threat import check_logits

RANGES = {
    "multiplied by 255": ((0.0,) * 3, (1 / 255,) * 3),
    "scaled to [-1,1]": ((0.5,) * 3, (0.5,) * 3),
    "normalised with ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "normalised with CIFAR-10's mean and std": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "normalised with MNIST's mean and std": ((0.1307,) * 3, (0.3081,) * 3),
}
"""Usual input ranges other than [0,1]: mean and standard deviation per channel."""
SAME_LOGITS = 1e-3
"""Largest difference of two answers to an image that counts as rounding, see :func:`share_apart`."""
ASKS_FOR_GRADIENTS = re.compile("does not require grad|requires_grad|[Ii]nference tensor")
"""Error texts of autograd in inference mode."""
FAR = 0.1  # share of the images: gain in accuracy on another input range that counts
UNLIKELY = 1e-3


def network_device(module: nn.Module, default: torch.device | None = None) -> torch.device:
    """Return the device of a module's first tensor; the default, or the CPU, where it holds none."""
    tensors = (*module.parameters(), *module.buffers())
    return next((each.device for each in tensors), default or torch.device("cpu"))


def check_defaults() -> None:
    """Refuse another default of torch for new tensors.

    Raises:
        UserError: it is not float32 on the CPU.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    if dtype != torch.float32:
        raise UserError(f"torch.set_default_dtype({dtype}) was called: networks are trained and measured in float32")
    if device.type != "cpu":
        raise UserError(f"torch's default device is {device}: must be cpu (the network itself may be on any device)")


def check_network(network: nn.Module, images: Float[Tensor, "b 3 y x"]) -> torch.device:
    """Return the device of a network.

    Raises:
        UserError: another default than torch's for new tensors, parts on different devices, weights that are not
            float32, or pixels outside [0,1].
    """
    check_defaults()
    check_pixels(images)
    tensors = [*network.parameters(), *network.buffers()]
    devices = sorted({str(each.device) for each in tensors})
    if len(devices) > 1:
        raise UserError(f"the network is on {' and '.join(devices)}: must be on one device")
    for each in tensors:
        if each.is_floating_point() and each.dtype != torch.float32:
            raise UserError(f"the network's weights are {each.dtype}: must be torch.float32 (network.float())")
    return network_device(network, images.device)


def check_pixels(images: object) -> None:
    """Check for a batch of square colour images with pixels in [0,1].

    Raises:
        UserError: names what is wrong.
    """
    if not isinstance(images, Tensor):
        raise UserError(f"images: a {type(images).__name__}, wanted a torch.Tensor [n, 3, s, s] of float32")
    shape = list(images.shape)
    if images.is_meta or images.layout != torch.strided:
        raise UserError("images: must be a dense torch.Tensor with values (not sparse, not on the device meta)")
    if images.requires_grad:
        raise UserError("images: require a gradient, must not (images.detach())")
    if images.dtype != torch.float32:
        hint = " (images.float() / 255)" if images.dtype == torch.uint8 else " (images.float())"
        raise UserError(f"images: {images.dtype}, must be torch.float32 with pixels in [0,1]{hint}")
    if images.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
        grey = " (grey images: images.expand(-1, 3, -1, -1))" if images.ndim == 4 and shape[1] == 1 else ""
        raise UserError(f"images: shape {shape}, must be [n, 3, s, s]{grey}")
    if not shape[0]:
        raise UserError("images: must be at least one")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        hint = " (images / 255)" if low >= 0 and 2 < high <= 255 else ""
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}], pixels must lie in [0,1]{hint}")


WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_labels(labels: object, n: int) -> None:
    """Check for one class per image, for ``n`` images.

    Raises:
        UserError: names what is wrong.
    """
    if not isinstance(labels, Tensor) or labels.dtype not in WHOLE or labels.ndim != 1 or labels.is_meta:
        shown = f"{labels.dtype}, shape {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"labels: {shown}, must be whole numbers, a torch.Tensor [n]")
    if len(labels) != n:
        raise UserError(f"labels: {len(labels)} for {n} images, must be one per image")
    if int(labels.min()) < 0:
        raise UserError(f"labels: the smallest is {int(labels.min())}, must be classes from 0")


def check_answers(answers: object, b: int) -> None:
    """Check that a network returns one row of numbers for each of ``b`` images.

    Raises:
        UserError: names what it returns instead.
    """
    if not isinstance(answers, Tensor):
        raise UserError(f"the network returns a {type(answers).__name__}, wanted a tensor [images, classes]")
    if not answers.is_floating_point():
        raise UserError(f"the network returns {answers.dtype} (classes?), wanted logits, floating numbers")
    if answers.ndim != 2 or len(answers) != b or not answers.shape[1]:
        raise UserError(f"the network returns the shape {list(answers.shape)} for {b} images, wanted [{b}, classes]")


def check_no_probabilities(logits: Float[Tensor, "b q"]) -> None:
    """Refuse probabilities in place of logits: attacks use losses of logits."""
    try:
        check_logits(logits)
    except UserError:
        raise UserError("the network returns probabilities: must return logits (remove the softmax)") from None


def check_classes_told(labels: Int64[Tensor, " n"], num_classes: int) -> None:
    """Refuse labels for which the network has no output."""
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= num_classes:
        raise UserError(
            f"labels range from {least} to {most}, and the network has {num_classes} classes: must be 0 to "
            f"{num_classes - 1}"
        )


@torch.no_grad()
def in_other_company(ask: Callable[[Tensor], Tensor], images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b q"]:
    """Return the answers to images in batches in which every other image is inverted.

    The batch size stays the same: with another one, convolutions in TF32 differ by as much as :data:`SAME_LOGITS`. An
    image keeps its place, and so the noise that a seed gives to it.

    Args:
        ask: the network, under one seed.
        images: at least two.
    """
    odd = torch.arange(len(images), device=images.device) % 2 == 1
    mixed = [torch.where(own[:, None, None, None], images, 1 - images) for own in (odd, ~odd)]
    of_odd, of_even = map(ask, mixed)
    return torch.where(odd[:, None], of_odd, of_even)


def share_apart(first: Float[Tensor, "b q"], second: Float[Tensor, "b q"]) -> float:
    """Return the difference of two answers to the same images, as a share of the largest deviation from their mean.

    It is that of the median image, since oscillators magnify rounding errors on single images. Answers that are nan or
    infinite in the same places are the same; nan in one answer alone makes the share nan.
    """
    same = (first == second) | (first.isnan() & second.isnan())
    apart = (first - second).abs().masked_fill(same, 0.0).amax(dim=1).double().quantile(0.5)
    finite = second[second.isfinite()]
    widest = (finite - finite.mean()).abs().amax().item() if len(finite) else 0.0
    return apart.item() / max(widest, 1e-12)


@torch.no_grad()
def effect_of_company(ask: Callable[[Tensor], Tensor], images: Float[Tensor, "b 3 y x"]) -> float:
    """Return how far answers to images depend on the other images of their batch, see :func:`share_apart`.

    Args:
        ask: the network, under one seed.
        images: at least one.

    Returns:
        The share; nan if an answer is, and 0 if the network cannot answer inverted images, which are not the user's.
    """
    some = images if len(images) > 1 else torch.cat([images, 1 - images])
    try:
        return share_apart(in_other_company(ask, some), ask(some))
    except Exception:  # whatever the network does with images that nobody asked about
        return 0.0


@torch.no_grad()
def better_range(
    predict: Callable[[Tensor], Int64[Tensor, " n"]], images: Float[Tensor, "n 3 y x"], labels: Int64[Tensor, " n"]
) -> str | None:
    """Return in which input range a network is much more accurate than in [0,1], as a sentence; None in no other.

    It must gain a tenth of the images, significantly (exact sign test, p < 0.001), and be better than a constant
    prediction.

    Args:
        predict: returns the network's predictions for images in any range.
        images: pixels in [0,1], of several classes.
        labels: their classes.
    """

    def right(pixels: Tensor) -> Bool[Tensor, " n"]:
        return predict(pixels) == labels

    own = right(images)
    guess = labels.bincount().max().item() / len(labels)
    best, where = float(own.double().mean()) + FAR, None
    for name, (mean, std) in RANGES.items():
        shift, scale = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (mean, std))
        try:
            other = right((images - shift) / scale)
        except UserError:  # it refuses such pixels itself
            continue
        gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
        share = float(other.double().mean())
        if share >= best and share >= guess + FAR and sign_test(gained, lost) < UNLIKELY:
            best, where = share, name
    if where is None:
        return None
    return (
        f"the network's accuracy is {100 * float(own.double().mean()):.1f} % on images in [0,1], and "
        f"{100 * best:.1f} % on images {where}"
    )
