"""The FAB attack of pyautoattack for deterministic networks, with several target classes in one batch.

Croce and Hein 2020 (1907.02044). FAB-T attacks each target class in turn and draws no random numbers, so the targets of
an image can be attacked together. An image counts with the first target that reached eps, as in pyautoattack, and its
later targets leave the batch then. Without targets pyautoattack's own code runs.

The point of a hyperplane w . z = b nearest to t in l-inf within [0,1]^d changes each coordinate by at most lambda, and
no coordinate leaves [0,1]. After sorting by the room that each has, the sum that lambda reaches is known at every
breakpoint; pyautoattack finds lambda by bisection, here all breakpoints are compared at once.

Shapes: b batch, o pairs of an image and a target, r rows, d pixels, y x pixels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from pyautoattack.fab_projections import projection_l2
from pyautoattack.fab_pt import FABAttack_PT
from torch import Tensor

from sslkuramoto.attacks.open_rows import OpenRows
from sslkuramoto.attacks.pass_size import rows_of_a_pass

FAR = 1e10  # distance of a candidate that was not found


@dataclass
class _Open(OpenRows):
    """The pairs of an image and a target that are still attacked."""

    place: Int64[Tensor, " o"]  # among all pairs
    image: Int64[Tensor, " o"]
    turn: Int64[Tensor, " o"]  # number of the target
    x: Float[Tensor, "o 3 y x"]
    y: Int64[Tensor, " o"]
    target: Int64[Tensor, " o"]
    here: Float[Tensor, "o 3 y x"]


class BatchedFab(FABAttack_PT):
    """FAB; if it is targeted, several targets share a batch."""

    def perturb(self, x: Float[Tensor, "b 3 y x"], y: Int64[Tensor, " b"]) -> Float[Tensor, "b 3 y x"]:
        """Return for each image the nearest point of the first target that reached eps, else the image."""
        if not self.targeted:
            return super().perturb(x, y)
        adv = x.clone()
        ordered = self._predict_fn(x).sort(dim=-1).indices
        right = ordered[:, -1] == y
        turn, most = 0, rows_of_a_pass(self.predict.encoder, x)
        while turn < self.n_target_classes:
            rows = right.nonzero().squeeze(1)
            if len(rows) == 0:
                break
            turns = min(max(1, most // len(rows)), self.n_target_classes - turn)
            targets = ordered[rows, -2 - turn - turns + 1 : ordered.shape[1] - 1 - turn].flip(1)
            found, near = self._nearest(x[rows], y[rows], targets)
            for each in range(turns - 1, -1, -1):  # the first target decides
                fell = near[:, each]
                adv[rows[fell]] = found[fell, each]
                right[rows[fell]] = False
            turn += turns
        return adv

    def _nearest(self, x: Tensor, y: Tensor, targets: Int64[Tensor, "b t"]) -> tuple[Tensor, Tensor]:
        """Return the nearest misclassified point of each image and target, and whether it is within eps."""
        b, turns = targets.shape
        image = torch.arange(b, device=x.device).repeat_interleave(turns)
        turn = torch.arange(turns, device=x.device).repeat(b)
        o = _Open(
            torch.arange(len(image), device=x.device), image, turn, x[image], y[image], targets.flatten(), x[image]
        )
        found, distance = x[image], x.new_full((len(image),), FAR)
        first = torch.full_like(y, turns)  # target of each image that has reached eps
        for _ in range(self.n_iter):
            self._step(o)
            wrong = (self._get_predicted_label(o.here) != o.y).nonzero().squeeze(1)
            delta = o.here[wrong] - o.x[wrong]
            length = self._length(delta.flatten(1))
            nearer = length < distance[o.place[wrong]]
            into = o.place[wrong[nearer]]
            found[into], distance[into] = o.here[wrong[nearer]], length[nearer]
            o.here[wrong] = o.x[wrong] + delta * self.beta
            reached = into[length[nearer] <= self.eps]
            if turns > 1 and len(reached):
                first.scatter_reduce_(0, image[reached], turn[reached], "amin")
                o.keep(o.turn <= first[o.image])
        wrong = self._get_predicted_label(found) != y[image]
        return found.view(b, turns, *x.shape[1:]), (wrong & (distance <= self.eps)).view(b, turns)

    def _step(self, o: _Open) -> None:
        """Move to the linearised boundary, biased towards the image's own nearest point of it."""
        leaf = o.here.detach().requires_grad_()
        rows = torch.arange(len(o.y), device=leaf.device)
        with torch.enable_grad():
            logits = self.predict(leaf)
            ahead = -(logits[rows, o.y] - logits[rows, o.target])
            (slope,) = torch.autograd.grad(ahead.sum(), leaf)
        offset = -ahead.detach() + (slope * o.here).flatten(1).sum(dim=-1)
        slope = slope.flatten(1)
        projection = projected_linf if self.norm == "Linf" else projection_l2
        points = torch.cat((o.here.flatten(1), o.x.flatten(1)))
        steps = projection(points, torch.cat((slope, slope)), torch.cat((offset, offset)))
        near, far = self._length(steps).clamp_min(1e-8).view(-1, 1, 1, 1).chunk(2)
        step, back = steps.view(-1, *o.x.shape[1:]).chunk(2)
        share = (near / (near + far)).clamp(0.0, self.alpha_max)
        o.here = ((o.here + self.eta * step) * (1 - share) + (o.x + back * self.eta) * share).clamp(0.0, 1.0)

    def _length(self, delta: Float[Tensor, "r d"]) -> Float[Tensor, " r"]:
        return delta.abs().amax(dim=1) if self.norm == "Linf" else (delta**2).sum(dim=1).sqrt()


def projected_linf(
    points: Float[Tensor, "r d"], slope: Float[Tensor, "r d"], offset: Float[Tensor, " r"]
) -> Float[Tensor, "r d"]:
    """Return the smallest change in l-inf that moves points of [0,1]^d onto hyperplanes, as far as the cube allows.

    Args:
        points: t, in [0,1].
        slope: w.
        offset: b.
    """
    sign = 2 * ((slope * points).sum(1) - offset >= 0) - 1
    w = slope * sign.unsqueeze(1)
    b = offset * sign - (w * points).sum(1)  # <= 0: how far w . t has to fall
    up = (w < 0).float()
    room = (up - points) * (w != 0).float()  # signed, of each coordinate
    depth, order = (up - points * (2 * up - 1)).sort(dim=1, descending=True)
    w_sorted = w.gather(1, order)
    free = w_sorted.abs().cumsum(dim=1)  # of the coordinates with most room, which lambda bounds
    least = (w * room).sum(1)
    cut = (-w_sorted * room.gather(1, order)).cumsum(dim=1) + least.unsqueeze(1)  # of the others, at their bounds
    reach = cut - free * depth
    within, beyond = b > least, b > reach[:, -1]
    last = ((b.unsqueeze(1) > reach).sum(dim=1, keepdim=True) - 1).clamp_min(0)
    last = torch.where(beyond.unsqueeze(1), reach.shape[1] - 1, last)
    size = ((b.unsqueeze(1) - cut.gather(1, last)) / -free.gather(1, last)).clamp_min(0)
    bounded = torch.where(beyond.unsqueeze(1), (2 * up - 1) * size, room.clamp(-size, size))
    return torch.where((within | beyond).unsqueeze(1), bounded, room) * (w != 0).float()
