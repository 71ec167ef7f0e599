"""Strict reading of the sections of a study file: every error names the place, the value and what is allowed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.registry import check_value
from sslkuramoto.study.options import Settings


def check_keys(where: str, content: Mapping[str, Any], allowed: str, required: Sequence[str] = ()) -> None:
    """Check that all keys are among the words of ``allowed`` and that the required ones are there."""
    for key in content:
        if key not in allowed.split():
            raise unknown(f"key in {where}" if where else "key", key, allowed.split())
    missing = [key for key in required if key not in content]
    if missing:
        raise UserError(f"{where + ': ' if where else ''}needs the key {missing[0]!r}")


def mapping(where: str, content: Any) -> dict[str, Any]:
    """Return a mapping with text for keys."""
    if not isinstance(content, Mapping):
        raise UserError(f"{where}={content!r}: must be a mapping of keys to values")
    return {str(key): value for key, value in content.items()}


def section(where: str, content: Any, allowed: str, required: Sequence[str] = ()) -> dict[str, Any]:
    """Return an optional mapping whose keys are among the words of ``allowed``."""
    found = mapping(where, {} if content is None else content)
    check_keys(where, found, allowed, required)
    return found


def settings_in(where: str, content: Any, reserved: Sequence[str] = ("seed", "init")) -> Settings:
    """Return changed options; those of ``reserved`` are the study's own."""
    found = mapping(where, {} if content is None else content)
    for key in reserved:
        if key in found:
            raise UserError(f"{f'{where}.' if where else ''}{key}: is given by the study itself (seeds, stages before)")
    for key, value in found.items():
        try:
            json.dumps(value)
        except TypeError:
            raise UserError(
                f"{where}.{key}={value!r}: must be text, a number, true, false, null or lists of them"
            ) from None
    return found


def seeds_from(where: str, content: Any) -> tuple[int, ...]:
    """Return a list of seeds."""
    seeds = check_value(where, content, list[int])
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"{where}={seeds}: must be different whole numbers >= 0, at least one")
    return tuple(seeds)
