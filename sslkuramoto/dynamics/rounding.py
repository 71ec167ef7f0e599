"""Whether networks round as the published code does, or compute the same sums in the fastest order."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_AS_PUBLISHED: ContextVar[bool] = ContextVar("round as the published code", default=False)


@contextmanager
def as_published() -> Iterator[None]:
    """Within this context couplings compute as the published code does: direct convolutions, its layout of attention.

    Where an update almost cancels, a network amplifies rounding: for comparison with recorded states, and for exports
    that other programs carry out.
    """
    token = _AS_PUBLISHED.set(True)
    try:
        yield
    finally:
        _AS_PUBLISHED.reset(token)


def rounds_as_published() -> bool:
    """Return whether :func:`as_published` is in force here."""
    return _AS_PUBLISHED.get()
