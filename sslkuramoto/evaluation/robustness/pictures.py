"""Adversarial images that are stored beside a result, for pictures.

Shapes: n images, y x pixels, k draws, m stored images.
"""

from pathlib import Path

from jaxtyping import Float, Int64
from safetensors.torch import save
from torch import Tensor

from sslkuramoto.evaluation.classification.subset import Chosen
from sslkuramoto.files import write_atomically
from sslkuramoto.noise_draws import right_by_vote


def store_broken(
    path: Path,
    chosen: Chosen,
    worst: Float[Tensor, "n 3 y x"],
    clean: Int64[Tensor, "k n"],
    robust: Int64[Tensor, "k n"],
    most: int,
) -> None:
    """Store images that the majority vote of the draws classifies correctly before the attack and wrongly after it.

    Args:
        path: of the file, safetensors: index, labels, clean, adversarial, prediction; m images each.
        chosen: the images.
        worst: the worst candidate of each.
        clean, robust: predictions for the images and for their candidates.
        most: how many are stored at most.
    """
    labels = chosen.labels.cpu()
    broken = right_by_vote(clean, labels) & (robust.mode(dim=0).values != labels)
    rows = broken.nonzero().squeeze(1)[:most]
    tensors = {
        "index": chosen.index[rows],
        "labels": labels[rows],
        "clean": chosen.pixels.cpu()[rows],
        "adversarial": worst.cpu()[rows],
        "prediction": robust[:, rows].mode(dim=0).values,
    }
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
