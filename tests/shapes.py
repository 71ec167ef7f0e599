"""Checks the shapes of jaxtyping in the first calls of a function in each test.

An ascent calls the same functions thousands of times, mostly with the same shapes; to check them all takes almost half
of the time of such a test. A nested function is created in each call of the outer one, and to compile its checks takes
a millisecond: the first four that a test creates are checked. What is given up: a shape that is wrong later in a test
(also after calls of its own fixtures) is not found, a nested function that outlives its test stays as it was created,
and a signature that beartype cannot compile is found when the function is first called.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import beartype

CALLS = 4  # of a function that are checked in a test

_calls: Counter[object] = Counter()
_left_alone: list[FunctionType] = []


def first_calls(check: Callable) -> Callable:
    """Check the first ``CALLS`` calls with beartype, then switch the check off until :func:`check_again`.

    It is the type checker of jaxtyping's import hook, which asks it for two checks of each function: one of the
    arguments before the call, one with the result after it.
    """
    checked = cache(lambda: beartype(check))  # made in the first call: most functions are not called in a test

    def checked_and_counted(*arguments, **options):
        _calls[check] += 1
        if _calls[check] == CALLS:
            _leave_alone(check.__module__, check.__qualname__)
        return checked()(*arguments, **options)

    return checked_and_counted


def jaxtyped_at_first(**options: Any) -> Callable:
    """Return jaxtyping's decorator, which leaves a function within a function alone after ``CALLS`` of its kind."""
    decorate = _jaxtyped(**options)

    def decorated(found: Any) -> Any:
        if "<locals>" in found.__qualname__ and isinstance(found, FunctionType):
            _calls[found.__code__] += 1
            if _calls[found.__code__] > CALLS:
                return found
        return decorate(found)

    return decorated


_jaxtyped, jaxtyping.jaxtyped = jaxtyping.jaxtyped, jaxtyped_at_first  # what the import hook writes above functions


def check_again() -> None:
    """Forget all calls, as for a new test."""
    _calls.clear()
    while _left_alone:
        del _left_alone.pop().__no_type_check__


def _leave_alone(module: str, qualified: str) -> None:
    """Set what jaxtyping asks before each check.

    Properties are checked in every call, and so are those functions within functions that are checked at all.
    """
    found = sys.modules.get(module)
    for part in qualified.split("."):
        found = inspect.getattr_static(found, part, None)
    function = inspect.unwrap(getattr(found, "__func__", found))
    if isinstance(function, FunctionType) and "__no_type_check__" not in vars(function):
        function.__no_type_check__ = True
        _left_alone.append(function)
