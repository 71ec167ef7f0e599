"""What the text of a YAML file holds."""

import io
from functools import lru_cache
from typing import Any

from omegaconf import OmegaConf

from sslkuramoto.files import bounded_yaml, check_numbers


@lru_cache(maxsize=128)
def parsed_yaml(text: str) -> Any:
    """Return what a YAML text holds; kept, since a study reads the same recipes and protocols many times.

    Raises:
        YAMLError, OmegaConfBaseException, ValueError, RecursionError: it is no YAML, or holds a number such as 010.
    """
    config = OmegaConf.load(io.StringIO(bounded_yaml(text)))
    check_numbers(text)  # after the load, which ends at deep nesting; to look at the words alone would take hours
    return config
