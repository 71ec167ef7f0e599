"""The panel of a page on which a reader goes through the oscillator steps: its data, in few bytes, and its frame.

``panel.js`` moves it. Without scripts and on paper it is absent: the strip of :mod:`.oscillators` shows the same.
Shapes: b images, n oscillator dimension, h w grid, t steps, k bytes per site.
"""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from sslkuramoto.dynamics.layer import LayerTrace
from sslkuramoto.report.markup import NOTHING, rendered
from sslkuramoto.report.pictures.inputs import MAZE_SIGNS, MAZE_WORDS, Kind, input_tile, kind_of
from sslkuramoto.report.pictures.order import angles_to_mean, order_parameter
from sslkuramoto.report.pictures.oscillators import CYCLE, NUM_PHASE_IMAGES, chosen
from sslkuramoto.statistics import spread_steps

MAX_BYTES = 120_000  # of the states of one panel, before base64
# Of larger records fewer images, then fewer steps, then fewer sites are kept: the first choice that fits.
CHOICES = tuple(product((1, 2, 4), (64, 32, 16, 8), (NUM_PHASE_IMAGES, 1)))
BLANK = {0: "blank cell"}


@dataclass(frozen=True)
class _Kept:
    """What of a layer the panel holds: these steps, counted from 0, of one oscillator a site."""

    steps: list[int]
    stride: int
    states: UInt8[np.ndarray, "b t h w k"]


def panel(
    trace: Sequence[LayerTrace],
    n: int,
    inputs: Shaped[Tensor, "b ..."],
    *,
    answers: Shaped[Tensor, "b y x"] | None = None,
    label: str,
    name: str = "panel",
) -> Markup:
    """Return the panel; nothing where even a part of the record is too large for a page.

    Args:
        trace: what the encoder returned with ``trace=True``.
        n: dimension of an oscillator.
        inputs: what is behind the trace: pixels in [0,1], "b 3 y x"; or boards, "b y x".
        answers: of mazes: their paths are shown.
        label: whose oscillators they are, for readers who cannot see it.
        name: unique on the page.
    """
    fields = [chosen(layer.states.detach().float().cpu(), n) for layer in trace]
    for sparse, steps, images in CHOICES:
        kept = [_kept(field, layer, n, sparse, steps, images) for field, layer in zip(fields, trace, strict=True)]
        if sum(layer.states.size for layer in kept) <= MAX_BYTES:
            break
    else:
        return NOTHING
    shown, kind = inputs[:images], kind_of(inputs, answers)
    tiles = [input_tile(example, None if answers is None else answers[k]) for k, example in enumerate(shown)]
    about = {
        "dim": n,
        **_symbols(kind, shown if answers is None else answers[:images]),
        "layers": [
            {
                "steps": [step + 1 for step in layer.steps],
                "stride": layer.stride,
                "height": layer.states.shape[2],
                "width": layer.states.shape[3],
                "energy": _rounded(whole.energy.T[:images]),
                "order": _rounded(order_parameter(whole.states[layer.steps, :images], n).T),
            }
            for layer, whole in zip(kept, trace, strict=True)
        ],
    }
    cycle = np.round(255 * CYCLE(np.arange(256) / 256)[:, :3]).astype(np.uint8)
    return rendered(
        "panel.html",
        name=name,
        label=label,
        about=json.dumps(about, separators=(",", ":")),
        states=_data("application/octet-stream", b"".join(layer.states.tobytes() for layer in kept)),
        cycle=_data("application/octet-stream", cycle.tobytes()),
        num_layers=len(kept),
        kind=kind,
        inputs=[""] * len(shown) if kind == "board" else [_png(tile.cells) for tile in tiles],
    )


def _symbols(kind: Kind, boards: Shaped[Tensor, "b ..."]) -> dict[str, Any]:
    """Return the cells of boards, and what is written on each symbol and said of it."""
    if kind == "image":
        return {"boards": None}
    cells = boards.to(torch.int64)
    if kind == "maze":
        return {"boards": cells.tolist(), "signs": MAZE_SIGNS, "words": MAZE_WORDS}
    symbols = [symbol for symbol in cells.unique().tolist() if symbol]
    words = {symbol: f"given {symbol}" for symbol in symbols}
    return {"boards": cells.tolist(), "signs": {symbol: str(symbol) for symbol in symbols}, "words": words | BLANK}


def _kept(field: Float[Tensor, "t b n h w"], layer: LayerTrace, n: int, sparse: int, steps: int, images: int) -> _Kept:
    places = spread_steps(len(field), steps)
    thinned = field[places, :images, :, ::sparse, ::sparse].transpose(0, 1)
    stride = sparse * -(-layer.states.shape[-1] // field.shape[-1])
    return _Kept(places, stride, quantised(thinned, n))


def quantised(field: Float[Tensor, "b t n h w"], n: int) -> UInt8[np.ndarray, "b t h w k"]:
    """Return unit vectors as bytes.

    N = 1: the sign, 0 or 255. N = 2: the phase, 256 to a turn. N > 2: the first three coordinates from [-1,1], then the
    angle to the mean direction of the grid from [0,pi].
    """
    x = torch.nan_to_num(field)
    x = x / x.norm(dim=2, keepdim=True).clamp_min(1e-12)
    if n == 1:
        values = (x > 0) * 255.0
    elif n == 2:
        values = (torch.atan2(x[:, :, 1:], x[:, :, :1]) / (2 * torch.pi) * 256).round() % 256
    else:
        mean = angles_to_mean(x).unsqueeze(2) / torch.pi
        values = (255 * torch.cat([(x[:, :, :3] + 1) / 2, mean], dim=2)).round()
    return values.movedim(2, -1).contiguous().numpy().astype(np.uint8)


def _rounded(values: Float[Tensor, "b t"]) -> list[list[float]]:
    """Return five significant digits; what is not finite is 0, for JSON has no word for it."""
    return [[float(f"{value:.5g}") for value in row] for row in torch.nan_to_num(values, 0, 0, 0).tolist()]


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _png(tile: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(tile).save(out, format="png", optimize=True)
    return _data("image/png", out.getvalue())
