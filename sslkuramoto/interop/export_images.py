"""Adversarial images that a robustness protocol stored (``store=N``), as PNG files to look at and an exact NPZ each.

Shapes: m images, y x pixels.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import write_atomically
from sslkuramoto.interop.card import CARD, WRITTEN
from sslkuramoto.report.evidence import Attacked, attacked_of
from sslkuramoto.report.runs import read_text
from sslkuramoto.report.tables.text import in_markdown
from sslkuramoto.results import Result
from sslkuramoto.threat import Norm, parse_eps

ROUNDED = "PNG files hold 8 bits per pixel: rounding may undo an attack; the NPZ holds the exact float32 pixels"


def export_images(run: Path, name: str, out: Path) -> list[str]:
    """Write the stored images of a result.

    Each reading gives ``READING.npz`` (float32 ``clean`` and ``adversarial`` in [0,1], ``labels``,
    ``clean_prediction``, ``adversarial_prediction``, ``index``, ``eps``, ``norm``) and, for each image,
    ``READING/INDEX-clean.png`` and ``READING/INDEX-adversarial-PREDICTION.png``. A result without ``ways`` is written
    as ``images``. Only images that the network classifies correctly are stored, so their clean prediction is their
    label.

    Args:
        run: the run directory.
        name: of the result.
        out: the folder.

    Returns:
        Lines on what was written.

    Raises:
        UserError: no such result, no stored images, a damaged file, a folder that holds images of another result.
    """
    files = {path.stem: path for path in sorted((run / "results").glob("*.json"))}
    if name not in files:
        raise unknown(f"result of {run}", name, files)
    result = Result.read(files[name], per_image=False)
    attacked = [found for found in attacked_of(result) if len(found.labels)]
    if not attacked:
        raise UserError(f"{files[name]}: no adversarial images are stored beside it; measure it with store=N")
    title = f"# Adversarial images of {in_markdown(run.resolve().name)}, result {in_markdown(name)}"
    earlier = read_text(out / CARD) or ""
    if WRITTEN in earlier and not earlier.startswith(f"{title}\n"):
        raise UserError(f"--out={out}: holds images of another result; choose a new folder")
    exact = [_npz(found, result) for found in attacked]
    write_atomically(out / CARD, "\n\n".join([title, ROUNDED, WRITTEN]) + "\n")
    lines = []
    for found, content in zip(attacked, exact, strict=True):
        reading = found.reading or "images"
        write_atomically(out / f"{reading}.npz", content)
        for path in (out / reading).glob("[0-9]*-*.png") if earlier else ():
            path.unlink()  # of the earlier attack
        for k, index in enumerate(found.index.tolist()):
            pair = {"clean": found.clean[k], f"adversarial-{found.prediction[k].item()}": found.adversarial[k]}
            for kind, image in pair.items():
                write_atomically(out / reading / f"{index}-{kind}.png", _png(image.permute(1, 2, 0).numpy()))
        lines.append(f"wrote {out}/{reading}.npz and {2 * len(found.labels)} PNG files in {out}/{reading}")
    return [*lines, ROUNDED]


def _png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((image * 255).round().clip(0, 255).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def _npz(found: Attacked, result: Result) -> bytes:
    norm, eps = _threat(found.reading, result)
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        clean=found.clean.numpy(),
        adversarial=found.adversarial.numpy(),
        labels=found.labels.numpy(),
        clean_prediction=found.labels.numpy(),
        adversarial_prediction=found.prediction.numpy(),
        index=found.index.numpy(),
        eps=np.float64(eps),
        norm=np.str_(norm),
    )
    return stream.getvalue()


def _threat(reading: str, result: Result) -> tuple[Norm, float]:
    """Return norm and radius of a reading; the union is in the ball of the first one."""
    ways = result.options.get("ways") or {}
    options = {**result.options, **ways.get(reading, next(iter(ways.values()), {}))}
    norm, eps = options.get("norm", "linf"), options.get("eps")
    if eps is None:
        raise UserError(f"{result.path}: states no eps; measure again")
    return norm, parse_eps(eps, norm)
