"""How often Python looks for objects that only refer to each other."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

OBJECTS = 50_000
"""New objects between two searches while :func:`seldom_collected` is in force; Python's own choice is some hundreds."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Search seldom while a command imports, reads and prints, which makes many objects and little garbage.

    Python does not search the memory again when the process ends, which frees it anyway: what only refers to itself is
    not finalised then. Not for work that holds tensors: what is found late is memory.
    """
    atexit.unregister(gc.freeze)  # once, however often this is entered
    atexit.register(gc.freeze)
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
