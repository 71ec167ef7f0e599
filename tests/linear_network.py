"""A network of one linear function, whose smoothed radius is known in closed form, and a randomised one of that kind.

For logits (0, w x - t) under noise s e the second class has probability Phi((w x - t) / (s |w|)): the radius of the
smoothed classifier is the distance |w x - t| / |w| to the boundary, whatever s (Cohen et al. 2019, proposition 1).
"""

import math

import torch
from torch import Tensor

from sslkuramoto.any_network import Logits
from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.randomness import generator


class Linear(Encoder):
    """Two classes: the second where w x > t. With ``coin`` > 0 each draw moves t by coin times a normal number."""

    gives = "logits"

    def __init__(self, side: int = 3, *, threshold: float = 0.0, coin: float = 0.0) -> None:
        super().__init__()
        self.num_features = 2
        self.weights = torch.randn(3 * side * side, generator=generator("cpu", "linear"))
        self.threshold, self.coin = threshold, coin
        self.stochastic = coin > 0

    def margin(self, images: Tensor) -> Tensor:
        """Return w x - t without a coin."""
        return images.flatten(1) @ self.weights - self.threshold

    def forward(self, images, *, initial=None, draw=None, trace=False) -> Features:
        margin = self.margin(images)
        if self.stochastic:
            if initial is None:
                assert draw is not None
                initial = self.sample_initial(images, draw)
            margin = margin - self.coin * initial.flatten()
        logits = torch.stack([torch.zeros_like(margin), margin], dim=1)
        return Features(logits, logits[:, :, None, None])

    def sample_initial(self, images, draw: torch.Generator) -> Tensor:
        return torch.randn(len(images), 1, 1, 1, generator=draw)

    def probability(self, images: Tensor, sigma: float) -> Tensor:
        """Return the probability of the second class under noise and coin, in closed form."""
        scale = math.hypot(sigma * float(self.weights.norm()), self.coin)
        return 0.5 * (1 + torch.erf(self.margin(images) / scale / math.sqrt(2)))


def classifier_of(encoder: Linear) -> Classifier:
    """Return it as a classifier."""
    return Classifier(encoder, Logits(2))


def some_images(n: int, side: int = 3) -> Tensor:
    """Return random images with pixels in [0,1]."""
    return torch.rand(n, 3, side, side, generator=generator("cpu", "some images"))
