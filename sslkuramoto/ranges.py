"""What pydantic alone does not do for options: further ranges, and values in another form."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError, core_schema


@dataclass(frozen=True)
class Must:
    """A range that bounds alone do not give.

    Attributes:
        words: what the value must be.
        holds: whether a value of the right type is that.
    """

    words: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def check(value: Any) -> Any:
            if not self.holds(value):
                raise PydanticCustomError("must", "out of range")
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


@dataclass(frozen=True)
class AtMost:
    """An upper bound far above every use: a number beyond it is a slip, and would run or take memory without end.

    Attributes:
        limit: the largest value that is allowed.
    """

    limit: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        def check(value: Any) -> Any:
            if value > self.limit:
                raise PydanticCustomError("at_most", "must be at most {limit}", {"limit": f"{self.limit:,}"})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))


def python_numbers(value: Any) -> Any:
    """Return numbers and arrays of numpy and torch as Python's numbers and lists, also within lists and mappings.

    They are known by their ``tolist``, so that the command line imports neither for it.
    """
    if type(value) is list:
        return [python_numbers(item) for item in value]
    if type(value) is tuple:
        return tuple(python_numbers(item) for item in value)
    if type(value) is dict:
        return {key: python_numbers(item) for key, item in value.items()}
    convertible = hasattr(value, "tolist") and not isinstance(value, type) and not getattr(value, "is_meta", False)
    return value.tolist() if convertible else value


def tuples(value: object) -> Any:
    """Return a list, and the lists within, as tuples."""
    return tuple(map(tuples, value)) if isinstance(value, list) else value
