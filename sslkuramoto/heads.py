"""What an objective trains on top of an encoder and evaluation reads: features in, one logit for each answer out.

``HEADS.build(name, options, in_features, out_features)`` makes one; a checkpoint saves it with the section that
rebuilds it. Another package adds one by an entry point ``sslkuramoto.heads``.
Shapes: b batch, d features, h w grid, k answers.
"""

from typing import Any, ClassVar, Literal, cast

from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.examples import Boards, Images, Pairs, Reads, Spec, check_reads
from sslkuramoto.registry import Registry

Takes = Literal["pooled", "map"]
"""Which of the features a head is given. A module without ``takes``, such as a plain ``nn.Linear``, is given the
pooled ones."""


class Linear(nn.Linear):
    """One linear layer on pooled features: logits of each example.

    Args:
        in_features: d.
        out_features: k, the number of classes.
    """

    reads: ClassVar[Reads] = (Images, Pairs)
    takes: ClassVar[Takes] = "pooled"

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)


class MLP(nn.Sequential):
    """A linear layer, ReLU and another linear layer on pooled features: logits of each example.

    Args:
        in_features: d.
        out_features: k, the number of classes.
        hidden: width between them; null: 4 d, as in AKOrN's network for object discovery.
    """

    reads: ClassVar[Reads] = (Images, Pairs)
    takes: ClassVar[Takes] = "pooled"

    def __init__(self, in_features: int, out_features: int, *, hidden: int | None = None) -> None:
        hidden = hidden or 4 * in_features
        super().__init__(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, out_features))
        self.in_features, self.out_features = in_features, out_features


class PerCell(nn.Module):
    """ReLU and a 1 x 1 convolution on the map: logits of each cell.

    The output layer of AKOrN's Sudoku network (Miyato et al. 2025, arXiv 2410.13821, appendix); without ReLU that of
    Winfree networks on boards (WONN, arXiv 2605.20922).

    Args:
        in_features: d, channels of the map.
        out_features: k, the number of symbols.
        relu: whether the map is rectified first.
    """

    reads: ClassVar[Reads] = (Boards,)
    takes: ClassVar[Takes] = "map"

    def __init__(self, in_features: int, out_features: int, *, relu: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.relu = relu
        self.to_logits = nn.Conv2d(in_features, out_features, 1)

    def forward(self, grid: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k h w"]:
        """Return the logits of every cell."""
        return self.to_logits(grid.relu() if self.relu else grid)


HEADS: Registry[nn.Module] = Registry("head", "sslkuramoto.heads")
"""Members are modules with ``in_features``, ``out_features``, the specs they are trained on (``reads``) and what of the
features they are given (``takes``)."""
HEADS.add("linear", Linear)
HEADS.add("mlp", MLP)
HEADS.add("per_cell", PerCell)


def taken(head: nn.Module, pooled: Tensor, grid: Tensor) -> Tensor:
    """Return what of the features a head is given.

    Args:
        head: any module.
        pooled: "b d".
        grid: the map, "b d h w".
    """
    takes: Takes = getattr(head, "takes", "pooled")
    return grid if takes == "map" else pooled


def check_head(name: str, source: str, spec: Spec) -> None:
    """Check that a registered head is trained on what a source gives.

    Args:
        name: of the head.
        source: kind and name, as errors show them: ``"data sudoku"``.
        spec: what that gives.

    Raises:
        UserError: an unknown head, or one for another kind of spec.
    """
    check_reads(f"head {name}", cast(Any, HEADS[name]).reads, source, spec)
