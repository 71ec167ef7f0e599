"""Arrays that hold a row for each image that is still attacked."""

from dataclasses import dataclass, fields

from jaxtyping import Bool
from torch import Tensor


@dataclass
class OpenRows:
    """The images, or pairs of an image and a target, that are still attacked: a row of each array."""

    def keep(self, rows: Bool[Tensor, " o"]) -> None:
        """Drop all other rows."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[rows])
