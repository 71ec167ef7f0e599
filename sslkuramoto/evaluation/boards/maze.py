"""Protocol ``maze``: mazes solved by one draw of the initial oscillators and by votes of several, over T and K.

Published figures count exact answers (HRM, Wang et al. 2025, arXiv 2506.21734; WONN, arXiv 2605.20922, table 3). These
reject shortest paths other than that of the data, of which there are many where walls are random. So exact, valid and
optimal are always reported together. Shapes: b mazes, y x cells.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.boards.protocol import BoardProtocol, Kept
from sslkuramoto.evaluation.boards.scores import Judge
from sslkuramoto.evaluation.boards.votes import Draw, VoteName
from sslkuramoto.examples import Batch, Boards
from sslkuramoto.maze_rules import INPUT_SYMBOLS, PATH, SYMBOLS, is_valid, path_lengths
from sslkuramoto.registry import options_of
from sslkuramoto.values import Mark, Repeats, Steps, checked

MAZES: tuple[tuple[str, object], ...] = (("mazes", None),)
"""Option with which the numbers of a column were measured: on the run's own mazes."""


@checked
class MazeAccuracy(BoardProtocol):
    """Share of mazes whose answer is exact, valid and optimal, and how its path overlaps with that of the data.

    Args:
        split: split that is scored.
        mazes: data source of the mazes with its options, such as ``{name: maze, side: 20, family: corridor}``; null:
            that of the run.
        num_steps: T, oscillator steps of each layer at test time; null: as trained.
        draws: K, draws of a stochastic network for one vote. K times ``groups`` is at least 20.
        groups: number of votes, each of K fresh draws. Scores are means over them.
        votes: how one answer is made of K draws: ``"energy_last"`` and ``"energy_sum"`` (the draw with the lowest
            energy, at the end or summed over steps), ``"confidence"`` (the largest mean probability of its answers,
            which needs no energy), ``"majority"`` (the most frequent symbol in each cell), ``"mean"`` (the largest mean
            probability in each cell). All of them share the draws.
        energy: which energy: ``"code"`` (as published code logs it: no factor 1/2, before each step) or ``"paper"``
            (with the factor, after each step).
        steps: numbers of oscillator steps for curves of the scores against T, over 20 draws.
    """

    name = "maze"
    part = "maze"
    puzzles = "mazes"
    counts: ClassVar[str] = "mazes"
    mean_energies: ClassVar[bool] = True
    kept = (
        Kept("exact", "correct", votes=True),
        Kept("valid", "valid", votes=True),
        Kept("optimal", "optimal", votes=True),
    )
    meaning = (
        "exact: every cell is that of the answer in the data, with one path of possibly several shortest; valid: the "
        "path is one simple path from start to goal through free cells; optimal: valid, and no path is shorter"
    )
    columns = tuple(
        Column(f"mazes_{key}", title, group, False, 19 + number / 100, [metric], optional=True, made_with=made)
        for number, (key, title, group, metric, made) in enumerate(
            ("_".join(filter(None, (vote, key))), title, group, "/".join(filter(None, (vote, metric))), made)
            for vote, group, made, scores in (
                ("", "Mazes, one draw", (*MAZES, ("num_steps", None)), 4),
                ("energy_last", "Mazes, lowest energy", MAZES, 3),
                ("energy_sum", "Mazes, lowest summed energy", MAZES, 3),
                ("confidence", "Mazes, most confident", MAZES, 3),
            )
            for key, title, metric in (
                ("exact", "exact", "exact"),
                ("valid", "valid", "valid"),
                ("optimal", "optimal", "optimal"),
                ("f1", "F1 of the path", "path_f1"),
            )[:scores]
        )
    )

    def __init__(
        self,
        *,
        split: Literal["test", "val"] = "test",
        mazes: Mapping[str, Any] | None = None,
        num_steps: Steps | None = None,
        draws: Repeats = 20,
        groups: Repeats = 1,
        votes: Annotated[tuple[VoteName, ...], Mark.INCIDENTAL] = (),
        energy: Literal["code", "paper"] = "code",
        steps: Annotated[tuple[Steps, ...], Mark.INCIDENTAL] = (),
    ) -> None:
        self.options = options_of(locals())
        self._set(split, "mazes", mazes, num_steps, draws, groups, votes, energy, steps)

    def check_boards(self, given: str, spec: Boards) -> None:
        if (spec.input_symbols, spec.symbols) != (INPUT_SYMBOLS, SYMBOLS):
            raise UserError(
                f"{self.name} reads mazes, of {INPUT_SYMBOLS} input symbols and {SYMBOLS} symbols; {given} gives {spec}"
            )

    def judge(self, batch: Batch) -> Judge:
        mazes, solutions = batch.inputs, batch.targets
        assert solutions is not None
        moves = path_lengths(mazes)
        return lambda answers: judged(answers, mazes, solutions, moves)

    def facts(self, batch: Batch) -> dict[str, list]:
        return {"path_length": path_lengths(batch.inputs).tolist()}

    def shade(self, draw: Draw) -> Float[Tensor, "b y x"]:
        return draw.probabilities[:, PATH - 1]


def judged(
    answers: Int64[Tensor, "b y x"],
    mazes: Int64[Tensor, "b y x"],
    solutions: Int64[Tensor, "b y x"],
    moves: Int64[Tensor, " b"],
) -> dict[str, Tensor]:
    """Return the scores of answers to mazes, on the CPU.

    Args:
        answers: symbols; 5 is the path, 0 no answer.
        mazes: inputs.
        solutions: mazes with one shortest path.
        moves: on a shortest path.

    Returns:
        ``exact``, ``valid``, ``optimal``: 1 or 0. ``path_precision``: share of the path cells of the answer that are
        path cells of the solution, 0 if the answer has none but the solution has. ``path_recall``: the share the other
        way round, 1 if the solution has none. ``path_f1``: their harmonic mean, 1 if neither has a path cell.
    """
    ours, theirs = (answers == PATH).flatten(1), (solutions == PATH).flatten(1)
    both, found, wanted = (cells.sum(dim=1).double() for cells in (ours & theirs, ours, theirs))
    valid = is_valid(mazes, answers)
    precision = (both / found.clamp(min=1)).masked_fill((found == 0) & (wanted == 0), 1.0)
    recall = (both / wanted.clamp(min=1)).masked_fill(wanted == 0, 1.0)
    scores = {
        "exact": (answers == solutions).flatten(1).all(dim=1),
        "valid": valid,
        "optimal": valid & (found + 1 == moves),
        "path_precision": precision,
        "path_recall": recall,
        "path_f1": (2 * both / (found + wanted).clamp(min=1)).masked_fill(found + wanted == 0, 1.0),
    }
    return {name: values.cpu() for name, values in scores.items()}
