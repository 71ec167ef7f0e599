"""Ranges of options that pydantic's own bounds do not give."""

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
