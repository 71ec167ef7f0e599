"""Plants at the logits: they change what attacks read, and hardly ever the answer.

Rounded logits have zero gradients. Detached logits have no autograd graph (as behind a median filter or a JPEG codec
outside torch). Large logits saturate the cross entropy in float32. See Athalye, Carlini and Wagner 2018 (1802.00420) on
shattered and vanishing gradients, and Carlini and Wagner 2017 (1608.04644, section V) on the large logits of defensive
distillation.

Shapes: b batch, q classes.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.evaluation.audit.plants.altered import AlteredHead, Planted
from sslkuramoto.values import Positive, checked

STEP = 0.5  # of rounded logits: fine enough not to change the clean accuracy
FACTOR = 1e4  # softmax of such logits is exactly 0 or 1 in float32


@checked
def quantised(encoder: Encoder, head: nn.Module, *, step: Positive = STEP) -> Planted:
    """Logits rounded to multiples of a step: their gradient is exactly zero, everywhere.

    Args:
        step: of the rounding.
    """
    return encoder, AlteredHead(head, partial(_rounded, step=step))


def detached(encoder: Encoder, head: nn.Module) -> Planted:
    """The same logits without an autograd graph to the image (Athalye, Carlini and Wagner 2018, section 4)."""
    return encoder, AlteredHead(head, torch.detach)


@checked
def scaled(encoder: Encoder, head: nn.Module, *, factor: Positive = FACTOR) -> Planted:
    """Logits times a large factor: the same classes, and a cross entropy without gradient.

    Carlini and Wagner 2017 (1608.04644, section V).

    Args:
        factor: of the logits.
    """
    return encoder, AlteredHead(head, partial(torch.mul, other=factor))


@checked
def tanh(encoder: Encoder, head: nn.Module, *, slope: Positive = 100.0) -> Planted:
    """A saturated tanh of the logits, taken from the middle of the largest two: nearly always exactly -1 and 1.

    A saturating activation vanishes gradients as in Nayebi and Ganguli 2017 (1703.09202), broken by Brendel and Bethge
    2017 (1704.01547).

    Args:
        slope: of the tanh; where it is large, every answer is hard.
    """
    return encoder, AlteredHead(head, partial(_saturated, slope=slope))


@checked
def rounded(encoder: Encoder, head: nn.Module, *, step: Positive = 0.1) -> Planted:
    """Log-probabilities rounded to multiples of a step, as an interface that returns few digits does.

    Args:
        step: of the rounding.
    """
    return encoder, AlteredHead(head, partial(_rounded_log, step=step))


def _rounded(logits: Float[Tensor, "b q"], step: float) -> Float[Tensor, "b q"]:
    return (logits / step).round() * step


def _saturated(logits: Float[Tensor, "b q"], slope: float) -> Float[Tensor, "b q"]:
    middle = logits.topk(2, dim=1).values.mean(dim=1, keepdim=True)
    return (slope * (logits - middle)).tanh()


def _rounded_log(logits: Float[Tensor, "b q"], step: float) -> Float[Tensor, "b q"]:
    return _rounded(logits.log_softmax(dim=1), step)


def scaled_head(head: nn.Module, factor: float) -> AlteredHead:
    """Return a head whose logits are multiplied by a factor."""
    return AlteredHead(head, partial(torch.mul, other=factor))
