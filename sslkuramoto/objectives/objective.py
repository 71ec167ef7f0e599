"""What an objective is: named views in, one step's loss out.

Shapes: b batch, y x pixels, d features.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from inspect import signature
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.errors import UserError


class Step(NamedTuple):
    """What one forward pass of an objective returns.

    Attributes:
        loss: scalar to minimise, float32 at least whatever the precision of the network.
        metrics: scalars to log, detached, of this process only (the loop averages them over processes).
        features: pooled features of the first view, detached (for collapse measures).
    """

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]
    features: Float[Tensor, "b d"]


class Objective(nn.Module, ABC):
    """The contract of an objective.

    It owns its heads and its EMA target (in its ``state_dict``) and never the online encoder, which the caller passes
    to each call. Constructors take ``(encoder, num_classes)`` positionally; their keyword-only parameters are the
    options of a recipe. Heads are initialised from torch's global generator, so build within ``borrowed_global``.

    The mean over processes of loss and gradients equals those of one process with the joined batch, up to BatchNorm,
    which has to be synchronised for that (in the encoder and in the objective).

    Attributes:
        views: names of the views that ``forward`` reads, in order.
        needs_labels: whether ``forward`` needs ``labels``.
    """

    views: tuple[str, ...]
    needs_labels: bool = False

    @abstractmethod
    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b 3 y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        """Return loss, metrics and features of one batch.

        Args:
            encoder: the online encoder, called once a view (BatchNorm statistics are those of one view): an
                :class:`~sslkuramoto.encoders.Encoder`, or any module that returns features ``[b, d]``.
            views: pixels in [0,1], by name.
            draw: generator from which every encoder call, online and target, draws fresh initial oscillators; may be
                left out where nothing draws.
            labels: class indices, for objectives with ``needs_labels``.
        """

    def after_step(self, encoder: nn.Module, progress: float) -> None:
        """React to an optimiser step that was just made (an EMA target moves here). Nothing by default.

        Args:
            encoder: the online encoder, after the step.
            progress: share of all steps made, in (0, 1].
        """
        assert 0 < progress <= 1

    def exported(self, encoder: nn.Module) -> nn.Module:
        """Return the encoder that a run leaves behind: the online one by default."""
        return encoder


def encode(
    encoder: nn.Module, images: Float[Tensor, "b 3 y x"], draw: torch.Generator | None = None
) -> Float[Tensor, "b d"]:
    """Return pooled features of ``images``.

    Args:
        encoder: an encoder, which draws its oscillators from ``draw`` if it has any, or a module whose ``forward``
            takes images alone and returns features.
        images: pixels in [0,1].
        draw: source of the oscillators.
    """
    takes = signature(encoder.forward).parameters.values()
    takes_draw = any(each.name == "draw" or each.kind is each.VAR_KEYWORD for each in takes)
    found = encoder(images, draw=draw) if takes_draw else encoder(images)
    return found if isinstance(found, Tensor) else found.pooled


def features_of(encoder: nn.Module) -> int:
    """Return the length of an encoder's features.

    Raises:
        UserError: a module that does not say.
    """
    found = vars(encoder).get("num_features", getattr(type(encoder), "num_features", None))
    if not isinstance(found, int):
        raise UserError(f"{type(encoder).__name__} does not say how long its features are: set its num_features")
    return found


def check_views(name: str, objective: Objective, given: Iterable[str]) -> None:
    """Check, before the first batch, that a view policy yields what an objective reads.

    Args:
        name: the objective's name in the recipe.
        objective: the objective.
        given: names of the views that the policy yields. More than needed is fine.

    Raises:
        UserError: a view is missing.
    """
    names = tuple(given)
    for view in objective.views:
        if view not in names:
            needed = ", ".join(objective.views)
            raise UserError(f"objective {name} needs the views {needed}; the policy gives {', '.join(names) or 'none'}")
