"""Shapes are checked in the first calls of a function in each test."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from shapes import CALLS, check_again, first_calls
from torch import Tensor

from sslkuramoto.attacks.worst_candidate import is_worse
from sslkuramoto.classifier import predicted
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
