"""Pictures of what a network sees and does: its views, its oscillators' phases over the oscillator steps, its energies.

A run writes the tensors into ``RUN/pictures/{views,phases}.npz`` (few examples, written once by the process that has
the encoder); the page draws them.
Shapes: b images or boards, c channels, n oscillator dimension, h w grid, t steps, y x pixels or cells.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, LayerTrace, modes_kept
from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.report.pictures.drawing import axes_grid, colour, plain_axes, styled, svg_of
from sslkuramoto.report.pictures.inputs import input_tile, kind_of
from sslkuramoto.report.pictures.tiles import MAX_TILE, frame, place, place_tile, tiles_of
from sslkuramoto.statistics import spread_steps

VIEWS_FILE, PHASES_FILE = Path("pictures/views.npz"), Path("pictures/phases.npz")
OF_A_VIEW = "view."  # before a view's name, which may be any
NUM_VIEW_IMAGES, NUM_PHASE_IMAGES = 8, 3
MAX_COLUMNS = 8  # oscillator steps of a picture; of more, some are shown
INCHES = 0.72  # side of a tile
TILES_ABREAST = 15  # of a picture; blocks of images that do not fit go below
CYCLE = colormaps["twilight"]  # cyclic and perceptually uniform: equal differences of phase look equal


@styled
def views_picture(images: Mapping[str, Float[Tensor, "b 3 y x"]], *, name: str = "views") -> Markup:
    """Return an inline SVG: one row per view, one column per image, in the order of the mapping.

    Args:
        images: pixels in [0,1] by the name of the view, for example ``{"clean": ..., "a": ..., "b": ...}``.
        name: unique on the page.
    """
    assert images, "no views to show"
    tiles = {view: tiles_of(batch[:NUM_VIEW_IMAGES]) for view, batch in images.items()}
    count = max(map(len, tiles.values()))
    figure, grid = axes_grid(1, 1, INCHES * count + 0.7, INCHES * len(tiles) + 0.1)
    axes = grid[0, 0]
    for row, batch in enumerate(tiles.values()):
        for column, tile in enumerate(batch):
            place(axes, tile, row, column)
    frame(axes, list(tiles), [""] * count)
    alt = f"Views of {count} training images, one image a column; rows from above: {', '.join(tiles)}."
    return svg_of(figure, alt=alt, name=name)


@styled
def phases_picture(
    trace: Sequence[LayerTrace],
    oscillator_dim: int,
    *,
    images: Shaped[Tensor, "b ..."] | None = None,
    answers: Shaped[Tensor, "b y x"] | None = None,
    name: str = "phases",
) -> Markup:
    """Return an inline SVG: one block per image, in it one row per layer and one column per oscillator step.

    Of each layer one oscillator a site is shown, the same for all images: the one whose last phases agree most between
    neighbours and least over the whole grid. N = 1: white is +1, black -1. N = 2: colour is the phase angle. N > 2: the
    first three coordinates, from [-1,1], are red, green and blue. Of more than eight steps, eight are shown.

    Args:
        trace: what the encoder returned with ``trace=True``.
        oscillator_dim: N, the number of consecutive channels that make one oscillator.
        images: what is behind the trace, shown in front of each block: pixels in [0,1], "b 3 y x"; or boards, "b y x".
        answers: of mazes: their paths are shown.
        name: unique on the page.
    """
    assert trace, "an empty trace"
    fields = [chosen(layer.states.detach().float().cpu(), oscillator_dim) for layer in trace]
    count, layers, steps = (
        min(fields[0].shape[1], NUM_PHASE_IMAGES),
        len(fields),
        max(field.shape[0] for field in fields),
    )
    shown = spread_steps(steps, MAX_COLUMNS)
    abreast = min(count, max(1, TILES_ABREAST // (len(shown) + 1)))
    down = -(-count // abreast)
    size = INCHES * (abreast * (len(shown) + 1.3)) + 0.6, (INCHES * layers + 0.45) * down
    figure, grid = axes_grid(down, abreast, *size)
    for spare in grid.ravel()[count:]:
        spare.set_visible(False)
    kind = "" if images is None else kind_of(images, answers)
    for k, axes in enumerate(grid.ravel()[:count]):
        if images is not None:
            tile = input_tile(images[k], None if answers is None else answers[k])
            place_tile(axes, tile, 0, 0, inches=INCHES)
        for row, field in enumerate(fields):
            for column, step in enumerate(shown):
                if step < len(field):
                    place(axes, coloured(field[step, k]), row, column + 1)
        rows = [f"layer {row + 1}" if k % abreast == 0 else "" for row in range(layers)]
        frame(axes, rows, [kind, *(f"step {step + 1}" for step in shown)])
    alt = (
        f"Oscillators of {count} {kind or 'image'}s, N = {oscillator_dim}: {layers} layers (rows) over {steps}"
        f" oscillator steps (columns); {CODING.get(oscillator_dim, CODING[3])}."
    )
    return svg_of(figure, alt=alt, name=name)


CODING = {
    1: "white is +1, black -1",
    2: "colour is the phase angle",
    3: "red, green and blue are the first three coordinates",
}
"""What colours mean, by the dimension of an oscillator; beyond three as at three."""


@styled
def energies_picture(trace: Sequence[LayerTrace], *, name: str = "energies") -> Markup:
    """Return an inline SVG, one panel a layer: the energy before each step and after the last, mean and range."""
    assert trace, "an empty trace"
    figure, grid = axes_grid(1, len(trace), 2.5 * len(trace), 1.9)
    sentences = []
    for index, (axes, layer) in enumerate(zip(grid[0], trace, strict=True)):
        energy = layer.energy.detach().float().cpu().numpy()
        steps, mean = np.arange(len(energy)), energy.mean(axis=1)
        plain_axes(axes)
        axes.fill_between(steps, energy.min(axis=1), energy.max(axis=1), color=colour(0), alpha=0.2, linewidth=0)
        axes.plot(steps, mean, color=colour(0), marker="o", markersize=3)
        axes.set_title(f"Layer {index + 1}")
        axes.set_xlabel("oscillator step")
        axes.set_xticks(steps if len(steps) <= 9 else np.linspace(0, len(steps) - 1, 6).round())
        sentences.append(f"Layer {index + 1}: {mean[0]:.4g} to {mean[-1]:.4g}.")
    return svg_of(
        figure,
        alt=f"Energy over the oscillator steps, mean over {energy.shape[1]} images. {' '.join(sentences)}",
        name=name,
    )


def chosen(states: Float[Tensor, "t b c h w"], n: int) -> Float[Tensor, "t b n rows columns"]:
    """One oscillator per site: its neighbours agree at the last step (mean cosine), not all (order parameter)."""
    t, b, c, h, w = states.shape
    assert c % n == 0, f"{c} channels are not made of oscillators of {n}"
    x = states.reshape(t, b, c // n, n, h, w)
    last = x[-1] / x[-1].norm(dim=2, keepdim=True).clamp_min(1e-12)
    pairs = [(last[..., 1:, :] * last[..., :-1, :]).sum(2), (last[..., 1:] * last[..., :-1]).sum(2)]
    local = sum(pair.mean(dim=(0, 2, 3)) for pair in pairs if pair.numel()) / 2
    whole = last.mean(dim=(3, 4)).norm(dim=2).mean(dim=0)
    field = x[:, :, int((local - whole).argmax())]
    stride = max(1, -(-max(h, w) // MAX_TILE))
    return field[..., ::stride, ::stride]


def phase_colours(count: int = 25) -> list[str]:
    """Return the colours of phases from 0 to 2 pi, as CSS has them."""
    return [to_hex(CYCLE(k / (count - 1))) for k in range(count)]


def coloured(field: Float[Tensor, "n h w"]) -> np.ndarray:
    """Return the colours of unit vectors, bytes "h w 3"; :data:`CODING` says what they mean."""
    x = field.numpy()
    if len(x) == 1:
        rgb = np.repeat((x[0] > 0)[..., None], 3, axis=2).astype(float)
    elif len(x) == 2:
        rgb = CYCLE(np.nan_to_num(np.arctan2(x[1], x[0]) / (2 * np.pi) % 1.0))[..., :3]
    else:
        length = np.maximum(np.linalg.norm(x, axis=0, keepdims=True), 1e-12)
        rgb = np.moveaxis((x / length)[:3] / 2 + 0.5, 0, -1)
    return (np.nan_to_num(rgb) * 255).round().astype(np.uint8)


def spread_places(n: int, count: int) -> Int64[Tensor, " m"]:
    """Return ``count`` places spread evenly over ``n`` examples: those of a folder are sorted by class, so of several.

    All places where there are fewer examples.
    """
    count = min(count, n)
    return torch.arange(count) * n // max(count, 1)


def record_views(run: Path, policy: nn.Module, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Path:
    """Draw the views of a few images and leave them in the run directory.

    Args:
        run: the run directory.
        policy: a view policy: ``policy(images, draw)`` -> views by name.
        images: pixels in [0,1]; the first eight are taken.
        draw: generator of the views.
    """
    images = images[:NUM_VIEW_IMAGES]
    with torch.no_grad():
        views = {"clean": images} | policy(images, draw)
    levels = {view: (batch.float().clamp(0, 1) * 255).round().to(torch.uint8) for view, batch in views.items()}
    return _save(run / VIEWS_FILE, {f"{OF_A_VIEW}{view}": batch.cpu().numpy() for view, batch in levels.items()})


def record_phases(
    run: Path,
    encoder: Encoder,
    images: Shaped[Tensor, "b ..."],
    oscillator_dim: int,
    draw: torch.Generator,
    *,
    answers: Shaped[Tensor, "b y x"] | None = None,
) -> Path | None:
    """Trace the oscillators on a few images, or boards, and leave them in the run directory.

    Args:
        run: the run directory.
        encoder: to be traced.
        images: pixels in [0,1], or boards; the first three are taken.
        oscillator_dim: n.
        draw: generator of the initial oscillators.
        answers: of mazes, whose walls and paths are then drawn.

    Returns:
        The file; None when the encoder has no dynamics to show (then nothing is written).
    """
    images = images[:NUM_PHASE_IMAGES]
    with torch.no_grad(), modes_kept(encoder):
        encoder.eval()
        trace = encoder(images, draw=draw if encoder.stochastic else None, trace=True).trace
    if not trace:
        return None
    arrays: dict[str, np.ndarray] = {"oscillator_dim": np.array(oscillator_dim), "images": images.float().cpu().numpy()}
    if answers is not None:
        arrays["answers"] = answers[: len(images)].to(torch.uint8).cpu().numpy()
    for index, layer in enumerate(trace):
        for field, value in layer._asdict().items():
            kind = np.float16 if field == "states" else np.float32
            arrays[f"{field}_{index}"] = value.float().cpu().numpy().astype(kind)
    return _save(run / PHASES_FILE, arrays)


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())
    return path


def load_views(run: Path) -> dict[str, Tensor] | None:
    """Return the recorded views in [0,1], or None when the run has none."""
    arrays = _load(run / VIEWS_FILE)
    if arrays is None:
        return None
    for view, batch in arrays.items():
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1] != 3 or not len(batch):
            raise UserError(f"{run / VIEWS_FILE}: {view} is {batch.dtype} {batch.shape}, must be uint8 (b, 3, y, x)")
    views = {key.removeprefix(OF_A_VIEW): torch.from_numpy(batch).float() / 255 for key, batch in arrays.items()}
    return views or None


class Phases(NamedTuple):
    """What :func:`record_phases` wrote.

    Attributes:
        trace: states and energies of each layer.
        dim: n, dimension of an oscillator.
        inputs: pixels in [0,1], or boards.
        answers: of mazes (of those that were recorded by an earlier version: None).
    """

    trace: tuple[LayerTrace, ...]
    dim: int
    inputs: Shaped[Tensor, "b ..."]
    answers: Shaped[Tensor, "b y x"] | None


def load_phases(run: Path) -> Phases | None:
    """Return the recorded phases, or None when the run has none."""
    path = run / PHASES_FILE
    arrays = _load(path)
    if arrays is None:
        return None
    try:
        dim, images = int(arrays["oscillator_dim"]), torch.from_numpy(arrays["images"])
        layers = [
            LayerTrace(*(torch.from_numpy(arrays[f"{field}_{index}"]).float() for field in LayerTrace._fields))
            for index in range(sum(key.startswith("states_") for key in arrays))
        ]
        answers = torch.from_numpy(arrays["answers"]) if "answers" in arrays else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a record of phases ({error}); delete it and record again") from None
    if not layers or dim < 1 or any(layer.states.ndim != 5 or layer.states.shape[2] % dim for layer in layers):
        raise UserError(f"{path}: its states are no oscillators of dimension {dim}; delete it and record again")
    pictured = images.ndim == 3 or (images.ndim == 4 and images.shape[1] == 3)
    pictured = pictured and (answers is None or answers.shape == images.shape)
    for states, energy, _ in layers:
        if not pictured or not states.numel() or _sizes(states, energy) != 2 * (len(images),):
            raise UserError(f"{path}: its states, energies and images do not fit together; delete it and record again")
    return Phases(tuple(layers), dim, images, answers)


def _sizes(states: Tensor, energy: Tensor) -> tuple[int, ...]:
    """Return the number of images of a layer's states and of its energies; nothing where the steps do not agree."""
    return (states.shape[1], *energy.shape[1:]) if len(energy) == len(states) + 1 else ()


_DAMAGE = (OSError, ValueError, EOFError, AttributeError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def _load(path: Path) -> dict[str, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except _DAMAGE as error:
        raise UserError(f"{path}: truncated or not an npz file ({error}); delete it and record again") from None
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise UserError(f"{path}: {key!r} is no array; delete the file and record again")
    return arrays
