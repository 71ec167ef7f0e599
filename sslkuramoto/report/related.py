"""Examples of relations that were stored beside a result: images, targets, last states of the oscillators.

Shapes: m examples, p images per example, s side of the images, d oscillators of an object, n oscillator dimension.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.relations.samples import ENDING
from sslkuramoto.report.evidence import IMAGES
from sslkuramoto.results import Result


@dataclass(frozen=True)
class Related:
    """Examples with what a network makes of them.

    Attributes:
        index: place of each example in its set.
        images: pixels in [0, 1].
        targets: what is right: 0 for "same", or for the first target pair.
        states: unit oscillators of both objects after the last step; None without oscillators.
    """

    index: Int64[Tensor, " m"]
    images: Float[Tensor, "m p 3 s s"]
    targets: Int64[Tensor, " m"]
    states: Float[Tensor, "m 2 d n"] | None


def related_of(result: Result) -> Related | None:
    """Return the examples that were stored beside a result, or None.

    Raises:
        UserError: their file is broken.
    """
    path = result.path.parent / IMAGES / f"{result.path.stem}{ENDING}"
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        images, index, targets = tensors["images"].float(), tensors["index"].long(), tensors["targets"].long()
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: truncated or no record of pairs ({error}); measure again") from None
    states = tensors["states"].float() if "states" in tensors else None
    m = len(images)
    pictured = images.ndim == 5 and images.shape[2] == 3 and images.shape[1] in (2, 6) and images.numel()
    alike = index.shape == targets.shape == (m,) and bool(((targets == 0) | (targets == 1)).all())
    placed = states is None or (states.ndim == 4 and states.shape[:2] == (m, 2) and states.shape[3] > 1)
    if not (pictured and alike and placed):
        raise UserError(f"{path}: images {tuple(images.shape)}: are no pairs with their oscillators; measure again")
    return Related(index, images, targets, states)
