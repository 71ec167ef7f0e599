"""The cost of an attack before it is run: its forward and backward passes, counted on a small stand-in network.

Each attack is run once, on one image, against a *stand-in* of a few operations that is never fooled, and its passes are
counted. The passes that a battery or an audit adds are counted too. Every image is counted as if it were never
broken, so the count is an upper bound unless the behaviour of the real network makes an attack run longer.

Shapes: b batch, c channels, h w grid, y x pixels, d features, q classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import connected
from sslkuramoto.classifier import Classifier, Initial, frozen
from sslkuramoto.cost import Cost, Passes, seconds_of
from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.dynamics.surrogate import kuramoto_layers, surrogates_for
from sslkuramoto.dynamics.winfree import Cosine, SineInfluence
from sslkuramoto.dynamics.winfree_layer import WinfreeLayer
from sslkuramoto.dynamics.winfree_surrogate import winfree_layers
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.threat import Norm, Threat

GREY = 128 / 255  # pixel value of the stand-in's image
MARGIN = 3.0  # of the true class; no gradient leads across it
NEAR = 0.01  # distance up to which points are classified correctly, as a share of the largest distance
SMALL = 1e-4  # eps of an attack that is counted
STEPS = 20  # of so many draws, one more errs after each ascent
MOST_WRONG = 9  # at most so many of them


@dataclass
class Count:
    """Passes of single images through an encoder.

    Attributes:
        forward: forward passes without a gradient.
        backward: backward passes; an output that is differentiated ten times counts ten.
        graphs: forward passes that built an autograd graph.
    """

    forward: int = 0
    backward: int = 0
    graphs: int = 0

    @property
    def all(self) -> int:
        """Forward passes, whether a gradient follows or not."""
        return self.forward + self.graphs

    def passes(self) -> Passes:
        """Return them as passes without a gradient and with one."""
        return Passes(self.forward + max(self.graphs - self.backward, 0), self.backward)


@contextmanager
def counted(encoder: Encoder) -> Iterator[Count]:
    """Count the passes of single images through an encoder and through its copies made inside the context."""
    count = Count()
    own, outer = encoder.forward, encoder.__dict__.get("forward")

    def forward(images: Tensor, **options: Any) -> Any:
        if not (torch.is_grad_enabled() and images.requires_grad):
            count.forward += len(images)
            return own(images, **options)
        count.graphs += len(images)
        through = images.clone()  # a tensor of its own, so that only what comes back through this pass is counted

        def back(gradient: Tensor) -> None:
            count.backward += len(gradient)

        through.register_hook(back)
        return own(through, **options)

    encoder.forward = forward
    try:
        yield count
    finally:
        del encoder.forward
        if outer is not None:  # it is being counted already
            encoder.forward = outer


class StandIn(Encoder):
    """A network of a few operations on which no attack ends early: each seems to make progress, and none succeeds.

    Near its one grey image, of class 0, it is correct, with a gradient that leads nowhere. Farther away it errs, but
    only closer than any point where it erred before. A decision-based attack thus finds the boundary and never jumps
    beyond it. If it is stochastic, one of 20 draws errs after the first ascent and one more after each further ascent,
    so a search that stops when nothing improves continues.

    Args:
        like: the network that it replaces: decides whether it draws, and which surrogates its layers allow.
        num_classes: q, which is d too.
        side: of the images.
        norm: in which distances are measured.
    """

    def __init__(self, like: Encoder, num_classes: int, side: tuple[int, int], norm: Norm) -> None:
        super().__init__()
        self.num_features, self.stochastic = num_classes, like.stochastic
        draw = generator("cpu", "stand-in")
        pixels = 3 * side[0] * side[1]
        self.image = torch.full((1, 3, *side), GREY)
        self.slopes = torch.randn(pixels, num_classes, generator=draw) / pixels
        self.bias = -0.5 * torch.arange(num_classes).float()
        self.bias[0] = MARGIN
        self.other = F.one_hot(torch.tensor(1), num_classes).float()
        self.layers = nn.ModuleList(_smallest(layer.project) for layer in kuramoto_layers(like)[:1])
        self.phases = nn.ModuleList(_smallest_of_phases(layer.rectify) for layer in winfree_layers(like)[:1])
        self.threat = Threat(norm, 0.0)
        self.near = NEAR * (1.0 if norm == "linf" else pixels**0.5)
        self.nearest, self.ascending, self.worn = float("inf"), False, 0
        self.slips = 0  # of the next passes, all draws err

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Return logits as features; see :meth:`Encoder.forward`."""
        if trace:
            for layer in self.layers:
                state = torch.ones(len(images), 2, 1, 1)
                layer(state, None, step_size=torch.ones(()), num_steps=1, trace=True)
            for layer in self.phases:
                layer(torch.ones(len(images), 8, 1, 1), None, step_size=torch.ones(()), num_steps=1, trace=True)
        ascending = torch.is_grad_enabled() and images.requires_grad
        self.worn = min(self.worn + (self.ascending and not ascending), MOST_WRONG)
        self.ascending = ascending
        logits = self.bias + (images - self.image).flatten(1) @ self.slopes
        with torch.no_grad():
            distance = self.threat.distances(images, self.image)
            wrong = (distance > self.near) & (distance <= self.nearest * (1 + 1e-5))
            if wrong.any():
                self.nearest = float(distance[wrong].min())
            if self.stochastic:
                wrong |= torch.arange(len(images)) % STEPS >= STEPS - self.worn
                wrong |= self.slips > 0
            self.slips = max(self.slips - 1, 0)
        logits = logits + 2 * MARGIN * wrong[:, None] * self.other
        return Features(logits, logits[:, :, None, None])

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Return states that have no effect."""
        return torch.zeros(len(images), 1, 1, 1)


def _smallest(project: bool) -> KuramotoLayer:
    """Return a Kuramoto layer of one oscillator, for which the same surrogates are defined as for a large one."""
    with borrowed_global(generator("cpu", "stand-in")):
        coupling = ConvCoupling(2, 1)
    return KuramotoLayer(coupling, channels=2, oscillator_dim=2, frequencies=None, norm="none", project=project)


def _smallest_of_phases(rectify: bool) -> WinfreeLayer:
    """Return a Winfree layer of one site, for which the same surrogates are defined as for a large one."""
    with borrowed_global(generator("cpu", "stand-in")):
        coupling = ConvCoupling(8, 1)
    parts = {"sensitivity": Cosine(), "influence": SineInfluence(1)}
    return WinfreeLayer(coupling, channels=8, group_size=1, rectify=rectify, **parts)


def stand_in_for(classifier: Classifier, num_classes: int, side: tuple[int, int], norm: Norm) -> Classifier:
    """Return a stand-in on the CPU, in the mode of the classifier."""
    head = nn.Linear(num_classes, num_classes, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(num_classes))
    encoder = StandIn(classifier.encoder, num_classes, side, norm)
    mode = cast(Initial, classifier.mode)
    return Classifier(encoder, head, mode, seed=classifier.seed, draws=classifier.draws, held=classifier.held)


_KNOWN: dict[str, Passes] = {}


def passes_of(attack: Attack, classifier: Classifier, num_classes: int, side: tuple[int, int], norm: Norm) -> Passes:
    """Return the passes of one image and one restart; for a transfer attack, those through its source.

    Args:
        attack: prepared.
        classifier: the attacked classifier, or a stand-in for it.
        num_classes: of its head.
        side: of the images.
        norm: of the threat model.
    """
    asked = classifier if attack.source is None else attack.source
    # the surrogates that its layers allow are among the options of a prepared attack
    told = (asked.mode, asked.encoder.stochastic, asked.draws, asked.held, surrogates_for(asked))
    key = repr((type(attack), sorted(attack.options.items()), told, num_classes, side, norm))
    if key not in _KNOWN:
        target = asking = stand_in_for(classifier, num_classes, side, norm)
        own = copy(attack.longest())
        if attack.source is not None:
            own.source = asking = stand_in_for(attack.source, num_classes, side, norm)
        image, label = torch.full((1, 3, *side), GREY), torch.zeros(1, dtype=torch.int64)
        with counted(asking.encoder) as count, frozen(target):
            own(target.at(torch.arange(1)), image, label, threat=Threat(norm, SMALL), work=Work(0, 0))
        _KNOWN[key] = count.passes()
    return _KNOWN[key]


@dataclass
class Account:
    """Counted passes, by purpose and by network.

    Args:
        classifier: the measured classifier.
        num_classes: of its head.
        side: of the images.

    Attributes:
        stand_in: measured in its place; its passes are counted inside :meth:`open`.
        times: number of images that the single measured image represents.
        heading: current purpose of passes; if empty, attacks add theirs under their own names.
        entries: (purpose, network or None for the measured one, whether it gets one image at a time) -> passes.
    """

    classifier: Classifier
    num_classes: int
    side: tuple[int, int]
    times: int = 1
    heading: str = ""
    entries: dict[tuple[str, Classifier | None, bool], Passes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stand_in = stand_in_for(self.classifier, self.num_classes, self.side, "linf")
        self._count = Count()

    @contextmanager
    def open(self, times: int) -> Iterator[None]:
        """Count the passes of the stand-in inside this context, each ``times`` times."""
        self.times = times
        with counted(self.stand_in.encoder) as self._count:
            yield
            self.under("")

    def under(self, heading: str) -> None:
        """Set the purpose of the passes that follow."""
        self.add(self.heading or "scoring", self._count.passes())
        self._count.forward = self._count.backward = self._count.graphs = 0
        self.heading = heading

    def charged(self, attack: Attack) -> Attack:
        """Return an attack that only adds its passes to this account."""
        return Charged(attack, self, attack.label)

    def add(self, name: str, passes: Passes, network: Classifier | None = None, *, alone: bool = False) -> None:
        """Add passes of one image."""
        entry = (name, network, alone)
        self.entries[entry] = self.entries.get(entry, Passes(0)).plus(passes, self.times)

    def cost(self, images: Float[Tensor, "b 3 y x"], count: int, notes: list[str]) -> Cost:
        """Return what was counted, after timing passes of the networks themselves.

        Args:
            images: one chunk, as the networks get it.
            count: number of measured images.
            notes: sentences for a reader of the estimate.
        """
        clocks: dict[tuple[Classifier | None, bool], tuple[float, float]] = {}
        total, seconds = dict[str, Passes](), 0.0
        for (name, network, alone), passes in self.entries.items():
            if (network, alone) not in clocks:
                clocks[network, alone] = seconds_of_passes(network or self.classifier, images[:1] if alone else images)
            forward, backward = clocks[network, alone]
            seconds += passes.forward * forward + passes.backward * backward
            total[name] = total.get(name, Passes(0)).plus(passes)
        return Cost(count, {name: each for name, each in total.items() if any(each)}, seconds, notes, early=True)


class Charged(Attack):
    """An attack that, against the stand-in of an account, only adds its passes there.

    Its candidates are a small random step away, and one draw errs on them as if it had made progress, so a battery
    keeps them and continues. Against any other network it is the attack itself.

    Args:
        attack: prepared.
        account: gets the passes.
        name: their purpose if the account has no heading; two attacks of one name return the same candidates.
        free: whether its passes are not counted.
    """

    def __init__(self, attack: Attack, account: Account, name: str, *, free: bool = False) -> None:
        self.attack, self.account, self.name, self.free = attack, account, name, free
        self.label, self.restarts, self.options = attack.label, attack.restarts, attack.options

    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return candidates near the images; see :meth:`Attack.__call__`."""
        account, attack = self.account, self.attack
        if classifier.encoder is not account.stand_in.encoder:
            return attack(classifier, images, labels, threat=threat, work=work)
        if not self.free:
            passes = passes_of(attack, classifier, account.num_classes, account.side, threat.norm)
            alone = attack.one_by_one and classifier.bound
            account.add(account.heading or self.name, passes, attack.source, alone=alone)
        if threat.eps > 0 and not classifier.stochastic:  # the attack never errs there, but the union scores candidates
            account.add(account.heading or "scoring", Passes(1))
        elif threat.eps > 0:
            cast(StandIn, account.stand_in.encoder).slips = classifier.starts
        noise = torch.randn(images.shape, generator=work.generator(images.device, "charged", self.name))
        return threat.project(images + min(threat.eps, SMALL) * threat.steepest(noise), images)


def seconds_of_passes(classifier: Classifier, images: Float[Tensor, "b 3 y x"]) -> tuple[float, float]:
    """Return the seconds of one pass of a single image through encoder and head, without and with a gradient."""
    draw = torch.Generator(device=images.device).manual_seed(0)

    def run(gradient: bool, few: int) -> None:
        with torch.set_grad_enabled(gradient):
            moved = images[:few].clone().requires_grad_(gradient)
            logits = classifier.at(torch.arange(few))(moved, draw=draw)
            if gradient:
                torch.autograd.grad(F.cross_entropy(logits, logits.argmax(dim=1)), moved)

    with frozen(classifier), connected(classifier):
        with counted(classifier.encoder) as count:
            run(False, 1)
        forward, backward = (
            seconds_of(partial(run, gradient), len(images), images.device) / count.all for gradient in (False, True)
        )
    return forward, backward
