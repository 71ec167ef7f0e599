"""HopSkipJump: a decision-based attack, the successor of the boundary attack.

Chen, Jordan and Wainwright 2020 (1904.02144), after Brendel et al. 2018 (1712.04248). From a misclassified point it
moves along the decision boundary towards the image. Each round does a bisection onto the boundary, estimates the
boundary's normal from the decisions at random probes, and jumps along it. It uses predicted classes only, so neither
masked gradients nor misleading logits affect it. A query of a stochastic network is answered by a vote of r draws: a
point is misclassified if at least half of them err.

Shapes: b batch, y x pixels, r rows of the batch, p probes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import Objective, objective_of
from sslkuramoto.attacks.pass_size import ROWS
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Repeats, ShareAboveZero, checked, small

STARTS = 30
COARSE = 6  # bisections that compare the starting points
HALVINGS = 10  # of a jump that ends at a correctly classified point
FEWEST_PROBES = 10  # a round with fewer is not made
NOISY_PROBE = 0.5
JUDGED = 3  # points evaluated after a jump: on the boundary, beyond it, at the edge of the ball


@small(queries=100)
@checked
class HopSkipJump(Attack):
    """A decision-based black-box attack: moves along the decision boundary, using predicted classes only.

    Args:
        queries: largest number per image.
        draws: r, draws that vote on a query; 1 for a deterministic network.
        probes: number in the first round; round t uses sqrt(t) times as many, at most 10,000.
        probe_size: distance of a probe from the boundary, as a share of the distance to the image. None: as published,
            1/d with d pixel values, for a deterministic network; 0.5 for a stochastic one, whose votes are too noisy
            at smaller distances.
        restarts: independent searches.
        label: name in the result; None: hop-skip-jump.
    """

    queries_only = True
    idle_without_noise = frozenset({"draws"})

    def __init__(
        self,
        *,
        queries: Repeats = 5000,
        draws: Repeats = 8,
        probes: Repeats = 100,
        probe_size: ShareAboveZero | None = None,
        restarts: Repeats = 1,
        label: str | None = None,
    ) -> None:
        self.options = {"name": "hop_skip_jump", **options_of(locals())}
        self.queries, self.draws, self.probes, self.probe_size = queries, draws, probes, probe_size
        self.restarts, self.label = restarts, label or "hop-skip-jump"

    @torch.no_grad()
    def __call__(
        self,
        classifier: Classifier,
        images: Float[Tensor, "b 3 y x"],
        labels: Int64[Tensor, " b"],
        *,
        threat: Threat,
        work: Work,
    ) -> Float[Tensor, "b 3 y x"]:
        """Return the visited point, moved into the ball, that most draws misclassify."""
        if len(images) == 0:
            return images.clone()
        objective = objective_of(
            classifier, images, labels, loss="margin", noise="fresh", k=self.draws, work=work, key="hop skip jump"
        )
        pixels = images[0].numel()
        probe = self.probe_size or (NOISY_PROBE if classifier.stochastic else 1 / pixels)
        walk = _Walk(objective, images, threat, work.generator(images.device, "hop skip jump", "search"), probe)
        left = self.queries - walk.start(self.queries)
        for t in range(1, left + 1):
            count = min(int(self.probes * math.sqrt(t)), 10_000, left - walk.overhead)
            if count < FEWEST_PROBES or not walk.open().any():
                break
            walk.round(t, count)
            left -= count + walk.overhead
        return walk.best


@dataclass
class _Walk:
    """The state of the search for each image.

    Attributes:
        objective: answers queries.
        images: the centres of the balls.
        threat: norm of the distances, and radius.
        draw: generator of starts and probes.
        probe: see ``probe_size``.
    """

    objective: Objective
    images: Float[Tensor, "b 3 y x"]
    threat: Threat
    draw: torch.Generator
    probe: float

    def __post_init__(self) -> None:
        b = len(self.images)
        self.points = self.images.clone()  # just beyond the boundary, and how far away they are
        self.begun: Bool[Tensor, " b"] = torch.zeros(b, dtype=torch.bool, device=self.images.device)
        self.distance = torch.full((b,), torch.inf, device=self.images.device)
        self.best = self.images.clone()
        self.wrong = 1 - self.objective(self.images, gradient=False).right  # share of draws that misclassify ``best``

    @property
    def overhead(self) -> int:
        """Queries of a round besides its probes: jumps, bisections, evaluated points."""
        return HALVINGS + 1 + self._bisections + JUDGED

    @property
    def _bisections(self) -> int:
        width = self.images[0].numel() ** (1.0 if self.threat.norm == "linf" else 0.5)
        return math.ceil(math.log2(width / self.probe))  # so that a probe is longer than the error of the point

    def open(self) -> Bool[Tensor, " b"]:
        """Return which images to attack further."""
        unbroken = torch.ones_like(self.begun) if self.objective.classifier.stochastic else self.wrong <= 0.5
        return self.begun & unbroken

    def start(self, most: int) -> int:
        """Find a misclassified point for each image, the nearest of several trials; return the queries made."""
        made = 1  # of the images themselves
        found = self.images.clone()
        nearest = torch.full((len(found),), torch.inf, device=found.device)
        everyone = torch.arange(len(found), device=found.device)
        for trial in range(STARTS):
            if made + 1 + COARSE > max(most // 4, min(most, 2 + COARSE)):
                break
            tried = self._far_away(trial)
            distance = self.threat.distances(tried, self.images)
            share = (nearest / distance.clamp_min(1e-12)).clamp_max(1.0)
            nearer = self._between(self.images, tried, distance, share)
            rows = (self._wrong(nearer, everyone) >= 0.5).nonzero().squeeze(1)
            self.begun[rows] = True
            if len(rows):
                found[rows] = self._bisected(nearer[rows], rows, COARSE)
                nearest[rows] = self.threat.distances(found[rows], self.images[rows])
            made += 1 + COARSE
        rows = self.begun.nonzero().squeeze(1)
        if most - made >= self._bisections + JUDGED and len(rows):
            self._arrive(found[rows], rows)
            return made + self._bisections + JUDGED
        self.begun[:] = False
        return made

    def _far_away(self, trial: int) -> Float[Tensor, "b 3 y x"]:
        """Return images unlike the originals: noise, stripes as in Square, or other images of the batch."""
        b, channels, _, x = self.images.shape
        like = {"generator": self.draw, "device": self.images.device}
        if trial % 3 == 0:
            return torch.rand(self.images.shape, dtype=self.images.dtype, **like)
        if trial % 3 == 1 or b == 1:
            return torch.randint(0, 2, (b, channels, 1, x), **like).to(self.images.dtype).expand_as(self.images)
        return self.images.roll(1 + int(torch.randint(b - 1, (), **like)), dims=0)

    def round(self, t: int, probes: int) -> None:
        """Make one round for every image still attacked: normal, jump, bisection."""
        rows = self.open().nonzero().squeeze(1)
        distance = self.distance[rows]
        normal = self._normal(rows, distance, probes)
        step = distance / math.sqrt(t)
        jumped, short = self.points[rows].clone(), torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        for _ in range(HALVINGS + 1):
            at = short.nonzero().squeeze(1)
            if len(at) == 0:
                break
            tried = (self.points[rows[at]] + step[at, None, None, None] * normal[at]).clamp(0.0, 1.0)
            beyond = self._wrong(tried, rows[at]) >= 0.5
            jumped[at[beyond]] = tried[beyond]
            short[at[beyond]] = False
            step[at] = step[at] / 2
        self._arrive(jumped, rows)

    def _arrive(self, beyond: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"]) -> None:
        """Bisect from misclassified points onto the boundary, and keep the points that lie inside the ball."""
        if len(rows) == 0:
            return
        images = self.images[rows]
        distance = self.threat.distances(beyond, images)
        stretch = (self.threat.eps / distance.clamp_min(1e-12)).clamp_min(1.0)[:, None, None, None]
        points = self._bisected(beyond, rows, self._bisections)
        everywhere = torch.ones_like(rows, dtype=torch.bool)
        if math.isfinite(self.threat.eps):
            # a point inside the ball is also moved out to its edge, away from the boundary; the points before that
            # count too, since the edge may lie in another region of the true class
            edge = self.threat.project((images + stretch * (beyond - images)).clamp(0.0, 1.0), images)
            for found in (points, beyond):
                self._offer(found, rows, self.threat.distances(found, images) <= self.threat.eps)
            self._offer(edge, rows, everywhere)
        else:
            self._offer(points, rows, everywhere)
            self._offer(beyond, rows, everywhere)
        distance = self.threat.distances(points, images)
        nearer = distance < self.distance[rows]
        if self.objective.classifier.stochastic:  # a near point that was misclassified by chance must not be kept
            nearer[:] = True
        self.points[rows[nearer]], self.distance[rows[nearer]] = points[nearer], distance[nearer]

    def _offer(self, found: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"], inside: Bool[Tensor, " r"]) -> None:
        """Keep points inside the ball that at least as many draws misclassify; of equals the later, nearer one."""
        rows, found = rows[inside], found[inside]
        if len(rows) == 0:
            return
        wrong = self._wrong(found, rows)
        better = wrong >= self.wrong[rows]
        self.best[rows[better]], self.wrong[rows[better]] = found[better], wrong[better]

    def _bisected(
        self, beyond: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"], times: int
    ) -> Float[Tensor, "r 3 y x"]:
        """Return misclassified points just beyond the boundary, between farther ones and the images."""
        images = self.images[rows]
        distance = self.threat.distances(beyond, images)
        low, high = torch.zeros_like(distance), torch.ones_like(distance)
        for _ in range(times):
            middle = (low + high) / 2
            right = self._wrong(self._between(images, beyond, distance, middle), rows) < 0.5
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        return self._between(images, beyond, distance, high)

    def _between(self, images: Tensor, beyond: Tensor, distance: Tensor, share: Tensor) -> Tensor:
        """Return points at a share of the distance: on the connecting line in l2, clipped to a box in l-inf."""
        moved, share = beyond - images, share[:, None, None, None]
        if self.threat.norm == "l2":
            return images + share * moved
        reach = share * distance[:, None, None, None]
        return images + moved.clamp(-reach, reach)

    def _normal(
        self, rows: Int64[Tensor, " r"], distance: Float[Tensor, " r"], probes: int
    ) -> Float[Tensor, "r 3 y x"]:
        """Return the steepest direction along the boundary's normal, estimated from the decisions at random probes."""
        points = self.points[rows]
        length = (self.probe * distance).clamp_min(1e-6)[:, None, None, None]
        votes = torch.zeros_like(distance)
        ones, weighed = torch.zeros_like(points), torch.zeros_like(points)
        made = 0
        while made < probes:
            p = min(max(1, ROWS // len(rows)), probes - made)
            made += p
            noise = torch.randn((p, *points.shape), generator=self.draw, device=points.device, dtype=points.dtype)
            if self.threat.norm == "linf":  # uniform in the box, as published
                noise = torch.special.ndtr(noise) * 2 - 1
            noise = noise / noise.flatten(2).norm(dim=2)[..., None, None, None]
            tried = (points + length * noise).clamp(0.0, 1.0)
            noise = (tried - points) / length
            vote = 2 * self._wrong(tried.flatten(0, 1), rows.repeat(p)).view(p, -1) - 1
            votes += vote.sum(dim=0)
            ones += noise.sum(dim=0)
            weighed += (vote[..., None, None, None] * noise).sum(dim=0)
        mean = (votes / probes)[:, None, None, None]
        agreed = mean.abs() == 1  # all probes on one side of the boundary
        return self.threat.steepest(torch.where(agreed, weighed, weighed - mean * ones))

    def _wrong(self, points: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"]) -> Float[Tensor, " r"]:
        return 1 - self.objective.of(rows)(points, gradient=False).right
