"""Whether networks round as the published code does, or compute the same sums in the fastest order."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Kind = Literal["convolution", "attention"]
_AS_PUBLISHED: ContextVar[tuple[Kind, ...]] = ContextVar("couplings that round as the published code", default=())


@contextmanager
def as_published(*couplings: Kind) -> Iterator[None]:
    """Within this context couplings compute as the published code does: direct convolutions, its layout of attention.

    Where an update almost cancels, a network amplifies rounding: for comparison with recorded states, and for exports
    that other programs carry out.

    Args:
        couplings: which; all if none is named.
    """
    token = _AS_PUBLISHED.set(couplings or ("convolution", "attention"))
    try:
        yield
    finally:
        _AS_PUBLISHED.reset(token)


def rounds_as_published(coupling: Kind) -> bool:
    """Return whether :func:`as_published` is in force here for this kind of coupling."""
    return coupling in _AS_PUBLISHED.get()
