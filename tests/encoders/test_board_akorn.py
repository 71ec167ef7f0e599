"""The AKOrN encoder of boards: shapes, starts of given and blank cells, and one-line errors."""

import pytest
import torch

from sslkuramoto.encoders import ENCODERS, BoardAKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.examples import Boards
from sslkuramoto.randomness import borrowed_global, generator

SMALL = BoardAKOrN.small


def build(**options) -> BoardAKOrN:
    with borrowed_global(generator("cpu", "weights")):
        return ENCODERS.build("board_akorn", {**SMALL, **options}).eval()


def boards() -> torch.Tensor:
    return Boards(4, 4).random(3, generator("cpu", "boards")).inputs


def draw(number: int = 0) -> torch.Generator:
    return generator("cpu", number)


@pytest.mark.parametrize("options", [{}, {"coupling": "conv"}, {"initial": "fixed"}])
@torch.no_grad()
def test_features_have_the_promised_shapes_and_repeat_with_their_draw(options) -> None:
    encoder = build(**options)
    features = encoder(boards(), draw=draw())
    assert features.map.shape == (3, encoder.num_features, 4, 4)
    torch.testing.assert_close(features.map.mean(dim=(2, 3)), features.pooled)
    assert torch.equal(encoder(boards(), draw=draw()).map, features.map)
    assert torch.equal(encoder(boards(), draw=draw(1)).map, features.map) is not encoder.stochastic


@torch.no_grad()
def test_given_cells_start_at_their_embedding_and_blank_ones_at_the_noise() -> None:
    encoder, given = build(num_steps=1), boards()
    seen = []
    encoder.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    noise = encoder.sample_initial(given, draw())
    encoder(given, initial=noise)
    ((x, c),) = seen
    blank = (given == 0).unsqueeze(1).expand_as(x)
    assert torch.equal(x[blank], noise[blank])
    assert torch.equal(x[~blank], c[~blank])
    symbol, y, column = int(given[0, 0, 0]), 0, 0
    torch.testing.assert_close(c[0, :, y, column], encoder.embedding.weight[symbol])


@torch.no_grad()
def test_a_full_board_leaves_nothing_to_the_draw() -> None:
    full = Boards(4, 4).random(3, generator("cpu", "boards")).targets
    encoder = build()
    assert torch.equal(encoder(full, draw=draw(0)).map, encoder(full, draw=draw(1)).map)


@torch.no_grad()
def test_oscillators_keep_unit_length_and_more_steps_begin_with_the_same_states() -> None:
    short, long = (build(num_steps=steps)(boards(), draw=draw(), trace=True).trace for steps in (2, 5))
    (states,) = (layer.states for layer in long)
    lengths = states.view(5, 3, -1, SMALL["oscillator_dim"], 4, 4).norm(dim=3)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert torch.equal(states[:2], short[0].states)


def test_every_trained_parameter_gets_a_gradient() -> None:
    encoder = build().train()
    encoder(boards(), draw=draw()).map.square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 0}, "side=0: must be >= 1"),
        ({"step_size": 0.0}, "step_size=0.0: must be > 0"),
        ({"num_steps": 0}, "num_steps=0: must be >= 1"),
        ({"oscillator_dim": 3, "channels": 6, "attention_heads": 3}, "must be even"),
        ({"channels": 6}, "each of the 2 heads has 3, an odd number"),
        ({"attention_heads": 3}, "heads=3: must divide channels=8"),
    ],
)
def test_options_out_of_range_are_one_line(options, message) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)


def test_boards_of_another_kind_and_a_missing_draw_are_refused() -> None:
    encoder = build()
    lines = {
        r"boards of shape \(9, 9\): this encoder is built for boards of 4 x 4 cells, 4 symbols": Boards(9, 4),
        "symbols 0 to 9: this encoder reads 0 to 4": Boards(4, 9),
    }
    for line, other in lines.items():
        with pytest.raises(UserError, match=line):
            encoder(other.random(3, draw()).inputs, draw=draw())
    with pytest.raises(UserError, match="draw="):
        encoder(boards())


def test_every_option_is_documented() -> None:
    for option in ENCODERS.options("board_akorn"):
        assert f"        {option}: " in (BoardAKOrN.__doc__ or ""), option
