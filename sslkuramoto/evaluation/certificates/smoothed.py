"""The smoothed classifier: Gaussian noise on the pixels before a classifier, and the vote of its answers.

    g(x) = argmax_c P(f(x + s e) = c),   e ~ N(0, I)

Randomised smoothing, Cohen, Rosenfeld and Kolter 2019 (1902.02918). The noise is not clipped to [0,1]. The base
classifier f may draw itself: a draw of the smoothed classifier is one e and one draw of f, and the proof needs only
the probability of an answer as a function of x.

Shapes: b batch, i fields, c channels, h w grid, y x pixels, q classes.
"""

from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.any_network import Logits
from sslkuramoto.classifier import Classifier, predicted
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.model_checks import SAME_LOGITS, effect_of_company
from sslkuramoto.randomness import Key, generator


class Smoothed(Encoder):
    """A classifier behind Gaussian noise, as a stochastic encoder whose features are logits.

    Every attack on a stochastic classifier then attacks the smoothed one: its held draws hold the noise and the draws
    of the classifier, and gradients pass through both.

    Args:
        classifier: the base classifier f, in mode "random" or "fixed".
        sigma: standard deviation of the noise, pixels in [0,1].
    """

    stochastic = True
    gives = "logits"

    def __init__(self, classifier: Classifier, sigma: float) -> None:
        super().__init__()
        self.classifier, self.sigma, self.initial = classifier, sigma, "random"
        self.num_features = cast(int, classifier.head.out_features)
        self.draws_share_passes = classifier.encoder.draws_share_passes
        self._shapes: dict[tuple[int, ...], torch.Size] = {}

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Any = False,
    ) -> Features:
        """Return the logits of f on noisy images.

        Args:
            images: pixels in [0,1].
            initial: noise and states from :meth:`sample_initial`, one for each image or one for all. Images with states
                of their own are answered independently, also by a network that draws one number for a batch.
            draw: generator of the noise, and of the draw of f for this batch, if ``initial`` is None.
            trace: without effect.
        """
        if initial is None:
            assert draw is not None, "a smoothed classifier needs initial= or draw="
            noise = torch.randn(images.shape, generator=draw, device=images.device, dtype=images.dtype)
            logits = self.classifier(images + self.sigma * noise, draw=draw)
        else:
            size = images[0].numel()
            packed = initial.flatten(1)
            noise = packed[:, :size].view(-1, *images.shape[1:])
            own = packed[:, size:].view(len(packed), *self._own_shape(images)) if self.classifier.stochastic else None
            logits = self.classifier(images + self.sigma * noise, initial=own)
        return Features(logits, logits[:, :, None, None])

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c 1 1"]:
        """Draw noise for each pixel, and for each image the start of f, packed into one row."""
        noise = torch.randn(images.shape, generator=draw, device=images.device, dtype=images.dtype).flatten(1)
        if self.classifier.stochastic:
            own = self.classifier.encoder.sample_initial(images, draw).to(noise)
            noise = torch.cat([noise, own.flatten(1)], dim=1)
        return noise[:, :, None, None]

    def _own_shape(self, images: Float[Tensor, "b 3 y x"]) -> torch.Size:
        """Return the shape of one start of f for images of this shape."""
        key = tuple(images.shape[1:])
        if key not in self._shapes:
            one = images[:1].detach()
            self._shapes[key] = self.classifier.encoder.sample_initial(one, generator(images.device, "shape")).shape[1:]
        return self._shapes[key]


def smoothed(classifier: Classifier, sigma: float) -> Classifier:
    """Return the classifier whose every forward pass is one draw of the smoothed classifier.

    Args:
        classifier: the base classifier, in mode "random" or "fixed".
        sigma: standard deviation of the noise, > 0, pixels in [0,1].
    """
    assert classifier.mode in ("random", "fixed"), classifier.mode
    return Classifier(
        Smoothed(classifier, sigma), Logits(cast(int, classifier.head.out_features)), seed=classifier.seed
    )


def check_alone(classifier: Classifier, images: Float[Tensor, "b 3 y x"]) -> None:
    """Refuse a network whose answer to an image depends on the other images of its batch.

    Its vote on copies of one image is then no vote of the classifier that answers an image. Images with states of
    their own are answered independently, so that a network that draws passes.

    Args:
        classifier: made by :func:`smoothed`.
        images: a few, in [0,1].

    Raises:
        UserError: by how much it depends on them.
    """
    initial = classifier.encoder.sample_initial(images, generator(images.device, classifier.seed, "other company"))
    effect = effect_of_company(lambda batch: classifier(batch, initial=initial), images)
    if not effect <= SAME_LOGITS:  # also nan
        raise UserError(
            f"the answer to an image depends on the other images of its batch (by {effect:.2g} of the spread of "
            "its answers), so no certificate holds for one image; let the network answer each image by itself"
        )


@torch.no_grad()
def votes(
    classifier: Classifier, image: Float[Tensor, "3 y x"], draws: int, batch: int, *key: Key
) -> Int64[Tensor, " q_and_one"]:
    """Count the answers of a smoothed classifier to one image, on the CPU.

    Args:
        classifier: made by :func:`smoothed`.
        image: pixels in [0,1].
        draws: number of answers. Each has its own noise and its own draw of f, so they are independent.
        batch: answers in one forward pass.
        key: of the draws: the same key repeats them.

    Returns:
        Number of answers of each class; the last entry counts logits that are NaN or infinite.
    """
    classes = classifier.encoder.num_features
    counts = torch.zeros(classes + 1, dtype=torch.int64)
    for number, first in enumerate(range(0, draws, batch)):
        repeated = image.expand(min(batch, draws - first), -1, -1, -1)
        draw = generator(image.device, classifier.seed, *key, number)
        states = classifier.encoder.sample_initial(repeated, draw)
        answers = predicted(classifier(repeated, initial=states)).cpu()
        counts += torch.bincount(answers, minlength=classes + 1)
    return counts
