"""Changed options: from a YAML mapping or ``key=value`` words to the overrides that recipes and protocols take."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf

from sslkuramoto.errors import UserError
from sslkuramoto.recipe import key_and_text
from sslkuramoto.values import read_text

Settings = Mapping[str, Any]
"""Option -> value; dots in an option reach into sections (``data.root``)."""


def as_overrides(settings: Settings) -> list[str]:
    """Return ``key=value`` words that read back to the same values (JSON is YAML)."""
    return [f"{key}={json.dumps(value)}" for key, value in settings.items()]


def merged(*settings: Settings) -> dict[str, Any]:
    """Return changes in the order in which they are made: the last change of a key comes last."""
    found: dict[str, Any] = {}
    for each in settings:
        for key, value in each.items():
            found.pop(key, None)
            found[key] = value
    return found


_SCALARS: Mapping[str, Any] = {"true": bool, "false": bool, "null": None}
"""Words that are no text. Any other text stays as it was typed: what it is for is not known here."""


def settings_from(overrides: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` words.

    Raises:
        UserError: a word without ``=``, or a value that is no YAML.
    """
    settings = {}
    for word in overrides:
        key, text = key_and_text(word, f"{word!r}: changes are written key=value")
        value = read_text(key, text, _SCALARS.get(text.lower(), Any if text[:1] in ("[", "{") else int | float | str))
        settings[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return settings


_RUN = re.compile(r"\$\{run:([^{}]*)\}")


def rows_named(value: Any) -> list[str]:
    """Return the rows whose runs a value names as ``${run:ROW}``, anywhere inside.

    Raises:
        UserError: another use of ``${``.
    """
    if isinstance(value, Mapping):
        return [row for item in value.values() for row in rows_named(item)]
    if isinstance(value, list):
        return [row for item in value for row in rows_named(item)]
    if not isinstance(value, str) or "${" not in value:
        return []
    match = _RUN.fullmatch(value)
    if match is None:
        raise UserError(f"{value!r}: only '${{run:ROW}}', the run directory of another row, may be used in a value")
    return [match[1]]


SEED = "${seed}"
"""A changed option of this value has the seed of the training run for a value."""


def with_seed(settings: Settings, seed: int) -> dict[str, Any]:
    """Return the changes with ``seed`` in place of each value that is ``"${seed}"``."""
    return {key: seed if value == SEED else value for key, value in settings.items()}


def with_runs(value: Any, run_of: Callable[[str], str]) -> Any:
    """Return ``value`` with each ``${run:ROW}`` replaced by ``run_of(ROW)``."""
    if isinstance(value, Mapping):
        return {key: with_runs(item, run_of) for key, item in value.items()}
    if isinstance(value, list):
        return [with_runs(item, run_of) for item in value]
    match = _RUN.fullmatch(value) if isinstance(value, str) else None
    return value if match is None else run_of(match[1])
