import pytest
import torch
from torch.nn import functional as F

from sslkuramoto.encoders import ENCODERS, BoardAKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.objectives import OBJECTIVES
from sslkuramoto.objectives.cells import Cells
from sslkuramoto.randomness import borrowed_global, generator

SPEC = Boards(4, 4)


def pair(**options) -> tuple[BoardAKOrN, Cells]:
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build("board_akorn", BoardAKOrN.small)
        return encoder, OBJECTIVES.build("cells", options, encoder, SPEC.num_classes)


def step(encoder: BoardAKOrN, objective: Cells):
    batch = SPEC.random(6, generator("cpu", "boards"))
    found = objective(encoder, {"a": batch.inputs}, draw=generator("cpu", 0), labels=batch.targets)
    return batch, found, objective.head(encoder(batch.inputs, draw=generator("cpu", 0)).map)


def test_the_loss_is_the_mean_cross_entropy_over_the_cells_that_count() -> None:
    for cells in ("all", "blank"):
        batch, found, logits = step(*pair(cells=cells))
        losses = [
            F.cross_entropy(logits[b, :, y, x], batch.targets[b, y, x] - 1)
            for b in range(6)
            for y in range(4)
            for x in range(4)
            if cells == "all" or batch.inputs[b, y, x] == 0
        ]
        torch.testing.assert_close(found.loss, torch.stack(losses).mean())


def test_weights_are_taken_in_the_precision_of_the_network() -> None:
    weights = (1.0, 2.0, 3.0, 5.0)
    encoder, objective = pair(weights=weights)
    batch, found, logits = step(encoder.double(), objective.double())
    each = F.cross_entropy(logits, batch.targets - 1, reduction="none")
    expected = (each * torch.tensor(weights, dtype=torch.float64)[batch.targets - 1]).mean()
    torch.testing.assert_close(found.loss, expected, rtol=1e-12, atol=0.0)


def test_metrics_count_blank_cells_all_cells_and_boards() -> None:
    batch, found, logits = step(*pair())
    right = logits.argmax(dim=1) + 1 == batch.targets
    blank = batch.inputs == 0
    assert found.metrics["cell_accuracy_all_cells"] == right.float().mean()
    assert found.metrics["cell_accuracy_blanks"] == right[blank].float().mean()
    boards = [bool(right[b][blank[b]].all()) for b in range(6)]
    assert found.metrics["board_accuracy_blanks"] == torch.tensor(boards).float().mean()


def test_gradients_reach_every_trained_parameter() -> None:
    encoder, objective = pair()
    step(encoder, objective)[1].loss.backward()
    for module in (encoder, objective):
        assert [name for name, parameter in module.named_parameters() if parameter.grad is None] == []


MAZES = Boards(9, 5, 4)
WEIGHTS = [1.0, 5.0, 2.0, 2.0, 5.0]


def maze_step(**options):
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build("board_akorn", {**BoardAKOrN.small, "side": 9, "symbols": 5, "input_symbols": 4})
        objective = OBJECTIVES.build("cells", {"input_symbols": 4, **options}, encoder, MAZES.num_classes)
    batch = MAZES.random(6, generator("cpu", "mazes"))
    with torch.no_grad():  # a bias with which about half of the cells are taken for the path
        logits = objective.head(encoder(batch.inputs, draw=generator("cpu", 0)).map)
        objective.head.to_logits.bias[4] += (logits[:, :4].amax(dim=1) - logits[:, 4]).median()
    found = objective(encoder, {"a": batch.inputs}, draw=generator("cpu", 0), labels=batch.targets)
    return batch, found, objective.head(encoder(batch.inputs, draw=generator("cpu", 0)).map)


def test_weights_of_symbols_multiply_the_loss_of_a_cell_and_the_sum_is_divided_by_the_cells() -> None:
    for cells in ("all", "blank"):
        batch, found, logits = maze_step(weights=WEIGHTS, cells=cells)
        losses = [
            WEIGHTS[batch.targets[b, y, x] - 1] * F.cross_entropy(logits[b, :, y, x], batch.targets[b, y, x] - 1)
            for b in range(6)
            for y in range(9)
            for x in range(9)
            if cells == "all" or batch.inputs[b, y, x] == 2
        ]
        torch.testing.assert_close(found.loss, torch.stack(losses).mean())


def test_weights_of_one_are_no_weights() -> None:
    torch.testing.assert_close(maze_step(weights=[1.0] * 5)[1].loss, maze_step()[1].loss)


def test_metrics_of_mazes_count_free_cells_and_the_path() -> None:
    batch, found, logits = maze_step()
    answers, free = logits.argmax(dim=1) + 1, batch.inputs == 2
    right = answers == batch.targets
    assert found.metrics["cell_accuracy_all_cells"] == right.float().mean()
    assert found.metrics["cell_accuracy_blanks"] == right[free].float().mean()
    path, marked = batch.targets == 5, answers == 5
    assert 0 < marked.float().mean() < 1
    assert found.metrics["path_precision"] == (path & marked).sum() / marked.sum()
    assert found.metrics["path_recall"] == (path & marked).sum() / path.sum()


def test_a_network_that_marks_no_path_has_precision_and_recall_0() -> None:
    with borrowed_global(generator("cpu", "weights")):
        encoder = ENCODERS.build("board_akorn", {**BoardAKOrN.small, "side": 9, "symbols": 5, "input_symbols": 4})
        objective = OBJECTIVES.build("cells", {"input_symbols": 4}, encoder, 5)
    with torch.no_grad():
        objective.head.to_logits.bias[4] = -1e9
    batch = MAZES.random(6, generator("cpu", "mazes"))
    found = objective(encoder, {"a": batch.inputs}, draw=generator("cpu", 0), labels=batch.targets).metrics
    assert found["path_precision"] == found["path_recall"] == 0


def test_weights_that_are_not_one_for_each_symbol_are_one_line() -> None:
    with pytest.raises(UserError, match=r"weights=\[1.0, 2.0\]: must be 5, one for each symbol"):
        maze_step(weights=[1.0, 2.0])
    with pytest.raises(UserError, match="weights"):
        maze_step(weights=[1.0, 5.0, 2.0, 2.0, -5.0])


def test_boards_without_blank_cells_need_to_be_told_of() -> None:
    for objective, spec, line in (
        (pair()[1], MAZES, "input_symbols=null: must be 4: data maze gives"),
        (pair(input_symbols=4)[1], SPEC, "input_symbols=4: must be null: data maze gives"),
    ):
        with pytest.raises(UserError, match=line):
            objective.check("data maze", spec)
        objective.check("data maze", SPEC if spec == MAZES else MAZES)
