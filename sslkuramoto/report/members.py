"""Members of a registry that every report asks. One of another package that cannot be imported stops no report."""

from collections.abc import Iterator
from typing import Any

from sslkuramoto.errors import UserError, say_once
from sslkuramoto.registry import Registry


def importable(registry: Registry[Any]) -> Iterator[str]:
    """Yield the names of the members that can be imported; what is wrong with the others is said once."""
    for name in registry:
        try:
            registry[name]
        except UserError as error:
            say_once(f"left out of the report: {error}")
        else:
            yield name
