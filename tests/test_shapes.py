"""Shapes are checked in the first calls of a function in each test."""

from collections.abc import Callable
from types import FunctionType

import jaxtyping
import pytest
import shapes
import torch
from jaxtyping import Float, TypeCheckError
from shapes import CALLS, check_again, first_calls
from torch import Tensor

from sslkuramoto.attacks.worst_candidate import is_worse
from sslkuramoto.classifier import predicted
from sslkuramoto.dynamics.coupling import ConvCoupling
from sslkuramoto.dynamics.layer import KuramotoLayer
from sslkuramoto.noise_draws import share_over_draws

FAULTS = {
    is_worse: ((torch.zeros(3), torch.zeros(3)), (torch.zeros(3), torch.zeros(1))),
    predicted: ((torch.zeros(2, 3),), (torch.zeros(2, 3).long(),)),
    share_over_draws: ((torch.ones(2, 3).bool(),), (torch.ones(1, 2, 3).bool(),)),
}


@pytest.mark.parametrize("function", FAULTS)
def test_a_wrong_shape_is_found_until_a_function_was_called_often_and_again_in_the_next_test(function) -> None:
    right, wrong = FAULTS[function]
    for _ in range(2):
        with pytest.raises(TypeCheckError):
            function(*wrong)
        for _ in range(CALLS - 2):
            function(*right)
        with pytest.raises(TypeCheckError):
            function(*wrong)
        for _ in range(CALLS):
            function(*right)
        try:
            function(*wrong)
        except TypeCheckError:
            pytest.fail("a shape is checked after the first calls")
        except (RuntimeError, ValueError, IndexError):
            pass  # what the function itself makes of it
        check_again()


def test_of_a_function_within_a_function_the_first_are_checked_in_each_test() -> None:
    def made() -> Callable:
        @jaxtyping.jaxtyped(typechecker=first_calls)
        def same(row: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
            return row

        return same

    wrong = torch.zeros(2, 2)
    for _ in range(2):
        for _ in range(CALLS):
            with pytest.raises(TypeCheckError):
                made()(wrong)
        assert made()(wrong) is wrong
        check_again()


def test_the_forward_pass_of_a_layer_creates_few_checks(monkeypatch) -> None:
    """The import hook writes the decorator of shapes.py above the step that each pass of a layer defines."""
    made: list[FunctionType] = []
    monkeypatch.setattr(shapes, "_jaxtyped", lambda **_: lambda found: made.append(found) or found)
    options = {"channels": 4, "oscillator_dim": 2, "frequencies": None, "norm": "none", "project": True}
    layer = KuramotoLayer(ConvCoupling(4, 3), **options)
    x = torch.randn(1, 4, 2, 2)
    for _ in range(CALLS + 5):
        layer(x, None, step_size=torch.tensor(1.0), num_steps=1)
    assert len([found for found in made if found.__qualname__ == "KuramotoLayer.forward.<locals>.moved"]) == CALLS
