"""Adversarial training: cross entropy at the worst image that projected gradient ascent finds in a ball around each.

Madry et al. 2018, arXiv 1706.06083, equation 2.1; TRADES: Zhang et al. 2019, arXiv 1901.08573, equation 5.
Shapes: b batch, y x pixels, d features, q classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.encoders.features import buffers_kept, frozen, modes_kept
from sslkuramoto.errors import UserError
from sslkuramoto.objectives.losses import cross_entropy, in_full_precision
from sslkuramoto.objectives.objective import Objective, Step, check_classes, encode, features_of, is_stochastic
from sslkuramoto.recipe import Part
from sslkuramoto.threat import BY_NORM, DEFAULT_EPS, Norm, Threat, parse_eps
from sslkuramoto.values import NotNegative, Positive, Repeats, Share, checked, small

Images = Float[Tensor, "b 3 y x"]
Logits = Float[Tensor, "b q"]


# No random start, for two processes draw other ones than one does. Inner passes in train mode, for in eval mode a
# loss depends on BatchNorm's running statistics, which the step before has moved.
@small(eps=0.1, steps=2, random_start=False, inner_mode="train")
@checked
class Adversarial(Objective):
    """Adversarial training: cross entropy at the worst image found near each (Madry et al. 2018), or TRADES (2019).

    Cross entropy of ``head(pooled features)`` at adversarial images, or TRADES' clean loss plus beta * divergence.

    The inner maximisation starts at a random point of the ball, takes ``steps`` steps along the steepest direction of
    the norm, and comes back into the ball and [0,1] after each. It moves pixels only: parameters get their gradient
    from the loss at its end, and BatchNorm's running statistics see nothing of it.

    Args:
        encoder: gives the length of the features: it has ``num_features``.
        num_classes: number of classes of the data, > 1.
        loss: "cross_entropy" (Madry et al.: both the inner and the outer loss), or "trades": cross entropy of the clean
            image plus ``beta`` * KL(clean prediction, adversarial prediction), whose divergence is maximised inside.
        beta: weight of TRADES' divergence, >= 0 (1 / lambda of the paper); idle for the other loss.
        norm: of the ball: "linf" or "l2".
        eps: radius in pixels of [0,1]: a number or a fraction such as "8/255", > 0; null: 8/255 in linf, 0.5 in l2.
        steps: of the inner maximisation, >= 1.
        step_size: length of one, in pixels; null: 2.5 * eps / steps (Madry et al., section 5), which reaches every
            point of the ball from any other.
        random_start: start at a random point of the ball instead of at the image.
        noise: what the inner maximisation knows of a stochastic encoder's oscillators. "held": one draw for all inner
            steps and for the loss; "fresh": a new draw at every pass. A deterministic encoder has none.
        inner_mode: whether the inner passes see the encoder in "eval" mode (running statistics of BatchNorm, no
            dropout) or in "train" mode (statistics of the adversarial batch).
        label_smoothing: share of the target spread evenly over all classes, in [0, 1].

    Attributes:
        head: the linear layer on pooled features.

    Raises:
        UserError: the data has no labels, an option is out of range, or TRADES without a random start.

    Differs: TRADES starts at a uniform point of the ball; its code adds Gaussian noise of 0.001.
    """

    views = ("a",)
    needs_labels = True
    takes_gradients = True
    head_part = Part("linear")
    by_option = BY_NORM

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int | None,
        *,
        loss: Literal["cross_entropy", "trades"] = "cross_entropy",
        beta: NotNegative = 6.0,
        norm: Norm = "linf",
        eps: float | str | None = None,
        steps: Repeats = 10,
        step_size: Positive | None = None,
        random_start: bool = True,
        noise: Literal["held", "fresh"] = "held",
        inner_mode: Literal["eval", "train"] = "eval",
        label_smoothing: Share = 0.0,
    ) -> None:
        radius = parse_eps(DEFAULT_EPS[norm] if eps is None else eps, norm)
        if radius == 0:
            raise UserError("eps=0: must be > 0")
        if loss == "trades" and not random_start:
            raise UserError("random_start=False: the divergence of loss='trades' has no gradient at the image itself")
        classes = check_classes(num_classes)
        super().__init__()
        self.loss, self.beta, self.label_smoothing = loss, beta, label_smoothing
        self.threat = Threat(norm, radius)
        self.steps = steps
        self.step_size = 2.5 * radius / steps if step_size is None else step_size
        self.random_start, self.noise, self.inner_mode = random_start, noise, inner_mode
        self.head = self.new_head(features_of(encoder), classes)

    def forward(
        self,
        encoder: nn.Module,
        views: dict[str, Float[Tensor, "b 3 y x"]],
        *,
        draw: torch.Generator | None = None,
        labels: Int64[Tensor, "b"] | None = None,
    ) -> Step:
        assert labels is not None, "the loop passes labels to an objective that needs them"
        if draw is None and self.random_start:
            raise UserError("draw=None: the inner maximisation starts at random; give draw= a torch.Generator")
        images = views["a"].detach()
        initial = self._held(encoder, images, draw)

        def pooled(pixels: Images) -> Float[Tensor, "b d"]:
            return encode(encoder, pixels, draw, initial=initial)

        with inner_passes(encoder, self.head, training=self.inner_mode == "train"):
            with torch.no_grad():
                features = pooled(images)
                clean = self.head(features)
            adversarial = self._worst(lambda pixels: self.head(pooled(pixels)), images, labels, clean, draw)
        metrics = {"accuracy_clean": _accuracy(clean, labels)}
        if self.loss == "trades":
            clean = self.head(pooled(images))
            found = self.head(pooled(adversarial))
            terms = {
                "cross_entropy": cross_entropy(clean, labels=labels, smoothing=self.label_smoothing),
                "divergence": divergence(clean, found),
            }
            metrics |= {name: term.detach() for name, term in terms.items()}
            loss = terms["cross_entropy"] + self.beta * terms["divergence"]
        else:
            found = self.head(pooled(adversarial))
            loss = cross_entropy(found, labels=labels, smoothing=self.label_smoothing)
        return Step(loss, {"accuracy_adversarial": _accuracy(found, labels), **metrics}, features)

    def _held(self, encoder: nn.Module, images: Images, draw: torch.Generator | None) -> Tensor | None:
        """Return the oscillators of all passes, or None where each pass draws its own or the encoder has none."""
        if not is_stochastic(encoder) or self.noise == "fresh" or draw is None:
            return None
        sample: Any = getattr(encoder, "sample_initial", None)
        if sample is None:
            raise UserError(
                f"noise='held': {type(encoder).__name__} has no sample_initial(images, draw), by which its oscillators "
                "are drawn once for all passes; give it one, or take noise='fresh'"
            )
        return sample(images, draw)

    def _worst(
        self,
        classify: Callable[[Images], Logits],
        images: Images,
        labels: Int64[Tensor, " b"],
        clean: Logits,
        draw: torch.Generator | None,
    ) -> Images:
        """Return where the inner maximisation ends."""

        def inner_loss(logits: Logits) -> Float[Tensor, ""]:
            if self.loss == "trades":
                return divergence(clean, logits)
            return cross_entropy(logits, labels=labels, smoothing=self.label_smoothing)

        start = images if draw is None or not self.random_start else self.threat.random_start(images, draw)
        return ascend(
            lambda pixels: inner_loss(classify(pixels)),
            images,
            start,
            threat=self.threat,
            steps=self.steps,
            step_size=self.step_size,
        )


def ascend(
    loss: Callable[[Images], Float[Tensor, ""]],
    images: Images,
    start: Images,
    *,
    threat: Threat,
    steps: int,
    step_size: float,
) -> Images:
    """Return the end of projected gradient ascent on ``loss``, detached.

    Args:
        loss: mean over the batch of a loss of each image alone.
        images: centres of the balls, pixels in [0,1].
        start: where the ascent begins, inside the balls.
        threat: the ball, and the steepest direction of its norm.
        steps: how many.
        step_size: length of each in the norm of the ball, pixels.

    Source: Madry et al. 2018, section 2.1: x <- Project(x + step_size * sign(gradient)); in l2 the unit gradient.
    """
    found = start.detach()
    for _ in range(steps):
        found = found.clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(found), found)
        found = threat.project(found.detach() + step_size * threat.steepest(gradient), images)
    return found


@contextmanager
def inner_passes(encoder: nn.Module, head: nn.Module, *, training: bool) -> Iterator[None]:
    """Let passes through encoder and head leave no trace: no gradient of parameters, modes and buffers as they were.

    Parameters are frozen, not merely spared by ``autograd.grad``: autocast in older versions of torch keeps the
    low-precision copy of a weight that a pass under ``no_grad`` made, and the outer loss would find it gradientless.

    Args:
        encoder: its modules go into the mode asked for.
        head: a linear layer, which has no mode.
        training: train or eval mode of the encoder.
    """
    with frozen(encoder, head), modes_kept(encoder), buffers_kept(encoder) if training else nullcontext():
        encoder.train(training)
        yield


@in_full_precision
def divergence(clean: Logits, adversarial: Logits) -> Float[Tensor, ""]:
    """KL(softmax(clean) || softmax(adversarial)), mean over the batch; gradients flow into both."""
    return F.kl_div(adversarial.log_softmax(dim=1), clean.log_softmax(dim=1), reduction="batchmean", log_target=True)


def _accuracy(logits: Logits, labels: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
    return (logits.detach().argmax(dim=1) == labels).float().mean()
