"""A published figure. It has a type of its own, so that it cannot be mistaken for a measured one."""

import math
from dataclasses import dataclass

from sslkuramoto.errors import UserError


@dataclass(frozen=True)
class Published:
    """One published figure.

    Attributes:
        value: as printed by its source, in percent.
        source: paper and table, never empty.
        std: its standard deviation over runs, when the source gives one.
        n: the number of runs (seeds) behind it, when the source gives it.
        differs: what its protocol does otherwise than ours, or leaves unsaid.

    Raises:
        UserError: no source, a value or std that is not a finite number, a value outside [0,100], std < 0, n < 1, or
            ``differs`` that is no text.
    """

    value: float
    source: str
    std: float | None = None
    n: int | None = None
    differs: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str) or not self.source.strip():
            raise UserError(
                f"published figure {self.value!r} has no source; name paper and table, for example 'AKOrN, table 4'"
            )
        for key, number in (("value", self.value), ("std", self.std)):
            if number is None and key == "std":
                continue
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                raise UserError(f"published {key}={number!r} ({self.source}): must be a finite number, in percent")
        if not 0 <= self.value <= 100:
            raise UserError(f"published value={self.value!r} ({self.source}): must be a percentage, from 0 to 100")
        if self.std is not None and self.std < 0:
            raise UserError(f"published std={self.std!r} ({self.source}): must be at least 0")
        if self.n is not None and (isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1):
            raise UserError(f"published n={self.n!r} ({self.source}): must be the number of runs, at least 1")
        if self.differs is not None and not isinstance(self.differs, str):
            raise UserError(f"published differs={self.differs!r} ({self.source}): must be a sentence")
