"""Shapes are checked in the first calls of a function in each test."""

import pytest
import torch
from jaxtyping import TypeCheckError
from shapes import CALLS, check_again

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
