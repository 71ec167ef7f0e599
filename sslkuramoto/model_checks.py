"""What must hold of a network that somebody brings, and of the images they bring: one clear line each.

Shapes: b batch, n images, y x pixels, q classes.
"""

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
"""What networks are given in place of pixels of [0,1]: mean and standard deviation of each channel."""
FAR = 0.1  # of the images: how much better a network must be on another range to be refused
UNLIKELY = 1e-3


def network_device(module: nn.Module, default: torch.device | None = None) -> torch.device:
    """Return the device of a module's first tensor; the default, or the CPU, where it holds none."""
    tensors = (*module.parameters(), *module.buffers())
    return next((each.device for each in tensors), default or torch.device("cpu"))


def check_network(network: nn.Module, images: Float[Tensor, "b 3 y x"]) -> torch.device:
    """Return the device of a network.

    Raises:
        UserError: parts on different devices, weights that are not float32, or images that are no pixels of [0,1].
    """
    check_pixels(images)
    tensors = [*network.parameters(), *network.buffers()]
    devices = sorted({str(each.device) for each in tensors})
    if len(devices) > 1:
        raise UserError(f"the network lies on {' and '.join(devices)}: must be one device")
    for each in tensors:
        if each.is_floating_point() and each.dtype != torch.float32:
            raise UserError(f"the network's weights are {each.dtype}: must be torch.float32 (network.float())")
    return network_device(network, images.device)


def check_pixels(images: object) -> None:
    """Refuse what is no batch of square colour images with pixels in [0,1].

    Raises:
        UserError: says what is wrong with it.
    """
    if not isinstance(images, Tensor):
        raise UserError(f"images: a {type(images).__name__}, wanted a torch.Tensor [n, 3, s, s] of float32")
    shape = list(images.shape)
    if images.is_meta or images.layout != torch.strided:
        raise UserError("images: hold no values one by one (device meta, or sparse), must be a dense torch.Tensor")
    if images.requires_grad:
        raise UserError("images: require a gradient, must be pixels alone (images.detach())")
    if images.dtype != torch.float32:
        hint = " (images.float() / 255)" if images.dtype == torch.uint8 else " (images.float())"
        raise UserError(f"images: {images.dtype}, must be torch.float32 with pixels in [0,1]{hint}")
    if images.ndim != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise UserError(f"images: shape {shape}, must be [n, 3, s, s] (grey images: images.expand(-1, 3, -1, -1))")
    if not shape[0]:
        raise UserError("images: there are none")
    low, high = float(images.min()), float(images.max())
    if not (low >= 0.0 and high <= 1.0):
        hint = " (images / 255)" if low >= 0 and 2 < high <= 255 else ""
        raise UserError(f"images lie in [{low:.3g}, {high:.3g}], pixels must lie in [0,1]{hint}")


WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_labels(labels: object, n: int) -> None:
    """Refuse what is no class for each of ``n`` images.

    Raises:
        UserError: says what is wrong with it.
    """
    if not isinstance(labels, Tensor) or labels.dtype not in WHOLE or labels.ndim != 1 or labels.is_meta:
        shown = f"{labels.dtype}, shape {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise UserError(f"labels: {shown}, must be whole numbers, a torch.Tensor [n]")
    if len(labels) != n:
        raise UserError(f"labels: {len(labels)} for {n} images, must be one for each")
    if int(labels.min()) < 0:
        raise UserError(f"labels: the least is {int(labels.min())}, must be classes from 0 on")


def check_answers(answers: object, b: int) -> None:
    """Refuse what is not one row of numbers for each of ``b`` images.

    Raises:
        UserError: says what the network returns instead.
    """
    if not isinstance(answers, Tensor):
        raise UserError(f"the network returns a {type(answers).__name__}, wanted a tensor [images, classes]")
    if not answers.is_floating_point():
        raise UserError(f"the network returns {answers.dtype} (classes?), wanted logits, floating numbers")
    if answers.ndim != 2 or len(answers) != b or not answers.shape[1]:
        raise UserError(f"the network returns the shape {list(answers.shape)} for {b} images, wanted [{b}, classes]")


def check_no_probabilities(logits: Float[Tensor, "b q"]) -> None:
    """Refuse probabilities in the place of logits: attacks ascend losses of logits."""
    try:
        check_logits(logits)
    except UserError:
        raise UserError("the network returns probabilities: give its logits (leave the softmax out)") from None


def check_classes_told(labels: Int64[Tensor, " n"], num_classes: int) -> None:
    """Refuse labels that no answer of the network stands for."""
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= num_classes:
        raise UserError(
            f"labels reach from {least} to {most}, the network tells {num_classes} classes apart: must be 0 to "
            f"{num_classes - 1}"
        )


@torch.no_grad()
def check_range(
    predict: Callable[[Tensor], Int64[Tensor, " n"]], images: Float[Tensor, "n 3 y x"], labels: Int64[Tensor, " n"]
) -> None:
    """Refuse a network that is far better on the same images in another range than [0,1].

    It must gain a tenth of the images, by an exact sign test with p < 0.001, and be better than one answer to all.

    Args:
        predict: returns the network's answers to images, in whatever range.
        images: pixels in [0,1], of several classes.
        labels: their classes.

    Raises:
        UserError: names the range in which it is best.
    """

    def right(pixels: Tensor) -> Bool[Tensor, " n"]:
        return predict(pixels) == labels

    own = right(images)
    guess = labels.bincount().max().item() / len(labels)
    best, where = float(own.double().mean()) + FAR, None
    for name, (mean, std) in RANGES.items():
        shift, scale = (torch.tensor(each, device=images.device).view(3, 1, 1) for each in (mean, std))
        other = right((images - shift) / scale)
        gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
        share = float(other.double().mean())
        if share >= best and share >= guess + FAR and sign_test(gained, lost) < UNLIKELY:
            best, where = share, name
    if where is not None:
        raise UserError(
            f"the network is right on {100 * float(own.double().mean()):.1f} % of the images in [0,1], and on "
            f"{100 * best:.1f} % when they are {where}: does it expect these? Wrap it so that it takes pixels of [0,1] "
            "(as_classifier(network, images, labels, mean=..., std=...)), or pass range_checked=False"
        )
