"""Checks the shapes of jaxtyping in the first calls of a function in each test.

An ascent calls the same functions thousands of times, mostly with the same shapes; to check them all takes almost half
of the time of such a test. What is given up: a shape that is wrong in a later call of a test only is not found.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from types import FunctionType

from beartype import beartype

CALLS = 2  # of a function that are checked in a test

_calls: Counter[Callable] = Counter()
_left_alone: list[FunctionType] = []


def first_calls(check: Callable) -> Callable:
    """Check the first ``CALLS`` calls with beartype, then switch the check off until :func:`check_again`.

    It is the type checker of jaxtyping's import hook, which asks it for two checks of each function: one of the
    arguments before the call, one with the result after it.
    """
    checked = beartype(check)

    def checked_and_counted(*arguments, **options):
        _calls[check] += 1
        if _calls[check] == CALLS:
            _leave_alone(check.__module__, check.__qualname__)
        return checked(*arguments, **options)

    return checked_and_counted


def check_again() -> None:
    """Forget all calls, as for a new test."""
    _calls.clear()
    while _left_alone:
        del _left_alone.pop().__no_type_check__


def _leave_alone(module: str, qualified: str) -> None:
    """Set what jaxtyping asks before each check.

    Functions within functions, which have no name, and properties are checked in every call.
    """
    found = sys.modules.get(module)
    for part in qualified.split("."):
        found = inspect.getattr_static(found, part, None)
    function = inspect.unwrap(getattr(found, "__func__", found))
    if isinstance(function, FunctionType) and "__no_type_check__" not in vars(function):
        function.__no_type_check__ = True
        _left_alone.append(function)
