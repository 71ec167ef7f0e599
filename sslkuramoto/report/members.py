"""Members of a registry that every report asks. One of another package that cannot be imported stops no report."""

import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from sslkuramoto.errors import UserError
from sslkuramoto.registry import Registry


def importable(registry: Registry[Any]) -> Iterator[str]:
    """Yield the names of the members that can be imported; what is wrong with the others is said once."""
    for name in registry:
        try:
            registry[name]
        except UserError as error:
            _say_once(f"left out of the report: {error}")
        else:
            yield name


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)
