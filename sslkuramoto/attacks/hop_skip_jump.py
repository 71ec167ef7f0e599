"""HopSkipJump: an attack that sees decisions only, the successor of the boundary attack; votes where the network draws.

Chen, Jordan and Wainwright 2020 (1904.02144), after Brendel et al. 2018 (1712.04248). From any point that is classified
wrongly it walks along the decision boundary towards the image: bisection onto the boundary, the boundary's normal from
the decisions about random probes, a jump along it. Neither gradients nor logits can mislead it.
A network that draws answers each query with the share of r draws that are wrong, and lies beyond its boundary where at
least half of them are.

Shapes: b batch, y x pixels, r rows of the batch, p probes.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from sslkuramoto.attacks.attack import Attack, Work
from sslkuramoto.attacks.gradients import ROWS, Objective, objective_of
from sslkuramoto.classifier import Classifier
from sslkuramoto.registry import options_of
from sslkuramoto.threat import Threat
from sslkuramoto.values import Count, ShareAboveZero, checked, small

STARTS = 30
COARSE = 6  # bisections that tell how near a start leads
HALVINGS = 10  # of a jump that ends on the right side
FEWEST_PROBES = 10  # worth a round
NOISY_PROBE = 0.5
JUDGED = 3  # points of an arrival: on the boundary, beyond it, at the edge of the ball


@small(queries=100)
@checked
class HopSkipJump(Attack):
    """Walks along the decision boundary; a black box that returns classes only.

    Args:
        queries: of each image, at most.
        draws: r, draws that vote on a query; 1 for a deterministic network.
        probes: of the first round; round t makes sqrt(t) times as many, at most 10,000.
        probe_size: distance of a probe from the boundary, as a share of the distance to the image. None: as published,
            1/d with d pixel values, for a deterministic network; a half for one that draws, whose votes say little
            about smaller distances.
        restarts: independent walks.
        label: of the result; None: hop-skip-jump.
    """

    queries_only = True
    idle_without_noise = frozenset({"draws"})

    def __init__(
        self,
        *,
        queries: Count = 5000,
        draws: Count = 8,
        probes: Count = 100,
        probe_size: ShareAboveZero | None = None,
        restarts: Count = 1,
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
        """Return, of the points of the walk moved into the ball, the one that most draws get wrong."""
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
    """Where each image's walk stands.

    Attributes:
        objective: answers queries.
        images: the centres.
        threat: norm of the distances, and the ball.
        draw: source of starts and probes.
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
        self.wrong = 1 - self.objective(self.images, gradient=False).right  # share of the draws, of the best

    @property
    def overhead(self) -> int:
        """Queries of a round besides its probes: jumps, bisections, judgements."""
        return HALVINGS + 1 + self._bisections + JUDGED

    @property
    def _bisections(self) -> int:
        width = self.images[0].numel() ** (1.0 if self.threat.norm == "linf" else 0.5)
        return math.ceil(math.log2(width / self.probe))  # so that a probe is longer than the error of the point

    def open(self) -> Bool[Tensor, " b"]:
        """Return which images are worth going on with."""
        stands = torch.ones_like(self.begun) if self.objective.classifier.stochastic else self.wrong <= 0.5
        return self.begun & stands

    def start(self, most: int) -> int:
        """Find a wrongly classified point for each image, the nearest of several; return the queries made."""
        made = 1  # about the images themselves
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
        """Return images that nobody would take for the originals: noise, stripes as in Square, others of the batch."""
        b, channels, _, x = self.images.shape
        like = {"generator": self.draw, "device": self.images.device}
        if trial % 3 == 0:
            return torch.rand(self.images.shape, dtype=self.images.dtype, **like)
        if trial % 3 == 1 or b == 1:
            return torch.randint(0, 2, (b, channels, 1, x), **like).to(self.images.dtype).expand_as(self.images)
        return self.images.roll(1 + int(torch.randint(b - 1, (), **like)), dims=0)

    def round(self, t: int, probes: int) -> None:
        """Go on from every open image: normal, jump, bisection."""
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
        """Keep what the ball holds of points beyond the boundary, and move onto it between them and the images."""
        if len(rows) == 0:
            return
        images = self.images[rows]
        distance = self.threat.distances(beyond, images)
        stretch = (self.threat.eps / distance.clamp_min(1e-12)).clamp_min(1.0)[:, None, None, None]
        points = self._bisected(beyond, rows, self._bisections)
        everywhere = torch.ones_like(rows, dtype=torch.bool)
        if math.isfinite(self.threat.eps):  # a point inside the ball is led on to its edge, away from the boundary;
            edge = self.threat.project((images + stretch * (beyond - images)).clamp(0.0, 1.0), images)
            for found in (points, beyond):  # but there another region of the right class may begin
                self._offer(found, rows, self.threat.distances(found, images) <= self.threat.eps)
            self._offer(edge, rows, everywhere)
        else:
            self._offer(points, rows, everywhere)
            self._offer(beyond, rows, everywhere)
        distance = self.threat.distances(points, images)
        nearer = distance < self.distance[rows]
        if self.objective.classifier.stochastic:  # a point that luck has called wrong must not be kept for its nearness
            nearer[:] = True
        self.points[rows[nearer]], self.distance[rows[nearer]] = points[nearer], distance[nearer]

    def _offer(self, found: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"], inside: Bool[Tensor, " r"]) -> None:
        """Keep those points inside the ball that more draws get wrong, of equals the later, which comes from nearer."""
        rows, found = rows[inside], found[inside]
        if len(rows) == 0:
            return
        wrong = self._wrong(found, rows)
        better = wrong >= self.wrong[rows]
        self.best[rows[better]], self.wrong[rows[better]] = found[better], wrong[better]

    def _bisected(
        self, beyond: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"], times: int
    ) -> Float[Tensor, "r 3 y x"]:
        """Return points just beyond the boundary, between points far beyond it and the images."""
        images = self.images[rows]
        distance = self.threat.distances(beyond, images)
        low, high = torch.zeros_like(distance), torch.ones_like(distance)
        for _ in range(times):
            middle = (low + high) / 2
            right = self._wrong(self._between(images, beyond, distance, middle), rows) < 0.5
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        return self._between(images, beyond, distance, high)

    def _between(self, images: Tensor, beyond: Tensor, distance: Tensor, share: Tensor) -> Tensor:
        """Return points at a share of the distance: on the line in l2; in l-inf in the box of that size."""
        moved, share = beyond - images, share[:, None, None, None]
        if self.threat.norm == "l2":
            return images + share * moved
        reach = share * distance[:, None, None, None]
        return images + moved.clamp(-reach, reach)

    def _normal(
        self, rows: Int64[Tensor, " r"], distance: Float[Tensor, " r"], probes: int
    ) -> Float[Tensor, "r 3 y x"]:
        """Return the steepest direction of the boundary's normal, estimated by the votes on random probes."""
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
        agreed = mean.abs() == 1  # every probe on one side
        return self.threat.steepest(torch.where(agreed, weighed, weighed - mean * ones))

    def _wrong(self, points: Float[Tensor, "r 3 y x"], rows: Int64[Tensor, " r"]) -> Float[Tensor, " r"]:
        return 1 - self.objective.of(rows)(points, gradient=False).right
