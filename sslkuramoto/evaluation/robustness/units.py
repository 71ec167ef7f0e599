"""Work on chunks of images that a ledger keeps: each chunk is computed once, by whichever process is free.

Shapes: n images, b images of a chunk.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from sslkuramoto.attacks import Ledger
from sslkuramoto.attacks.ledger import Unit
from sslkuramoto.sources import content_key


def units_of(
    ledger: Ledger,
    label: str,
    images: int,
    chunk: int,
    settings: Mapping[str, Any],
    make: Callable[[Int64[Tensor, " b"], int], Unit],
    report: Callable[[str], None],
) -> list[Unit]:
    """Return the unit of each chunk in order, from the ledger where it holds it.

    Args:
        ledger: of the measurement.
        label: of the units.
        images: n.
        chunk: images per unit.
        settings: what decides the units besides the ledger's own key.
        make: (rows of a chunk, its number) -> its unit.
        report: receives lines of progress.
    """
    parts, key = torch.arange(images).split(chunk), content_key(dict(settings))
    found = dict[int, Unit]()
    for place in ledger.shared_out(range(len(parts)), report):
        rows = parts[place]
        unit = ledger.read(label, place, 0, key, {"rows": rows.shape, "broken": rows.shape})
        if unit is None:
            report(f"{label}: chunk {place + 1} of {len(parts)}")
            unit = make(rows, place)
            ledger.write(label, place, 0, key, unit, settings)
        found[place] = unit
    return [found[place] for place in range(len(parts))]
