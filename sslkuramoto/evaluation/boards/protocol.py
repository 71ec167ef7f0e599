"""Protocol ``sudoku``: boards solved by one draw of the initial oscillators and by votes of several, over T and K.

AKOrN (Miyato et al. 2025, arXiv 2410.13821) scores the blank cells only, WONN requires all cells. The two differ if a
network changes a given cell; both are always reported. More oscillator steps at test time and votes: its section 6.2.
Shapes: k draws, n boards, b batch, y x cells.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor

from sslkuramoto.classifier import predicted
from sslkuramoto.columns import Column
from sslkuramoto.cost import Cost
from sslkuramoto.data import batches, in_order
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.boards.scores import distributions, mean_metric, score_metrics
from sslkuramoto.evaluation.boards.tally import ONE_DRAW, SOLVED, Measured, Tally, point
from sslkuramoto.evaluation.boards.votes import BY_ENERGY, Draw, VoteName
from sslkuramoto.evaluation.forward_cost import passes_cost
from sslkuramoto.evaluation.own_source import own_source
from sslkuramoto.evaluation.protocol import Protocol, Result, Subject, described, start_of
from sslkuramoto.examples import Boards, Reads
from sslkuramoto.noise_draws import MINIMUM_DRAWS, draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.registry import options_of
from sslkuramoto.results import Metric
from sslkuramoto.sudoku_rules import Side, sudoku_side
from sslkuramoto.values import Count, Mark, checked

OWN, RULE, FURTHER = "Boards solved", "Boards solved, RRN's rule", "Boards solved, dug further"
"""Groups of columns: boards of the run, and those of the files ``sudoku-ood`` and ``sudoku-ood-dug``."""


@checked
class SudokuAccuracy(Protocol):
    """Share of Sudoku boards, and of their cells, that are solved correctly.

    Args:
        split: split that is scored.
        boards: data source of the boards with its options, such as ``{name: sudoku, side: 9, family: seeds}``; null:
            that of the run.
        num_steps: T, oscillator steps of each layer at test time; null: as trained.
        draws: K, draws of a stochastic network for one vote. K times ``groups`` is at least 20.
        groups: number of votes, each of K fresh draws. Scores are means over them.
        votes: how one answer is made of K draws: ``"energy_last"`` and ``"energy_sum"`` (the draw with the lowest
            energy, at the end or summed over steps), ``"confidence"`` (the largest mean probability of its answers,
            which needs no energy), ``"majority"`` (the most frequent symbol in each cell), ``"mean"`` (the largest mean
            probability in each cell). All of them share the draws.
        energy: which energy: ``"code"`` (what the published code logs: no factor 1/2, before each step) or ``"paper"``
            (Eq. 3, after each step).
        steps: numbers of oscillator steps for a curve of accuracy against T, over 20 draws.
    """

    name = "sudoku"
    reads: ClassVar[Reads] = (Boards,)
    needs = frozenset({"head", "labels"})
    columns = tuple(
        Column(f"boards_{key}", title, group, False, 18 + number / 10, [metric], optional=True, made_with=made)
        for number, (key, title, group, metric, made) in enumerate(
            (
                ("blanks", "blank cells", OWN, SOLVED, (("boards", None), ("num_steps", None))),
                ("all_cells", "all cells", OWN, "board_accuracy_all_cells", (("boards", None), ("num_steps", None))),
                ("t128", "blank cells, T = 128", OWN, SOLVED, (("boards", None), ("num_steps", 128))),
                ("energy", "blank cells, energy vote", OWN, f"energy_sum/{SOLVED}", (("boards", None),)),
                ("confidence", "blank cells, confidence vote", OWN, f"confidence/{SOLVED}", (("boards", None),)),
                ("rule", "one draw", RULE, SOLVED, (("boards.family", "seeds"),)),
                ("rule_energy", "energy vote", RULE, f"energy_sum/{SOLVED}", (("boards.family", "seeds"),)),
                ("rule_confidence", "confidence vote", RULE, f"confidence/{SOLVED}", (("boards.family", "seeds"),)),
                ("dug", "one draw", FURTHER, SOLVED, (("boards.family", "dug"),)),
            )
        )
    )

    def __init__(
        self,
        *,
        split: Literal["test", "val"] = "test",
        boards: Mapping[str, Any] | None = None,
        num_steps: Count | None = None,
        draws: Count = 20,
        groups: Count = 1,
        votes: Annotated[tuple[VoteName, ...], Mark.INCIDENTAL] = (),
        energy: Literal["code", "paper"] = "code",
        steps: Annotated[tuple[Count, ...], Mark.INCIDENTAL] = (),
    ) -> None:
        self.options = options_of(locals())
        self.splits = (split,)
        self.num_steps, self.draws, self.groups, self.energy = num_steps, draws, groups, energy
        self.votes = tuple(dict.fromkeys(votes))
        self.steps = tuple(sorted(set(steps)))
        self.own_source = own_source("boards", boards, self.reads)

    def check(self, subject: Subject) -> None:
        super().check(subject)
        encoder, spec = subject.encoder, subject.spec or subject.data(self.splits[0]).spec
        assert isinstance(spec, Boards)
        side_of(spec)
        if (self.num_steps or self.steps) and not encoder.num_steps:
            key = "num_steps" if self.num_steps else "steps"
            raise UserError(f"{self.name}: {key}={getattr(self, key)}: this network does not iterate")
        if (lacking := BY_ENERGY & {*self.votes}) and not encoder.has_energy:
            raise UserError(
                f"{self.name}: votes={sorted(lacking)}: this network has no energy; confidence, majority and mean"
                " need none"
            )

    @torch.no_grad()
    def measure(self, subject: Subject) -> Result:
        (split,) = self.splits
        boards = subject.data(split)
        total = self._total(subject)
        size = min(self.draws, total)
        found = self._measured(subject, self.num_steps, total, size)
        few = min(total, MINIMUM_DRAWS)
        curve = {steps: self._measured(subject, steps, few, few).by_vote(few) for steps in self.steps}
        right, scores = found.one[SOLVED].bool(), found.scores
        metrics = {name: mean_metric(values, total) for name, values in found.one.items()}
        for vote, values in found.votes.items():
            metrics |= {f"{vote}/{name}": mean_metric(shares, total) for name, shares in values.items()}
        if total > 1:
            metrics |= score_metrics(scores, right)
        return Result(
            metrics=metrics,
            options=self.options,
            data=described(boards),
            initial=start_of(subject.encoder),
            per_image={
                "correct": _per_board(found.one[SOLVED]),
                "correct_all_cells": _per_board(found.one["board_accuracy_all_cells"]),
                "consistent": _per_board(found.one["consistent_boards"]),
                **{f"{vote}/correct": _per_board(values[SOLVED]) for vote, values in found.votes.items()},
                **{name: _per_board(values) for name, values in scores.items() if name in BY_ENERGY},
                "givens": found.givens,
            },
            verdicts=["correct", "correct_all_cells", *(f"{vote}/correct" for vote in found.votes)],
            details={
                "sudoku": {
                    "steps": curve,
                    "draws": {ONE_DRAW: {1: point(metrics[SOLVED])}, **found.over_draws(total)},
                    "scores": distributions(scores, right) if total > 1 else {},
                    "boards": found.shown,
                }
            },
            notes=self._notes(subject, boards.fingerprint, total, metrics),
        )

    def _total(self, subject: Subject) -> int:
        return draws_for(subject.encoder.stochastic, self.draws * self.groups)

    def _measured(self, subject: Subject, num_steps: int | None, total: int, size: int) -> Measured:
        """Measure all boards with one number of oscillator steps: ``total`` draws, votes of ``size`` each."""
        data = subject.data(self.splits[0])
        side, found = side_of(cast(Boards, data.spec)), []
        for i, batch in enumerate(batches(data, in_order(len(data), subject.batch_size), device=subject.device)):
            each = Tally(batch, side, self.votes, size)
            for k in range(total):
                draw = generator(subject.device, subject.seed, "boards", k, i)
                each.add(self._drawn(subject, batch.inputs, draw, num_steps))
            found.append(each)
        return Measured(found)

    def _drawn(self, subject: Subject, boards: Tensor, draw: torch.Generator, num_steps: int | None) -> Draw:
        """Return the answer, its probabilities and its energy under one draw."""
        encoder = subject.encoder
        assert subject.head is not None
        options: dict[str, Any] = {"draw": draw if encoder.stochastic else None}
        if num_steps is not None:
            options["num_steps"] = num_steps
        if encoder.has_energy:
            options["trace"] = "energy"
        features = encoder(boards, **options)
        logits = subject.head(features.map)
        flat = logits.permute(0, 2, 3, 1).flatten(0, 2)
        answers = (predicted(flat) + 1).view(boards.shape)
        answers = answers.masked_fill(answers > logits.shape[1], 0)
        probabilities = logits.float().softmax(dim=1).masked_fill((answers == 0).unsqueeze(1), 0.0)
        return Draw(answers, probabilities, self._energies(features.trace) if encoder.has_energy else {})

    def _energies(self, trace: Any) -> dict[str, Float[Tensor, " b"]]:
        """Return the energy of the last layer, from which the answer is read, at the end and summed over steps."""
        layer = trace[-1]
        values = layer.energy_code[1:] if self.energy == "code" else layer.energy[1:]
        return {"energy_last": values[-1], "energy_sum": values.sum(dim=0)}

    def _notes(self, subject: Subject, fingerprint: str, total: int, metrics: Mapping[str, Metric]) -> list[str]:
        notes = ["a board is solved if its blank cells are correct; all_cells also requires unchanged given cells"]
        notes.append(f"hash of the puzzles: {fingerprint}")
        if subject.encoder.num_steps:
            trained = ", ".join(map(str, subject.encoder.num_steps))
            notes.append(f"steps per layer at test time: {self.num_steps or trained}; as trained: {trained}")
        if self.votes and total == 1:
            notes.append("the network is deterministic: it gives one answer, which is that of every vote")
        elif self.votes:
            each = f"each vote is of {self.draws} draws, repeated {self.groups} times (a deviation is over these)"
            notes.append(f"{each}; energies as in the {self.energy}, of the last layer")
        if total > 1 and "confidence/auc" not in metrics:
            notes.append("no board has right and wrong draws, so that no score can tell them apart")
        return notes

    def estimate(self, subject: Subject) -> list[tuple[str, Cost]]:
        """Return the cost on this device after timing a few passes; measures nothing."""
        subject = self.on(subject)
        total = self._total(subject)
        parts = [("", self.num_steps, total), *((f"T={t}", t, min(total, MINIMUM_DRAWS)) for t in self.steps)]
        return [(name, self._cost_of(subject, steps, passes)) for name, steps, passes in parts]

    def _cost_of(self, subject: Subject, num_steps: int | None, passes: int) -> Cost:
        def forward(boards: Tensor, draw: torch.Generator) -> None:
            self._drawn(subject, boards, draw, num_steps)

        return passes_cost(subject, forward, self.splits[0], None, passes)


def side_of(spec: Boards) -> Side:
    """Return the side of Sudoku boards.

    Raises:
        UserError: boards of another kind.
    """
    side = sudoku_side(spec.side, "sudoku: boards")
    if spec.symbols != side:
        raise UserError(f"sudoku: boards of {spec.symbols} symbols: Sudoku of side {side} has {side}")
    return side


def _per_board(values: Float[Tensor, "k n"]) -> list[float]:
    """Return the mean over draws, board by board."""
    return [round(value, 6) for value in values.double().mean(dim=0).tolist()]
