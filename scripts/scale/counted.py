"""The work of a training step, counted without carrying it out: operations, bytes they read and write, live memory.

The encoder runs on tensors without memory (torch's FakeTensorMode), forward and backward. The objective runs on an
encoder that returns features at once, which also tells how often it calls the encoder.

Shapes: b batch, d features, y x pixels.
"""

import copy
import math
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from sslkuramoto.data import expected_spec
from sslkuramoto.dynamics import spectral
from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.training.learner import Learner, weightless
from sslkuramoto.views import VIEWS

STATE = {"adam": 2, "adamw": 2, "sgd": 1, "lars": 1}
"""Numbers that an optimizer keeps for each weight."""
FLOAT = 4  # bytes


_ENCODERS: dict[tuple[str, bool], "Work"] = {}
_VIEWS: dict[str, "Work"] = {}
"""What was counted before: recipes share encoders and views."""


class Work(NamedTuple):
    """What some computation takes.

    Attributes:
        flop: floating-point operations of products and convolutions; a multiplication with its addition is two.
        moved: bytes that all operations read and write.
        scores: softmax weights of attention that are computed, again in the backward pass.
        operations: that are called one after the other.
        messages: collective operations of BatchNorm over all processes, were there several.
        kept: bytes alive after the forward pass.
        peak: largest number of bytes alive at once; without the weights.
    """

    flop: float = 0.0
    moved: float = 0.0
    scores: float = 0.0
    operations: float = 0.0
    messages: float = 0.0
    kept: float = 0.0
    peak: float = 0.0

    def plus(self, other: "Work", times: float = 1.0) -> "Work":
        """Return the sum of this and ``times`` times the other, entry by entry."""
        return Work(*(a + times * b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Counted:
    """The work of one part of a batch of a recipe on one device.

    Attributes:
        pass_: forward and backward pass of the encoder.
        forward: forward pass of the encoder without gradients.
        rest: the objective without its encoder.
        views: making the views.
        calls: of the encoder with gradients, and without.
        trainable: weights that are trained.
        heads: those of them that the objective has.
        weights: all of them, EMA targets included.
        state: numbers that the optimizer keeps for each trained weight.
        averaged: whether a moving average of all weights is kept.
    """

    pass_: Work
    forward: Work
    rest: Work
    views: Work
    calls: tuple[int, int]
    trainable: int
    heads: int
    weights: int
    state: int
    averaged: bool

    @property
    def network(self) -> Work:
        """Return the work of encoder and objective together.

        What all passes keep is alive at once. On top comes the most of: a pass of a target, the backward pass of the
        objective, that of the encoder beside the gradients of the heads.
        """
        with_gradient, without = self.calls
        kept = with_gradient * self.pass_.kept + self.rest.kept
        above = FLOAT * self.heads + self.pass_.peak - self.pass_.kept
        most = max(self.forward.peak, self.rest.peak - self.rest.kept, above)
        summed = self.rest.plus(self.pass_, with_gradient).plus(self.forward, without)
        return summed._replace(kept=kept, peak=kept + most)

    @property
    def fixed(self) -> float:
        """Return the bytes of weights, their average and the optimizer's state; gradients are in the peak."""
        return FLOAT * (self.weights * (2 if self.averaged else 1) + self.trainable * self.state)

    @property
    def gradients(self) -> float:
        """Return the bytes of all gradients."""
        return FLOAT * self.trainable


def count(recipe: Recipe, n: int, *, viewed: int | None = None, fourier: bool = False) -> Counted:
    """Count the work of ``n`` images.

    Args:
        recipe: of images; its precision counts, its device does not.
        n: images of each view, >= 2.
        viewed: images of which views are made (default n); their bytes are scaled to n. Few images meet but a few of
            the random operations, so that large batches need a count of many.
        fourier: whether convolutions may be done in the Fourier domain, as on a CPU.
    """
    recipe, encoder, objective = weightless(recipe)
    learner = Learner(encoder, objective)
    spec = expected_spec(recipe.data.name, recipe.data.options)
    low = recipe.engine.precision == "bf16"
    weights = [each.numel() for each in learner.parameters()]
    trainable, heads = (
        sum(each.numel() for each in part.parameters() if each.requires_grad) for part in (learner, objective)
    )
    side = spec.side
    rest, calls = _objective(recipe, encoder.num_features, spec.num_classes, tuple(objective.views), n, low)
    with nullcontext() if fourier else as_published("convolution"):
        key = repr((recipe.encoder, recipe.engine.checkpoint_steps, n, side, low, fourier))
        both = _encoder(encoder, n, side, low, key, gradient=True) if calls[0] else Work()
        forward = _encoder(encoder, n, side, low, key, gradient=False) if calls[1] else Work()
    viewed = viewed or n
    made = _views(recipe, viewed, side)
    return Counted(
        both,
        forward,
        rest,
        _scaled(made, n / viewed),
        calls,
        trainable,
        heads,
        sum(weights),
        STATE.get(recipe.optimizer.name, 2),
        recipe.weight_ema is not None,
    )


def _views(recipe: Recipe, n: int, side: int) -> Work:
    """Count the views of ``n`` images, which are made."""
    key = repr((recipe.views, n, side))
    if key not in _VIEWS:
        make_views = VIEWS.build(recipe.views.name, recipe.views.options, side)
        images = torch.rand(n, 3, side, side, generator=generator("cpu", "scale"))
        _VIEWS[key] = _counted(lambda: make_views(images, generator("cpu", "scale", "views")))
    return _VIEWS[key]


def _scaled(work: Work, share: float) -> Work:
    """Return the work of another number of images, by as many operations."""
    return Work().plus(work, share)._replace(operations=work.operations)


def line(low: Counted, high: Counted, few: int, many: int) -> Callable[[int], Counted]:
    """Return the work as a function of the number of images: the straight line through two counts.

    Products of SimCLR with its negatives, quadratic in the batch and few beside those of an encoder, are not on it.
    """

    def at(n: int) -> Counted:
        share = (n - few) / (many - few)

        def between(a: Work, b: Work) -> Work:
            return Work(*(x + share * (y - x) for x, y in zip(a, b, strict=True)))

        works = {
            name: between(getattr(low, name), getattr(high, name)) for name in ("pass_", "forward", "rest", "views")
        }
        return Counted(
            **works,
            calls=low.calls,
            trainable=low.trainable,
            heads=low.heads,
            weights=low.weights,
            state=low.state,
            averaged=low.averaged,
        )

    return at


def _encoder(encoder: Encoder, n: int, side: int, low: bool, key: str, *, gradient: bool) -> Work:
    """Count one pass of an encoder whose weights take no memory, once for each ``key``: objectives share encoders."""
    if (known := _ENCODERS.get((key, gradient))) is not None:
        return known
    network = copy.deepcopy(encoder).train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = network.to_empty(device="cpu")
        images = torch.rand(n, 3, side, side)
        kept: list[Callable[[], None]] = []

        def work() -> None:
            pooled = network(images, draw=generator("cpu", "scale", "oscillators")).pooled
            kept[0]()
            if gradient:
                pooled.float().square().sum().backward()

        try:
            with torch.set_grad_enabled(gradient):
                found = _counted(work, network, low=low, after_forward=kept, twice=gradient)
                _ENCODERS[key, gradient] = found
                return found
        finally:
            for matrices in (spectral._first_axis, spectral._second_axis):  # kept for later calls, here without memory
                matrices.cache_clear()


class _Ready(Encoder):
    """An encoder that returns one learned vector for every image."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.vector = nn.Parameter(torch.randn(num_features))

    def forward(
        self, images: Tensor, *, initial: Tensor | None = None, draw: torch.Generator | None = None, trace: bool = False
    ) -> Features:
        """Return features "b d"."""
        pooled = self.vector + images.mean(dim=(1, 2, 3)).unsqueeze(1)
        return Features(pooled, pooled[:, :, None, None])


def _objective(
    recipe: Recipe, width: int, classes: int | None, names: Sequence[str], n: int, low: bool
) -> tuple[Work, tuple[int, int]]:
    """Count an objective around an encoder that costs nothing; also return its calls with and without gradients."""
    calls: list[bool] = []
    with borrowed_global(generator("cpu", "scale", "objective")):
        ready = _Ready(width)
        ready.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))  # a copy has it too
        objective = OBJECTIVES.build(recipe.objective.name, recipe.objective.options, ready, classes).train()
        views = {name: torch.rand(n, 3, 4, 4, generator=generator("cpu", "scale", name)) for name in names}
        labels = torch.arange(n) % (classes or 2)
        kept: list[Callable[[], None]] = []

        def work() -> None:
            outcome = objective(ready, views, draw=generator("cpu", "scale", "oscillators"), labels=labels)
            kept[0]()
            outcome.loss.backward()

        found = _counted(work, objective, low=low, after_forward=kept, twice=True)
    return found, (calls.count(True), calls.count(False))


def _counted(
    work: Callable[[], None],
    network: nn.Module | None = None,
    *,
    low: bool = False,
    after_forward: list[Callable[[], None]] | None = None,
    twice: bool = False,
) -> Work:
    """Count some work; ``after_forward`` receives what it calls between its passes."""
    scores: list[int] = []
    flops, counter, norms = FlopCounterMode(display=False, custom_mapping=_mended(scores)), _Counter(), [0]
    if after_forward is not None:
        after_forward.append(counter.note_kept)
    with ExitStack() as stack:
        for norm in network.modules() if network is not None else ():
            if isinstance(norm, _BatchNorm):
                stack.callback(norm.register_forward_hook(lambda *_: norms.__setitem__(0, norms[0] + 1)).remove)
        for context in (torch.autocast("cpu", torch.bfloat16, enabled=low), flops, counter):
            stack.enter_context(context)
        work()
    messages = norms[0] * (2 if twice else 1)
    total = flops.get_total_flops()
    return Work(total, counter.moved, sum(scores), counter.operations, messages, counter.kept, counter.peak)


class _Counter(TorchDispatchMode):
    """Counts operations that make or change a tensor, their bytes, and the bytes of new tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = self.operations = 0
        self.alive = self.peak = self.kept = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def note_kept(self) -> None:
        """Note what is alive now as what the backward pass needs."""
        self.kept = self.alive

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        written = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        before = {each.untyped_storage()._cdata for each in read}
        made = [each for each in written if each.untyped_storage()._cdata not in before]
        if made or func._schema.is_mutable:
            self.operations += 1
            self.moved += sum(each.numel() * each.element_size() for each in (*read, *written))
        for each in made:
            self._add(each.untyped_storage())
        return out

    def _add(self, storage: Any) -> None:
        """Count a new storage until it is freed."""
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def gone(_: object) -> None:
            self.alive -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.alive += size
        self.peak = max(self.peak, self.alive)


def _convolution_backward(grad: Any, x: Any, weight: Any, *others: Any, out_shape: Any = None, **_: Any) -> int:
    """Return the operations of both gradients; torch's own count takes grouped convolutions for dense ones."""
    transposed, mask = others[4], others[-1]
    sites = (x if transposed else grad)[2:]
    return 2 * x[0] * math.prod(weight) * math.prod(sites) * (bool(mask[0]) + bool(mask[1]))


def _mended(scores: list[int]) -> dict[Any, Any]:
    """Return what torch's counter lacks, by operation; ``scores`` receives the softmax weights of each attention."""

    def noted(query: Any, key: Any) -> None:
        scores.append(math.prod(query[:-1]) * key[-2])

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        noted(query, key)
        return sdpa_flop_count(query, key, value)

    def backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        noted(query, key)
        return sdpa_backward_flop_count(grad, query, key, value)

    def softmax(x: Any, *_: Any, **__: Any) -> int:
        scores.append(math.prod(x) if len(x) == 4 else 0)
        return 0

    aten = torch.ops.aten
    return {
        aten.convolution_backward: _convolution_backward,
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
        aten._softmax: softmax,
        aten._safe_softmax: softmax,
    }
