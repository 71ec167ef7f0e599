"""What an objective is: named views in, one step's loss out.

Shapes: b batch, y x pixels, d features.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Images, Reads, Spec
from sslkuramoto.heads import HEADS
from sslkuramoto.recipe import Part


class Step(NamedTuple):
    """What one forward pass of an objective returns.

    Attributes:
        loss: scalar to minimise, float32 at least whatever the precision of the network.
        metrics: scalars to log, detached tensors or numbers, of this process only (the loop averages them over
            processes), under names that neither the loop nor a monitor uses itself, such as "loss" or "knn".
        features: pooled features of the first view, detached (for collapse measures).
    """

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]
    features: Float[Tensor, "b d"]


class Objective(nn.Module, ABC):
    """The contract of an objective.

    It owns its heads and its EMA target (in its ``state_dict``) and never the online encoder, which the caller passes
    to each call: an :class:`Encoder`, or any module that returns features. Constructors take ``(encoder, num_classes)``
    positionally; their keyword-only parameters are the options of a recipe. Heads are initialised from torch's global
    generator, so build within ``borrowed_global``.

    The mean over processes of loss and gradients equals those of one process with the joined batch, up to BatchNorm,
    which has to be synchronised for that (in the encoder and in the objective).

    Attributes:
        views: names of the views that ``forward`` reads, in order.
        needs_labels: whether ``forward`` needs ``labels``.
        reads: kinds of spec whose views it takes.
        head_part: name and options of the head in :data:`~sslkuramoto.heads.HEADS` that it trains as ``self.head``, and
            that a run leaves behind for evaluation; None for none.
        freezes_encoder: whether the encoder is not trained: its weights get no gradient and no state of the optimizer,
            and it stays in eval mode.
        takes_gradients: whether ``forward`` takes gradients itself, as the inner steps of adversarial training do.
    """

    views: tuple[str, ...]
    needs_labels: bool = False
    reads: ClassVar[Reads] = (Images,)
    head_part: Part | None = None
    freezes_encoder: bool = False
    takes_gradients: ClassVar[bool] = False
    head: nn.Module

    @abstractmethod
    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b ..."]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        """Return loss, metrics and features of one batch.

        Args:
            encoder: the online encoder, called once per view (BatchNorm statistics are those of one view): an
                :class:`~sslkuramoto.encoders.Encoder`, or any module that returns features ``[b, d]``.
            views: pixels in [0,1], by name.
            draw: generator from which every encoder call, online and target, draws fresh initial oscillators. May be
                left out where nothing draws: the encoder is not stochastic, nor is the objective.
            labels: targets of the batch, for objectives with ``needs_labels``: class indices for images.
        """

    @classmethod
    def freezes(cls, options: Mapping[str, Any]) -> bool:
        """Return whether these options of a recipe make ``freezes_encoder`` true: by default where the class does."""
        return cls.freezes_encoder

    def check(self, source: str, spec: Spec) -> None:
        """Check that it can learn from the examples of a source, which are of a kind that it reads.

        Nothing more to check by default.

        Args:
            source: kind and name for the error, such as ``"data sudoku"``.
            spec: of the source's examples.

        Raises:
            UserError: it cannot.
        """

    def new_head(self, in_features: int, num_classes: int) -> nn.Module:
        """Return the head that ``head_part`` names, with fresh weights."""
        assert self.head_part is not None
        return HEADS.build(self.head_part.name, self.head_part.options, in_features, num_classes)

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
    encoder: nn.Module,
    images: Float[Tensor, "b ..."],
    draw: torch.Generator | None = None,
    *,
    initial: Float[Tensor, "i ..."] | None = None,
) -> Float[Tensor, "b d"]:
    """Return pooled features of ``images`` from oscillators freshly drawn (a deterministic encoder draws nothing).

    Args:
        encoder: an :class:`Encoder`, or any module from images to pooled features or to :class:`Features`. Of such a
            module only one whose ``stochastic`` is true gets ``draw=`` or ``initial=``.
        images: pixels in [0,1]: "b 3 y x", or pairs "b p 3 y x".
        draw: generator; may be left out where the encoder is not stochastic.
        initial: the oscillators to start from, instead of a draw.

    Raises:
        UserError: a stochastic encoder without ``draw``, or a module that returns no features.
    """
    stochastic = is_stochastic(encoder)
    if stochastic and draw is None and initial is None:
        raise UserError("draw=None: this encoder draws its oscillators at each call; give draw= a torch.Generator")
    if initial is not None:
        found = encoder(images, initial=initial)
    else:
        found = encoder(images, draw=draw) if stochastic or isinstance(encoder, Encoder) else encoder(images)
    pooled = found.pooled if isinstance(found, Features) else found
    if not isinstance(pooled, Tensor) or pooled.ndim != 2:
        shape = list(pooled.shape) if isinstance(pooled, Tensor) else type(found).__name__
        raise UserError(f"{type(encoder).__name__} returns {shape}: must return features, one row for each image")
    return pooled


def is_stochastic(encoder: nn.Module) -> bool:
    """Return whether an encoder, or any module that states it as ``stochastic``, draws at each call."""
    return getattr(encoder, "stochastic", False) is True


def features_of(encoder: nn.Module) -> int:
    """Return the length of the features of an encoder, or of any module that states it as ``num_features``.

    Raises:
        UserError: it does not.
    """
    length = getattr(encoder, "num_features", None)
    if not isinstance(length, int):
        raise UserError(
            f"{type(encoder).__name__} has no num_features: set it to the length of its features, "
            "for example network.num_features = 512"
        )
    return length


def check_classes(num_classes: int | None) -> int:
    """Return the number of classes that a classifier is trained on.

    Raises:
        UserError: the data have no labels, or one class only.
    """
    if num_classes is None:
        raise UserError("needs labels, but the data has none")
    if num_classes < 2:
        raise UserError("needs at least two classes, but the data has one")
    return num_classes


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
