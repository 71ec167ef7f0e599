"""The Square attack of pyautoattack in l-inf for deterministic networks, with many queries in one forward pass.

Andriushchenko et al. 2020 (1912.00049). A query changes one square of the best point so far, the same square for all
images; it is kept where the loss falls. The squares are drawn beforehand, in pyautoattack's order. Two things that
change no outcome save passes:

    - A query that leaves the point as it is, or that was asked at this point before, is not asked: it cannot improve.
    - Several queries of one image share a pass, as if none of them improved. Those after the first that did are asked
      again at the new point. No more of them than were saved before, so no search takes more passes than pyautoattack.

Shapes: b batch, y x pixels, m queries of a block, p pairs of an image and a query.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from pyautoattack.square import SquareAttack
from torch import Tensor

from sslkuramoto.attacks.losses import wrong_by
from sslkuramoto.attacks.pass_size import rows_of_a_pass

LONGEST = 256
"""Most queries of a block."""
VOID = 0.5
"""Improvements of an image that are expected in a block, at most. Each makes the later queries of the block void."""
LITTLE = 1e-3  # keeps shares above zero


class _Block(NamedTuple):
    """Queries, in order."""

    change: Float[Tensor, "m 3 y x"]
    key: Int64[Tensor, " m"]  # equal where the queries are
    once: Bool[Tensor, " m"]  # whether no earlier query of the block is equal


class BatchedSquare(SquareAttack):
    """The Square attack, asked in batches; in l2 it is pyautoattack's."""

    eps: float

    def attack_single_run(
        self, x: Float[Tensor, "b 3 y x"], y: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, "b 3 y x"]]:
        """Return the number of queries of each image and the best points."""
        if self.norm != "Linf":
            return super().attack_single_run(x, y)
        b, c, height, width = x.shape
        best = torch.clamp(x + self.eps * self.random_choice([b, c, 1, width]), 0.0, 1.0)
        margin = self._margins(best, y)
        drawn = torch.rand(self.n_queries, 2 + c)
        tried = torch.zeros(b, height * width * 2**c, dtype=torch.bool, device=x.device)
        used, side, number, most = torch.ones_like(y), 0, 0, rows_of_a_pass(self.predict.encoder, x)
        saved, useful, improving = 0, 1.0, 1.0  # pairs not asked; lately, shares of pairs: asked, improved
        while number < self.n_queries:
            rows = (margin > 0.0).nonzero().squeeze(1)
            if len(rows) == 0:
                break
            affordable = (1 + math.sqrt(1 + 8 * saved / len(rows))) / 2  # m (m - 1) / 2 pairs are void at worst
            length = int(min(affordable, most / (len(rows) * useful), VOID / improving, LONGEST))
            length = min(max(1, length), self.n_queries - number)
            sides = [self._side(number + place, x) for place in range(length)]
            length = sides.count(sides[0])  # sides never grow
            if sides[0] != side:
                side = sides[0]
                tried.zero_()
            block, pairs = self._block(drawn[number : number + length], side, x), length * len(rows)
            asked, improved, following = 0, 0, torch.zeros_like(y)  # following: next query of each image
            while len(rows):
                wanted = torch.arange(length, device=x.device) >= following[rows, None]
                wanted &= ~tried[rows[:, None], block.key]
                if asked == 0:  # all at their first points, where a repeated query is asked once
                    wanted &= block.once
                row, query = wanted.nonzero(as_tuple=True)
                row = rows[row]
                tried[row, block.key[query]] = True
                first, questions = self._ask(x, y, best, margin, row, query, block)
                better = rows[first[rows] < length]
                tried[better] = False
                asked, improved = asked + questions, improved + len(better)
                following = first + 1
                rows = better[margin[better] > 0.0]
            saved += pairs - asked
            useful, improving = (useful + asked / pairs) / 2 + LITTLE, (improving + improved / pairs) / 2 + LITTLE
            number += length
            used[margin > 0.0] += length
        return used.float(), best

    def _ask(
        self, x: Tensor, y: Tensor, best: Tensor, margin: Tensor, row: Tensor, query: Tensor, block: _Block
    ) -> tuple[Int64[Tensor, " b"], int]:
        """Ask the pairs that change the image, and move each image to its first better point.

        Returns:
            The number of that query (of none: the length of the block), and how many pairs were asked.
        """
        first = torch.full_like(y, len(block.key))
        point = best[row] + block.change[query]
        point = torch.min(torch.max(point, x[row] - self.eps), x[row] + self.eps).clamp(0.0, 1.0)
        new = (point != best[row]).flatten(1).any(dim=1)
        row, query, point = row[new], query[new], point[new]
        if len(row):
            most = max(rows_of_a_pass(self.predict.encoder, x), len(x))
            parts = zip(point.split(most), y[row].split(most), strict=True)
            margins = torch.cat([self._margins(*part) for part in parts])
            better = (margins < margin[row]).nonzero().squeeze(1)
            first.scatter_reduce_(0, row[better], query[better], "amin")
            taken = better[query[better] == first[row[better]]]
            best[row[taken]], margin[row[taken]] = point[taken], margins[taken]
        return first, len(row)

    def _margins(self, points: Float[Tensor, "p 3 y x"], y: Int64[Tensor, " p"]) -> Float[Tensor, " p"]:
        return -wrong_by(self.predict(points), y)

    def _side(self, asked: int, x: Tensor) -> int:
        """Return the side of the square of a query."""
        _, c, height, width = x.shape
        side = max(round(math.sqrt(self.p_selection(asked) * c * height * width / c)), 1)
        return min(side, height, width)

    def _block(self, drawn: Float[Tensor, "m 5"], side: int, x: Tensor) -> _Block:
        """Return the queries of uniform draws: place and signs of each square."""
        c, height, width = x.shape[1:]
        top, left = ((drawn[:, axis] * (size - side)).long() for axis, size in enumerate((height, width)))
        signs = torch.sign(2 * drawn[:, 2:] - 1)
        inside = [
            (torch.arange(size) >= first[:, None]) & (torch.arange(size) < first[:, None] + side)
            for first, size in ((top, height), (left, width))
        ]
        square = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).float()
        change = 2.0 * self.eps * signs[:, :, None, None] * square
        key = (top * width + left) * 2**c + ((signs > 0) * 2 ** torch.arange(c)).sum(dim=1)
        once = ~(key[:, None] == key).tril(-1).any(dim=1)
        return _Block(change.to(x.device), key.to(x.device), once.to(x.device))
