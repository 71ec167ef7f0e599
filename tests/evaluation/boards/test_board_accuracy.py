"""What the protocol counts, against a network whose answers are written down here."""

from pathlib import Path

import pytest
import torch
from torch import nn

from sslkuramoto.data import DATA
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import Subject, load_protocol
from sslkuramoto.examples import Boards
from sslkuramoto.statistics import wilson

N = 10


@pytest.fixture(scope="module")
def boards():
    return DATA.build("sudoku", {"puzzles": 4, "puzzles_test": N}, "test")


class Answering(Encoder):
    """Logits of given answers for the boards of a set; when stochastic, wrong in the first blank of some."""

    num_features = 4
    reads = (Boards,)

    def __init__(self, boards, answers, stochastic=False):
        super().__init__()
        self.puzzles, self.answers, self.stochastic = boards.puzzles, answers, stochastic

    def forward(self, images, *, initial=None, draw=None, trace=False):
        places = [int((self.puzzles == board).flatten(1).all(dim=1).nonzero()[0]) for board in images]
        answers = self.answers[places].clone()
        if self.stochastic:
            for board, answer in zip(images, answers, strict=True):
                if torch.rand((), generator=draw) < 0.5:
                    y, x = (board == 0).nonzero()[0].tolist()
                    answer[y, x] = answer[y, x] % 4 + 1
        logits = nn.functional.one_hot(answers - 1, 4).permute(0, 3, 1, 2).float()
        return Features(logits.mean(dim=(2, 3)), logits)


def subject(boards, encoder: Encoder, head: nn.Module | None, tmp_path: Path) -> Subject:
    return Subject(
        encoder=encoder,
        head=head,
        data=lambda split: boards,
        device=torch.device("cpu"),
        run_dir=tmp_path,
        encoder_hash="0",
        batch_size=4,
    )


def spoilt(boards, board: int, *, given: bool) -> torch.Tensor:
    answers = boards.solutions.clone()
    y, x = ((boards.puzzles[board] > 0) == given).nonzero()[0].tolist()
    answers[board, y, x] = answers[board, y, x] % 4 + 1
    return answers


def test_the_solution_scores_one_everywhere(boards, tmp_path) -> None:
    result = load_protocol("sudoku").measure(
        subject(boards, Answering(boards, boards.solutions), nn.Identity(), tmp_path)
    )
    assert {metric.value for metric in result.metrics.values()} == {1.0}
    assert {metric.draws for metric in result.metrics.values()} == {1}
    every = dict.fromkeys(("correct", "correct_all_cells", "consistent"), [1.0] * N)
    assert result.per_image == {**every, "givens": [6] * N}


@pytest.mark.parametrize("given", [False, True])
def test_a_wrong_blank_costs_both_counts_and_a_wrong_given_that_of_all_cells_only(boards, given, tmp_path) -> None:
    network = Answering(boards, spoilt(boards, 3, given=given))
    metrics = load_protocol("sudoku").measure(subject(boards, network, nn.Identity(), tmp_path)).metrics
    blanks = 16 - int((boards.puzzles[3] > 0).sum())
    assert metrics["board_accuracy_blanks"].value == (1.0 if given else 0.9)
    assert metrics["board_accuracy_all_cells"].value == 0.9
    assert metrics["cell_accuracy_blanks"].value == pytest.approx(1.0 if given else 1 - 1 / blanks / N)
    assert metrics["cell_accuracy_all_cells"].value == pytest.approx(1 - 1 / 16 / N)
    assert (metrics["board_accuracy_all_cells"].low, metrics["board_accuracy_all_cells"].high) == wilson(0.9, N)


def test_a_stochastic_network_is_scored_over_its_draws_board_by_board(boards, tmp_path) -> None:
    measured = subject(boards, Answering(boards, boards.solutions, stochastic=True), nn.Identity(), tmp_path)
    first, again = (load_protocol("sudoku").measure(measured) for _ in range(2))
    assert first.metrics == again.metrics
    found = first.metrics["board_accuracy_blanks"]
    assert found.draws == 20
    assert found.std_over_draws > 0
    assert found.value == pytest.approx(sum(first.per_image["correct"]) / N)
    assert 0.3 < found.value < 0.7
    with pytest.raises(UserError, match="draws=19"):
        load_protocol("sudoku", ["draws=19"]).measure(measured)


def test_a_logit_that_is_no_number_is_a_wrong_answer(boards, tmp_path) -> None:
    class Broken(nn.Module):
        def forward(self, grid):
            return grid * torch.nan

    measured = subject(boards, Answering(boards, boards.solutions), Broken(), tmp_path)
    assert {m.value for m in load_protocol("sudoku").measure(measured).metrics.values()} == {0.0}


def test_it_wants_a_head_and_other_protocols_want_images(boards, tmp_path) -> None:
    measured = subject(boards, Answering(boards, boards.solutions), None, tmp_path)
    with pytest.raises(UserError, match=r"sudoku needs a classifier: .* holds an encoder only"):
        load_protocol("sudoku").measure(measured)
    with pytest.raises(UserError, match=r"^knn reads images; the data of .* gives boards$"):
        load_protocol("knn").measure(measured)
