"""A view policy: it maps images in [0, 1] to named views in [0, 1], on the device of the images.

Shapes: b batch, y x pixels.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.examples import Batch, Images, Reads, Spec
from sslkuramoto.randomness import borrowed_global


class ViewPolicy(nn.Module):
    """One chain of augmentations per named view.

    Random parameters are drawn per image and per view. They are drawn on the CPU, and pixels are computed on the device
    of the images: a generator on the CPU gives the same views on every device.

    A policy has no parameters and no state. Its chains are in a plain dict, so that ``.to(...)`` does not reach them:
    kornia would sample on the device or in another precision, and would put constants into the ``state_dict``.

    Attributes:
        reads: the kinds of examples that it accepts.
        names: names of the views.

    Args:
        image_size: side of the images and of the views in pixels.
        chains: the augmentations of each view, by the view's name.
    """

    reads: ClassVar[Reads] = (Images,)

    def __init__(self, image_size: int, **chains: nn.Module) -> None:
        super().__init__()
        self.image_size = image_size
        self.names = tuple(chains)
        self._chains = dict(chains)

    def check(self, source: str, spec: Spec) -> None:
        """Check that it changes the examples of a source as they may be changed; they are of a kind that it reads.

        Nothing more to check by default.

        Args:
            source: kind and name for the error, such as ``"data sudoku"``.
            spec: of the source's examples.

        Raises:
            UserError: it does not.
        """

    def moved(self, batch: Batch, draw: torch.Generator) -> Batch:
        """Return a batch whose inputs and targets are changed together, before views are made of the inputs.

        Unchanged here, and nothing is drawn; a policy of boards moves puzzle and solution alike.
        """
        return batch

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> dict[str, Float[Tensor, "b 3 y x"]]:
        """Return all views of ``images``.

        Args:
            images: pixels in [0, 1], of side ``image_size``.
            draw: generator, the only source of randomness; the same state gives the same views.

        Returns:
            One tensor of float32 pixels in [0, 1] per view, by its name.
        """
        assert images.shape[-2:] == (self.image_size, self.image_size), f"{tuple(images.shape)} != {self.image_size}"
        assert images.is_floating_point(), f"pixels in [0, 1] are wanted, not {images.dtype}"
        images = images.float()
        with borrowed_global(draw), torch.autocast(images.device.type, enabled=False):
            return {name: chain(images).clamp(0.0, 1.0) for name, chain in self._chains.items()}

    def extra_repr(self) -> str:
        return "\n".join(f"({name}): {chain}" for name, chain in self._chains.items())
