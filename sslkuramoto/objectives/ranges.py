"""Ranges of recipe options: one line that names key, value and what is allowed."""

from math import isfinite

from sslkuramoto.errors import UserError


def above(key: str, value: int | float, low: int | float) -> None:
    """Raise unless ``value`` is finite and > ``low``."""
    if not (isfinite(value) and value > low):
        raise UserError(f"{key}={value}: must be > {low}")


def at_least(key: str, value: int | float, low: int | float) -> None:
    """Raise unless ``value`` is finite and >= ``low``."""
    if not (isfinite(value) and value >= low):
        raise UserError(f"{key}={value}: must be >= {low}")


def within(key: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raise unless ``low`` <= ``value`` <= ``high``."""
    if not low <= value <= high:
        raise UserError(f"{key}={value}: must lie in [{low}, {high}]")
