"""Checks the shapes of jaxtyping in the first calls of a function in each test.

An ascent calls the same functions thousands of times with the same shapes; to check them all takes almost half of the
time of such a test.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from types import FunctionType

from beartype import beartype

CALLS = 10  # of a function that are checked in a test

_calls: Counter[tuple[str, str]] = Counter()
_left_alone: list[FunctionType] = []


def first_calls(check: Callable) -> Callable:
    """Return the check by beartype, which ends itself; the type checker that jaxtyping's import hook is given."""
    checked, name = beartype(check), (check.__module__, check.__qualname__)

    def checked_and_counted(*arguments, **options):
        _calls[name] += 1
        if _calls[name] == CALLS:
            _leave_alone(*name)
        return checked(*arguments, **options)

    return checked_and_counted


def check_again() -> None:
    """Forget all calls: a new test."""
    _calls.clear()
    while _left_alone:
        del _left_alone.pop().__no_type_check__


def _leave_alone(module: str, qualified: str) -> None:
    """Set what jaxtyping asks before each check; a function within a function has no name and is always checked."""
    found = sys.modules[module]
    for part in qualified.split("."):
        found = inspect.getattr_static(found, part, None)
    function = inspect.unwrap(getattr(found, "__func__", found))
    if isinstance(function, FunctionType) and "__no_type_check__" not in vars(function):
        function.__no_type_check__ = True
        _left_alone.append(function)
