"""Loss and input gradient of a stochastic classifier: the mean over k draws of its oscillators, fresh or held.

Expectation over transformation (Athalye et al. 2018, 1707.07397). ``fresh``: every evaluation uses new draws, so the
objective is a different random function at every step. ``held``: K fields of initial oscillators are drawn once and
kept. The objective is then one deterministic function, and its values can be compared from step to step.

Shapes: b batch, y x pixels, q classes, k draws, s starts behind one forward, g draws of one pass, i c h w fields.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, runtime_checkable
from typing import Protocol as TypingProtocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from sslkuramoto.attacks.attack import Attack, ImpossibleAttackError, Work
from sslkuramoto.attacks.losses import Loss, for_classes, per_image
from sslkuramoto.attacks.pass_size import ROWS, with_rows
from sslkuramoto.classifier import Classifier
from sslkuramoto.dynamics.surrogate import Surrogate, surrogate_backward, surrogates_for
from sslkuramoto.randomness import Key, generator
from sslkuramoto.results import Reading

Noise = Literal["fresh", "held"]
Mean = Literal["loss", "log_probability"]

CUT = "no gradient reaches the pixels"
"""Counted by an attack when the logits have no autograd graph to the image (a ``detach``, classes in place of logits,
JPEG compression). The gradient is then taken as zero."""


def reading_by_draws(noise: Noise, k: int, *, single: Reading | None = None) -> Reading | None:
    """Return the kind of robust accuracy of an ascent with held draws, k fresh draws, or one draw (``single``)."""
    if noise == "held":
        return "adaptive"
    return "EoT" if k > 1 else single


@dataclass
class Evaluated:
    """Values of an objective at candidates.

    Attributes:
        loss: the objective, a mean over the draws.
        right: share of the draws that classify correctly.
        wrong_by: mean over the draws of the loss ``log_margin``; ranks candidates, whatever loss is maximised.
        gradient: of the objective with respect to the pixels; None if it was not requested.
        at_target: share of the draws that predict the target; None without targets.
    """

    loss: Float[Tensor, " b"]
    right: Float[Tensor, " b"]
    wrong_by: Float[Tensor, " b"]
    gradient: Float[Tensor, "b 3 y x"] | None = None
    at_target: Float[Tensor, " b"] | None = None


@runtime_checkable
class Ascended(TypingProtocol):
    """What an ascent maximises: a function of the pixels of each image."""

    @property
    def stochastic(self) -> bool:
        """Whether an image is attacked further once most draws misclassify it."""
        ...

    def of(self, rows: Int64[Tensor, " r"]) -> "Ascended":
        """Return the function of some rows of the batch."""
        ...

    def __call__(self, candidates: Float[Tensor, "b 3 y x"], *, gradient: bool = True) -> Evaluated:
        """Evaluate candidates, with or without the gradient."""
        ...


@dataclass(frozen=True)
class Objective:
    """The function that an attack maximises: a loss, averaged over k draws of the classifier's oscillators.

    Attributes:
        classifier: with frozen parameters.
        labels: true classes.
        loss: the loss of each draw.
        k: draws per value; 1 for a deterministic classifier.
        fields: held initial oscillators, shared by all images; None: fresh draws.
        stream: generator of fresh draws; None for held draws or a deterministic classifier.
        mean: "loss": mean of the losses of the draws. "log_probability": loss of the mean log-probabilities, which
            needs one more forward pass per draw.
        targets: target classes, for targeted losses.
        noticed: the attack's counter; counts ``CUT`` once if no gradient reaches the pixels.
    """

    classifier: Classifier
    labels: Int64[Tensor, " b"]
    loss: Loss
    k: int
    fields: Float[Tensor, "k s c h w"] | None = None
    stream: torch.Generator | None = None
    mean: Mean = "loss"
    targets: Int64[Tensor, " b"] | None = None
    noticed: Counter[str] = field(default_factory=Counter)

    @property
    def stochastic(self) -> bool:
        """Whether the classifier draws."""
        return self.classifier.stochastic

    def towards(self, targets: Int64[Tensor, " b"]) -> "Objective":
        """Return the same objective for a targeted loss."""
        return replace(self, targets=targets)

    def of(self, rows: Int64[Tensor, " r"]) -> "Objective":
        """Return the objective of some rows of the batch."""
        targets = None if self.targets is None else self.targets[rows]
        return replace(self, classifier=self.classifier.of(rows), labels=self.labels[rows], targets=targets)

    def __call__(self, candidates: Float[Tensor, "b 3 y x"], *, gradient: bool = True) -> Evaluated:
        """Evaluate candidates, with or without the gradient; with held draws, equal candidates have equal values."""
        if self.stream is not None:  # the passes key the draws
            return self._evaluated(candidates, gradient, ROWS)
        encoder = self.classifier.encoder
        return with_rows(encoder, candidates, lambda rows: self._evaluated(candidates, gradient, rows))

    def _evaluated(self, candidates: Float[Tensor, "b 3 y x"], gradient: bool, rows: int) -> Evaluated:
        """Evaluate candidates in passes of at most so many rows."""
        passes = list(self._passes(len(candidates), rows))
        cotangent = None
        if gradient and self.mean == "log_probability" and self.k > 1:
            log = self._mean_log_probability(candidates, passes).requires_grad_()
            with torch.enable_grad():
                value = per_image(self.loss, log, self.labels, self.targets)
            (cotangent,) = torch.autograd.grad(value.sum(), log)

        total = torch.zeros_like(candidates)
        losses, logs, right, wrong, aimed = [], [], [], [], []
        for draws, seed in passes:
            with torch.set_grad_enabled(gradient):
                leaf = candidates.detach().requires_grad_(gradient)
                logits = self._logits(leaf, draws, seed)
                if self.mean == "loss" or self.k == 1:
                    each = self._each(self.loss, logits)
                    ascend = each.sum()
                    losses.append(each.detach())
                else:
                    log = logits.log_softmax(dim=2)
                    ascend = (log * cotangent).sum() if cotangent is not None else log
                    logs.append(log.detach())
            if gradient:
                found = pixel_gradient(ascend, leaf)
                if found is None:
                    self.noticed[CUT] = 1
                else:
                    total += found
            logits = logits.detach()
            right.append((logits.argmax(dim=2) == self.labels).float())
            if self.targets is not None:
                aimed.append((logits.argmax(dim=2) == self.targets).float())
            wrong.append(self._each("log_margin", logits))
        if logs:
            loss = per_image(self.loss, torch.cat(logs).mean(dim=0), self.labels, self.targets)
        else:
            loss = torch.cat(losses).mean(dim=0)
        mean = torch.nan_to_num(total / self.k) if gradient else None  # logits of 1e30 have NaN gradients
        at_target = torch.cat(aimed).mean(dim=0) if aimed else None
        return Evaluated(loss, torch.cat(right).mean(dim=0), torch.cat(wrong).mean(dim=0), mean, at_target)

    def through(
        self, change: Callable[[Tensor], Tensor], candidates: Float[Tensor, "b 3 y x"]
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the gradient of the objective at ``change(candidates)`` with respect to the candidates."""
        with torch.enable_grad():
            leaf = candidates.detach().requires_grad_()
            changed = change(leaf)
        inner = self(changed.detach()).gradient
        assert inner is not None
        return torch.autograd.grad(changed, leaf, inner)[0]

    def log_probabilities(self, candidates: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b q"]:
        """Return the mean over the draws of the log-probabilities."""
        return self._mean_log_probability(candidates, list(self._passes(len(candidates), ROWS)))

    def _mean_log_probability(self, candidates: Tensor, passes: list[tuple[range, int]]) -> Tensor:
        with torch.no_grad():
            parts = [self._logits(candidates, draws, seed).log_softmax(dim=2) for draws, seed in passes]
        return torch.cat(parts).mean(dim=0)

    def _passes(self, images: int, rows: int) -> Iterator[tuple[range, int]]:
        """Split the draws into passes of at most so many rows; the seed keys the fresh draws of a pass."""
        size = max(1, rows // max(images, 1))
        for first in range(0, self.k, size):
            seed = 0
            if self.stream is not None:
                seed = int(torch.randint(2**62, (), generator=self.stream, device=self.stream.device))
            yield range(first, min(first + size, self.k)), seed

    def _logits(self, candidates: Float[Tensor, "b 3 y x"], draws: range, seed: int) -> Float[Tensor, "g b q"]:
        b, g = len(candidates), len(draws)
        if not self.classifier.stochastic:
            return self.classifier(candidates)[None]
        stacked = candidates.repeat(g, 1, 1, 1)
        if self.fields is None:
            logits = self.classifier(stacked, draw=generator(candidates.device, "fresh noise", seed))
        else:
            starts = self.fields[draws.start : draws.stop].repeat_interleave(b, dim=0).unbind(dim=1)
            logits = torch.stack([self.classifier(stacked, initial=start) for start in starts]).mean(dim=0)
        return logits.view(g, b, -1)

    def _each(self, loss: Loss, logits: Float[Tensor, "g b q"]) -> Float[Tensor, "g b"]:
        g = len(logits)
        targets = None if self.targets is None else self.targets.repeat(g)
        return per_image(loss, logits.flatten(0, 1), self.labels.repeat(g), targets).view(g, -1)


def objective_of(
    classifier: Classifier,
    images: Float[Tensor, "b 3 y x"],
    labels: Int64[Tensor, " b"],
    *,
    loss: Loss,
    noise: Noise,
    k: int,
    work: Work,
    key: Key,
    mean: Mean = "loss",
    noticed: Counter[str] | None = None,
) -> Objective:
    """Return the objective of an attack on a chunk of images.

    Args:
        classifier: with frozen parameters, in its own mode.
        images: give the shape of the fields.
        labels: true classes.
        loss: the loss of each draw.
        noise: "fresh" or "held".
        k: draws; taken as 1 for a deterministic classifier.
        work: keys the randomness: another chunk or restart has other fields.
        key: of the attack; for one key, the first K fields are the same for every larger K.
        mean: see :class:`Objective`.
        noticed: the attack's counter.
    """
    seen = Counter() if noticed is None else noticed
    if not classifier.stochastic:
        return Objective(classifier, labels, loss, 1, noticed=seen)
    if noise == "fresh":
        stream = work.generator(images.device, key, "fresh")
        return Objective(classifier, labels, loss, k, stream=stream, mean=mean, noticed=seen)
    shape = images[:1].expand(classifier.starts, -1, -1, -1)
    draws = (work.generator(images.device, key, "held", j) for j in range(k))
    fields = torch.stack([classifier.encoder.sample_initial(shape, draw) for draw in draws])
    return Objective(classifier, labels, loss, k, fields=fields, mean=mean, noticed=seen)


def pixel_gradient(value: Tensor, pixels: Tensor) -> Tensor | None:
    """Return the gradient of a scalar with respect to pixels; None if no autograd graph connects them."""
    if not value.requires_grad:
        return None
    return torch.autograd.grad(value, pixels, allow_unused=True)[0]


@contextmanager
def connected(classifier: Classifier) -> Iterator[None]:
    """Give attacks of other packages a zero gradient where the logits have no autograd graph to the pixels.

    Without it ``torch.autograd.grad`` raises an error in their code, and such a network could not be evaluated.
    """

    def join(module: nn.Module, arguments: tuple[Tensor, ...], logits: Tensor) -> Tensor | None:
        cut = torch.is_grad_enabled() and arguments[0].requires_grad and not logits.requires_grad
        return logits + 0 * arguments[0].sum() if cut else None

    hook = classifier.register_forward_hook(join)
    try:
        yield
    finally:
        hook.remove()


def cut_off(label: str, noticed: Mapping[str, int]) -> list[str]:
    """Return a sentence if the attack counted that no gradient reaches the pixels."""
    return [f"{label}: {CUT}, so the accuracy under this attack says nothing"] if CUT in noticed else []


A = TypeVar("A", bound=Attack)


def fitted(attack: A, num_classes: int) -> A:
    """Return a copy of an attack whose loss is defined for the number of classes, with a note if that changed it."""
    own: Any = copy(attack)
    own.loss, note = for_classes(own.loss, num_classes)
    own.options = {**attack.options, "loss": own.loss}
    own.notes = [f"{attack.label}: {note}"] if note else []
    return own


def check_backward(label: str, backward: Surrogate, encoder: nn.Module) -> None:
    """Refuse a surrogate derivative that is not defined for a network.

    Raises:
        ImpossibleAttackError: the network has no oscillator layer, or none to which the surrogate applies.
    """
    if backward != "autograd" and backward not in surrogates_for(encoder):
        raise ImpossibleAttackError(f"{label} skipped: backward={backward} is not defined for this network")


def differentiated(classifier: Classifier, backward: Surrogate) -> AbstractContextManager[None]:
    """Return a context in which the gradients of a classifier are those of a surrogate."""
    return nullcontext() if backward == "autograd" else surrogate_backward(classifier.encoder, backward)


class Best:
    """Keeps the strongest candidate of each image.

    A candidate that at least half of the draws misclassify is stronger than one that they do not. Among equals, the
    larger mean margin (``wrong_by``) is stronger. Initially the candidate is the image itself. Of a targeted search,
    ``reached`` says for which images most draws predict the class that the candidate was aimed at.
    """

    def __init__(self, images: Float[Tensor, "b 3 y x"]) -> None:
        self.candidates = images.clone()
        self.fooled: Bool[Tensor, " b"] = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        self.wrong_by = torch.full((len(images),), -torch.inf, device=images.device)
        self.reached = torch.zeros_like(self.fooled)

    def offer(
        self, candidates: Float[Tensor, "r 3 y x"], evaluated: Evaluated, rows: Int64[Tensor, " r"]
    ) -> Int64[Tensor, " t"]:
        """Take those candidates of the images ``rows`` that are stronger than the stored ones; return for which."""
        fooled = evaluated.right <= 0.5
        same = fooled == self.fooled[rows]
        better = (fooled & ~same) | (same & (evaluated.wrong_by > self.wrong_by[rows]))
        taken = rows[better]
        self.candidates[taken] = candidates[better]
        self.fooled[taken] = fooled[better]
        self.wrong_by[taken] = evaluated.wrong_by[better]
        if evaluated.at_target is not None:
            self.reached[taken] = evaluated.at_target[better] > 0.5
        return taken

    def open_rows(self, stochastic: bool) -> Int64[Tensor, " r"]:
        """Return the images to attack further: all for a stochastic network, else those not yet misclassified."""
        everyone = torch.ones_like(self.fooled) if stochastic else ~self.fooled
        return everyone.nonzero().squeeze(1)
