import torch
from torch.nn import functional as F

from sslkuramoto.encoders import ENCODERS, BoardAKOrN
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
