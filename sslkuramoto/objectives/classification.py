"""Classification: cross entropy of a head on pooled features, for supervised training, finetuning and frozen encoders.

Label smoothing: Szegedy et al. 2016, arXiv 1512.00567, section 7.
Shapes: b batch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.examples import Images, Pairs, Reads
from sslkuramoto.objectives.losses import cross_entropy
from sslkuramoto.objectives.objective import Objective, Step, check_classes, encode, features_of
from sslkuramoto.recipe import Part
from sslkuramoto.values import Count, Share, checked


@checked
class Classification(Objective):
    """Supervised classification: mean cross entropy of a head on pooled features against the labels.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: number of classes of the data, > 1.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].
        hidden: width of a hidden layer of the head, with ReLU (null: none, the head is linear).
        freeze: whether the encoder keeps its weights, those of the run it starts from, and stays in eval mode; the head
            alone is trained. Without ``init`` it is a random encoder, a control: logs and results say so.

    Attributes:
        head: logits from pooled features.

    Raises:
        UserError: the data has no labels or one class, or an option is out of range.
    """

    views = ("a",)
    needs_labels = True
    reads: ClassVar[Reads] = (Images, Pairs)
    head_part = Part("linear")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None,
        *,
        label_smoothing: Share = 0.0,
        hidden: Count | None = None,
        freeze: bool = False,
    ) -> None:
        classes = check_classes(num_classes)
        super().__init__()
        self.label_smoothing = label_smoothing
        self.freezes_encoder = freeze
        if hidden is not None:
            self.head_part = Part("mlp", {"hidden": hidden})
        self.head = self.new_head(features_of(encoder), classes)

    @classmethod
    def freezes(cls, options: Mapping[str, Any]) -> bool:
        """Return the option ``freeze``."""
        return bool(options.get("freeze"))

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b ..."]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        assert labels is not None, "the loop passes labels to an objective that needs them"
        features = encode(encoder, views["a"], draw)
        logits = self.head(features)
        loss = cross_entropy(logits, labels=labels, smoothing=self.label_smoothing)
        accuracy = (logits.detach().argmax(dim=1) == labels).float().mean()
        return Step(loss, {"accuracy": accuracy}, features.detach())
