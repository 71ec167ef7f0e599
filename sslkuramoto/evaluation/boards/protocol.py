"""Protocol ``boards``: share of puzzles that are solved, over fresh draws of the initial oscillators.

AKOrN (Miyato et al. 2025, arXiv 2410.13821) scores the blank cells only, WONN requires all cells. The two differ if a
network changes a given cell; both are always reported.
Shapes: k draws, n boards, b batch, y x cells.
"""

from statistics import fmean
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sslkuramoto.classifier import predicted
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import batches, in_order
from sslkuramoto.evaluation.forward_cost import features_cost
from sslkuramoto.evaluation.protocol import Protocol, Result, Subject, described, start_of
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric
from sslkuramoto.statistics import spread, wilson
from sslkuramoto.values import Count, checked

GROUP = "Boards solved"


@checked
class BoardAccuracy(Protocol):
    """Share of boards, and of cells, that are solved correctly.

    Args:
        split: split that is scored.
        draws: fresh draws of a stochastic network, at least 20.
    """

    name = "boards"
    reads: ClassVar[Reads] = (Boards,)
    needs = frozenset({"head", "labels"})
    columns = (
        Column("boards_blanks", "blank cells", GROUP, False, 18, ["board_accuracy_blanks"], optional=True),
        Column("boards_all_cells", "all cells", GROUP, False, 19, ["board_accuracy_all_cells"], optional=True),
    )

    def __init__(self, *, split: Literal["test", "val"] = "test", draws: Count = 20) -> None:
        self.options = options_of(locals())
        self.splits = (split,)
        self.draws = draws

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        (split,) = self.splits
        boards, draws = subject.data(split), draws_for(subject.encoder.stochastic, self.draws)
        found, blank = [], []
        order = in_order(len(boards), subject.batch_size)
        for i, batch in enumerate(batches(boards, order, device=subject.device)):
            noise = (generator(subject.device, subject.seed, self.name, k, i) for k in range(draws))
            assert batch.targets is not None
            answers = torch.stack([_symbols(subject, batch.inputs, draw) for draw in noise])
            found.append((answers == batch.targets).cpu())
            blank.append((batch.inputs == 0).cpu())
        correct, blanks = torch.cat(found, dim=1).flatten(2), torch.cat(blank).flatten(1)
        solved = {"blanks": (correct | ~blanks).all(dim=2), "all_cells": correct.all(dim=2)}
        cells = {"blanks": _share(correct, blanks), "all_cells": _share(correct, torch.ones_like(blanks))}
        return Result(
            metrics={
                **{f"board_accuracy_{where}": _metric(values.double()) for where, values in solved.items()},
                **{f"cell_accuracy_{where}": _metric(values) for where, values in cells.items()},
            },
            options=self.options,
            data=described(boards),
            initial=start_of(subject.encoder),
            per_image={
                "correct": _per_board(solved["blanks"]),
                "correct_all_cells": _per_board(solved["all_cells"]),
            },
            verdicts=["correct", "correct_all_cells"],
            notes=["a board is solved if its blank cells are correct; all_cells also requires unchanged given cells"],
        )

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        return [("", features_cost(subject, self.splits[0], self.draws))]


def _symbols(subject: Subject, boards: Tensor, draw: torch.Generator) -> Tensor:
    """Return the symbol of every cell, from 1; a symbol of no solution if a logit is not finite."""
    assert subject.head is not None
    features = subject.encoder(boards, draw=draw if subject.encoder.stochastic else None)
    logits = subject.head(features.map).permute(0, 2, 3, 1)
    return predicted(logits.flatten(0, 2)).view(logits.shape[:3]) + 1


def _share(correct: Bool[Tensor, "k n s"], counted: Bool[Tensor, "n s"]) -> Float[Tensor, "k n"]:
    """Return the share of the counted cells of each board that are correct; 1 if a board has none."""
    number = counted.sum(dim=1)
    return ((correct & counted).sum(dim=2).double() / number.clamp(min=1)).masked_fill(number == 0, 1.0)


def _metric(shares: Float[Tensor, "k n"]) -> Metric:
    """Return the mean over boards and draws. The interval is over boards, since cells of one board are dependent."""
    draws, n = shares.shape
    per_draw = shares.mean(dim=1).tolist()
    value = min(1.0, fmean(per_draw))
    low, high = wilson(value, n)
    return Metric(value, low, high, n, draws, spread(per_draw))


def _per_board(solved: Bool[Tensor, "k n"]) -> list[float]:
    return [round(share, 6) for share in solved.double().mean(dim=0).tolist()]
