"""Classification of images that are mixed with each other by CutMix or Mixup.

Yun et al. 2019 (CutMix, arXiv 1905.04899); Zhang et al. 2018 (Mixup, arXiv 1710.09412).
Shapes: b batch, y x pixels, k classes.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto.errors import UserError
from sslkuramoto.objectives.losses import soft_cross_entropy
from sslkuramoto.objectives.mixing import MixEach, mixture_for
from sslkuramoto.objectives.objective import Objective, Step, check_classes, encode, features_of
from sslkuramoto.randomness import borrowed_global
from sslkuramoto.recipe import Part
from sslkuramoto.values import Positive, Share, checked, small


@small(cutmix=0.0)  # the contract of all objectives speaks of the features of a view, not of mixtures
@checked
class MixedClassification(Objective):
    """Supervised classification of mixed images: mean cross entropy of a linear head against mixed targets.

    The images are mixed after the views were made, and the mixture is drawn before the encoder's oscillators.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: number of classes of the data, > 1.
        cutmix: probability that a box of each image is replaced by that of another image.
        cutmix_alpha: parameter of the Beta distribution of CutMix's share, > 0 (1: uniform).
        mixup: probability that each image is averaged with another one. With ``cutmix`` together at most 1: at most one
            of the two is applied, and with the rest of the probability none.
        mixup_alpha: parameter of the Beta distribution of Mixup's share, > 0.
        mix_each: whether rule, share and box are drawn once for the ``"batch"``, as in the published code of both
            papers, or for each ``"image"``.
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].

    Attributes:
        head: the linear layer on pooled features.

    Raises:
        UserError: the data has no labels or one class, an option is out of range, or the two probabilities exceed 1.

    Differs: ``accuracy`` is the mean share of the predicted class in the target before smoothing.
    """

    views = ("a",)
    needs_labels = True
    head_part = Part("linear")

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None,
        *,
        cutmix: Share = 0.8,
        cutmix_alpha: Positive = 1.0,
        mixup: Share = 0.0,
        mixup_alpha: Positive = 0.8,
        mix_each: MixEach = "batch",
        label_smoothing: Share = 0.0,
    ) -> None:
        self.num_classes = check_classes(num_classes)
        if cutmix + mixup > 1:
            raise UserError(f"cutmix={cutmix}, mixup={mixup}: together at most 1, for at most one of them is applied")
        super().__init__()
        self.cutmix, self.cutmix_alpha = cutmix, cutmix_alpha
        self.mixup, self.mixup_alpha = mixup, mixup_alpha
        self.mix_each: MixEach = mix_each
        self.label_smoothing = label_smoothing
        self.head = self.new_head(features_of(encoder), self.num_classes)

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b 3 y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        assert labels is not None, "the loop passes labels to an objective that needs them"
        images, targets = self._mixed(views["a"], labels, draw)
        features = encode(encoder, images, draw)
        logits = self.head(features)
        loss = soft_cross_entropy(logits, targets, smoothing=self.label_smoothing)
        predicted = logits.detach().argmax(dim=1, keepdim=True)
        return Step(loss, {"accuracy": targets.gather(1, predicted).mean()}, features.detach())

    def _mixed(
        self, images: Float[Tensor, "b 3 y x"], labels: Int64[Tensor, " b"], draw: torch.Generator | None
    ) -> tuple[Float[Tensor, "b 3 y x"], Float[Tensor, "b k"]]:
        """Return images and targets; nothing is drawn where nothing is mixed."""
        if self.cutmix + self.mixup == 0:
            return images, nn.functional.one_hot(labels, self.num_classes).float()
        if draw is None:
            raise UserError("draw=None: images are mixed at random; give draw= a torch.Generator")
        height, width = images.shape[-2:]
        with borrowed_global(draw):
            mixture = mixture_for(
                len(images),
                (height, width),
                cutmix=self.cutmix,
                cutmix_alpha=self.cutmix_alpha,
                mixup=self.mixup,
                mixup_alpha=self.mixup_alpha,
                each=self.mix_each,
            )
        return mixture.images(images), mixture.targets(labels, self.num_classes)
