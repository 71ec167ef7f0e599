"""The APGD of pyautoattack for deterministic networks: images leave the batch once misclassified, targets share one.

Croce and Hein 2020 (2003.01690). The steps, the random starts and the rules for step sizes are those of pyautoattack
0.2.0, operation by operation, so an image that no step breaks is treated as there.

The random starts of a target depend on how many images its predecessors broke. Several targets are attacked together as
if none broke any; if one does, the later ones are attacked again, with the starts that pyautoattack would draw.

Shapes: b batch, y x pixels, o pairs of an image and a target that are still attacked, t targets, s steps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.checks import check_zero_gradients
from torch import Tensor
from torch.nn import functional as F

from sslkuramoto.attacks.open_rows import OpenRows
from sslkuramoto.attacks.pass_size import rows_of_a_pass


@dataclass
class _Open(OpenRows):
    """The images that are still correctly classified: all that a step needs of each."""

    place: Int64[Tensor, " o"]  # among all pairs
    turn: Int64[Tensor, " o"]  # number of the target
    x: Float[Tensor, "o 3 y x"]
    y: Int64[Tensor, " o"]
    target: Int64[Tensor, " o"]
    now: Float[Tensor, "o 3 y x"]
    last: Float[Tensor, "o 3 y x"]
    gradient: Float[Tensor, "o 3 y x"]
    best: Float[Tensor, "o 3 y x"]
    best_gradient: Float[Tensor, "o 3 y x"]
    best_loss: Float[Tensor, " o"]
    size: Float[Tensor, "o 1 1 1"]
    losses: Float[Tensor, "o s"]
    reduced: Bool[Tensor, " o"]
    judged_loss: Float[Tensor, " o"]


class LeavingApgd(APGDAttack):
    """APGD in l-inf or l2, of which the first misclassified point of an image is returned.

    Differs: pyautoattack continues with all images to the end and returns the last misclassified point. The gradient
    at the last point, which no step would use, is not computed.
    """

    eps: float

    def attack_single_run(
        self, x: Float[Tensor, "b 3 y x"], y: Int64[Tensor, " b"], x_init: None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what pyautoattack does: candidates, whether each is correctly classified, losses, candidates."""
        found, right, _ = self._run(x, y, y, self._starts(x), torch.zeros_like(y))
        return found, right, x.new_zeros(len(x)), found

    def _starts(self, x: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        """Draw points of the boundary of the ball."""
        towards = (2 * torch.rand(x.shape) - 1 if self.norm == "Linf" else torch.randn(x.shape)).to(x.device)
        return (x + self.eps * torch.ones_like(x) * self.normalize(towards)).clamp(0.0, 1.0)

    def _run(
        self, x: Tensor, y: Tensor, target: Tensor, start: Tensor, turn: Int64[Tensor, " o"]
    ) -> tuple[Tensor, Bool[Tensor, " o"], int]:
        """Ascend; once a target has broken an image, targets with larger numbers are given up.

        Returns:
            Candidates, whether each is correctly classified, and the first target that broke an image, else the last.
        """
        found, right, until = x.clone(), torch.ones_like(y, dtype=torch.bool), int(turn.max())
        ones, place = x.new_ones(len(x)), torch.arange(len(x), device=x.device)
        size = 2.0 * self.eps * ones.view(-1, 1, 1, 1)
        past = (start, start, start, start, start, ones)
        losses = x.new_zeros(len(x), self.n_iter)
        o = _Open(place, turn, x, y, target, *past, size, losses, torch.ones_like(right), ones)
        every, since = self.n_iter_2, 0
        for step in range(self.n_iter + 1):
            if step:
                self._move(o, first=step == 1)
            logits, loss = self._evaluate(o, gradient=step < self.n_iter)
            if step == 0 and self.loss.startswith("dlr"):
                check_zero_gradients(o.gradient, logger=self.logger)
            better = torch.ones_like(o.reduced) if step == 0 else loss > o.best_loss
            o.best, o.best_gradient = _where(better, o.now, o.best), _where(better, o.gradient, o.best_gradient)
            o.best_loss = torch.where(better, loss, o.best_loss)
            wrong = logits.argmax(dim=1) != o.y
            if step == 0:
                o.judged_loss = loss
            else:
                o.losses[:, step - 1] = loss
                since += 1
            moved = o.now
            if since == every:
                self._judge(o, step - 1, every)
                since, every = 0, max(every - self.size_decr, self.n_iter_min)
            if wrong.any():
                gone = o.place[wrong]
                found[gone], right[gone] = moved[wrong], False
                until = min(until, int(o.turn[wrong].min()))
                o.keep(~wrong & (o.turn <= until))
                if len(o.place) == 0:
                    break
        return found, right, until

    def _move(self, o: _Open, *, first: bool) -> None:
        """Make one step with momentum."""
        momentum, o.last = o.now - o.last, o.now
        share = 1.0 if first else 0.75
        if self.norm == "Linf":
            low, high = o.x - self.eps, o.x + self.eps
            ahead = _clamped(o.now + o.size * torch.sign(o.gradient), low, high)
            o.now = _clamped(o.now + (ahead - o.now) * share + momentum * (1 - share), low, high)
        else:
            ahead = self._into_ball(o.now + o.size * self.normalize(o.gradient), o.x)
            o.now = self._into_ball(o.now + (ahead - o.now) * share + momentum * (1 - share), o.x)

    def _into_ball(self, points: Tensor, x: Tensor) -> Tensor:
        delta = points - x
        length = (delta**2).flatten(1).sum(dim=-1).sqrt().view(-1, 1, 1, 1)
        return torch.clamp(x + self.normalize(delta) * length.clamp_max(self.eps), 0.0, 1.0)

    def _evaluate(self, o: _Open, *, gradient: bool) -> tuple[Tensor, Tensor]:
        """Return logits and losses; take the gradient if it is requested."""
        leaf = o.now.detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            logits = self.model(leaf)
            losses = self._losses(logits, o)
            if gradient:
                (o.gradient,) = torch.autograd.grad(losses.sum(), leaf)
        return logits.detach(), losses.detach()

    def _losses(self, logits: Tensor, o: _Open) -> Tensor:
        if self.loss == "ce":
            return F.cross_entropy(logits, o.y, reduction="none")
        return self.dlr_loss(logits, o.y)

    def _judge(self, o: _Open, step: int, steps: int) -> None:
        """Halve the step size of images whose loss increased too rarely, and set them back to their best point."""
        # as there, the first step ever is compared with the last column, which is still zero
        columns = torch.arange(step, step - steps, -1, device=o.losses.device)
        increases = (o.losses[:, columns] > o.losses[:, columns - 1]).float().sum(dim=1)
        idle = ~o.reduced & (o.judged_loss >= o.best_loss)
        o.reduced = (increases <= steps * self.thr_decr) | idle
        o.judged_loss = o.best_loss
        o.size = _where(o.reduced, o.size / 2.0, o.size)
        o.now, o.gradient = _where(o.reduced, o.best, o.now), _where(o.reduced, o.best_gradient, o.gradient)


class LeavingApgdTargeted(LeavingApgd, APGDAttack_targeted):
    """The same towards target classes, several in one batch where that gives the same result."""

    def perturb(
        self, x: Float[Tensor, "b 3 y x"], y: Int64[Tensor, " b"], x_init: None = None
    ) -> Float[Tensor, "b 3 y x"]:
        """Return for each image the candidate of the first target that broke it, else the image."""
        self.init_hyperparam(x)
        adv = x.clone()
        ordered = self.model(x).sort(dim=1).indices
        right = ordered[:, -1] == y
        torch.random.manual_seed(self.seed)
        turn, together, most = 0, 1, rows_of_a_pass(self.model.encoder, x)
        while turn < self.n_target_classes:
            rows = right.nonzero().squeeze(1)
            if len(rows) == 0:
                break
            turns = min(together, max(1, most // len(rows)), self.n_target_classes - turn)
            starts, states = [], []
            for _ in range(turns):
                starts.append(self._starts(x[rows]))
                states.append(torch.get_rng_state())
            each = torch.arange(turns, device=x.device).repeat_interleave(len(rows))
            targets = torch.cat([ordered[rows, -2 - turn - number] for number in range(turns)])
            image = rows.repeat(turns)
            found, still, until = self._run(x[image], y[image], targets, torch.cat(starts), each)
            fell = ~still & (each == until)
            adv[image[fell]], right[image[fell]] = found[fell], False
            torch.set_rng_state(states[until])
            turn += until + 1
            together = 1 if fell.any() else self.n_target_classes
        return adv

    def _losses(self, logits: Tensor, o: _Open) -> Tensor:
        ordered = logits.sort(dim=1).values
        rows = torch.arange(len(logits))
        difference = logits[rows, o.y] - logits[rows, o.target]
        return -difference / (ordered[:, -1] - 0.5 * (ordered[:, -3] + ordered[:, -4]) + 1e-12)


def _where(rows: Bool[Tensor, " o"], new: Float[Tensor, "o ..."], old: Float[Tensor, "o ..."]) -> Tensor:
    return torch.where(rows.view(-1, 1, 1, 1), new, old)


def _clamped(points: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.clamp(torch.min(torch.max(points, low), high), 0.0, 1.0)
