"""Protocol ``sudoku``: boards solved by one draw of the initial oscillators and by votes of several, over T and K.

AKOrN (Miyato et al. 2025, arXiv 2410.13821) scores the blank cells only, WONN requires all cells. The two differ if a
network changes a given cell; both are always reported. More oscillator steps at test time and votes: its section 6.2.
Shapes: k draws, n boards, b batch, y x cells.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto.columns import Column
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.boards.protocol import BoardProtocol, Kept
from sslkuramoto.evaluation.boards.scores import Judge
from sslkuramoto.evaluation.boards.votes import Draw, VoteName
from sslkuramoto.examples import Batch, Boards
from sslkuramoto.registry import options_of
from sslkuramoto.sudoku_rules import Side, obeys, sudoku_side
from sslkuramoto.values import Mark, Repeats, Steps, checked

SOLVED = "board_accuracy_blanks"
OWN, RULE, FURTHER = "Boards solved", "Boards solved, RRN's rule", "Boards solved, dug further"
"""Groups of columns: boards of the run, and those of the files ``sudoku-ood`` and ``sudoku-ood-dug``."""


@checked
class SudokuAccuracy(BoardProtocol):
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
    part = "sudoku"
    kept = (
        Kept(SOLVED, "correct", votes=True),
        Kept("board_accuracy_all_cells", "correct_all_cells"),
        Kept("consistent_boards", "consistent", verdict=False),
    )
    meaning = "a board is solved if its blank cells are correct; all_cells also requires unchanged given cells"
    puzzles = "puzzles"
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
        num_steps: Steps | None = None,
        draws: Repeats = 20,
        groups: Repeats = 1,
        votes: Annotated[tuple[VoteName, ...], Mark.INCIDENTAL] = (),
        energy: Literal["code", "paper"] = "code",
        steps: Annotated[tuple[Steps, ...], Mark.INCIDENTAL] = (),
    ) -> None:
        self.options = options_of(locals())
        self._set(split, "boards", boards, num_steps, draws, groups, votes, energy, steps)

    def check_boards(self, given: str, spec: Boards) -> None:
        if spec.input_symbols is not None:
            raise UserError(f"{self.name} reads Sudoku boards, which have blank cells; {given} gives {spec}")
        side_of(spec)

    def judge(self, batch: Batch) -> Judge:
        puzzles, solutions = batch.inputs, batch.targets
        assert solutions is not None
        side = sudoku_side(puzzles.shape[-1], "sudoku: boards")
        return lambda answers: judged(answers, puzzles, solutions, side)._asdict()

    def facts(self, batch: Batch) -> dict[str, list]:
        return {"givens": (batch.inputs > 0).flatten(1).sum(dim=1).tolist()}

    def shade(self, draw: Draw) -> Float[Tensor, "b y x"]:
        return draw.probabilities.amax(dim=1)


class Right(NamedTuple):
    """How right answers are, one entry per board.

    Attributes:
        board_accuracy_blanks: all blank cells are correct.
        board_accuracy_all_cells: every cell is correct, so that no given cell was changed.
        consistent_boards: the answer obeys the rules and keeps the givens.
        cell_accuracy_blanks: share of the blank cells that are correct; 1 if there are none.
        cell_accuracy_all_cells: share of all cells that are correct.
    """

    board_accuracy_blanks: Tensor
    board_accuracy_all_cells: Tensor
    consistent_boards: Tensor
    cell_accuracy_blanks: Tensor
    cell_accuracy_all_cells: Tensor


def judged(
    answers: Int64[Tensor, "b y x"], puzzles: Int64[Tensor, "b y x"], solutions: Int64[Tensor, "b y x"], side: Side
) -> Right:
    """Return how right answers are, on the CPU."""
    correct, blank = (answers == solutions).flatten(1), (puzzles == 0).flatten(1)
    kept = ((answers == puzzles).flatten(1) | blank).all(dim=1)
    number = blank.sum(dim=1)
    share = (correct & blank).sum(dim=1).double() / number.clamp(min=1)
    found = (
        (correct | ~blank).all(dim=1),
        correct.all(dim=1),
        kept & obeys(answers, side),
        share.masked_fill(number == 0, 1.0),
        correct.double().mean(dim=1),
    )
    return Right(*(each.cpu() for each in found))


def side_of(spec: Boards) -> Side:
    """Return the side of Sudoku boards.

    Raises:
        UserError: boards of another kind.
    """
    side = sudoku_side(spec.side, "sudoku: boards")
    if spec.symbols != side:
        raise UserError(f"sudoku: boards of {spec.symbols} symbols: Sudoku of side {side} has {side}")
    return side
