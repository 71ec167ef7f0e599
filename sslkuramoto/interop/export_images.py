"""Adversarial images that a robustness protocol stored (``store=N``), as PNG files to look at and an exact NPZ each.

Shapes: m images, y x pixels.
"""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.described import options_behind
from sslkuramoto.files import write_atomically
from sslkuramoto.interop.card import CARD, check_folder, written
from sslkuramoto.report.evidence import Attacked, attacked_of
from sslkuramoto.report.runs import read_text
from sslkuramoto.report.tables.text import in_markdown
from sslkuramoto.results import Result
from sslkuramoto.threat import Norm, parse_eps

READINGS = "Readings: "
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
        UserError: no such result, no stored images, a damaged file, a folder with files of others or with images of
            another network or result.
    """
    files = {path.stem: path for path in sorted((run / "results").glob("*.json"))}
    if name not in files:
        raise unknown(f"result of {run}", name, files)
    result = Result.read(files[name], per_image=False)
    stored = attacked_of(result)
    attacked = [found for found in stored if len(found.labels)]
    if not attacked:
        why = "the attack fools none of the images that are right without it" if stored else "measure it with store=N"
        raise UserError(f"{files[name]}: no adversarial images are stored beside it; {why}")
    check_folder(out, "images")
    title = f"# Adversarial images of {in_markdown(run.resolve().name)}, result {in_markdown(name)}"
    of = f"Network: {str(result.encoder.get('sha256'))[:16]}."
    earlier = read_text(out / CARD) or ""
    if earlier and not (earlier.startswith(f"{title}\n") and of in earlier):
        raise UserError(f"--out={out}: holds images of another network or result; choose a new folder")
    exact = {found.reading or "images": _npz(found, result) for found in attacked}
    _remove_earlier(out, earlier)
    told = f"{READINGS}{', '.join(exact)}."
    write_atomically(out / CARD, "\n\n".join([title, ROUNDED, of, told, written("images")]) + "\n")
    lines = []
    for found, (reading, content) in zip(attacked, exact.items(), strict=True):
        write_atomically(out / f"{reading}.npz", content)
        for k, index in enumerate(found.index.tolist()):
            pair = {"clean": found.clean[k], f"adversarial-{found.prediction[k].item()}": found.adversarial[k]}
            for kind, image in pair.items():
                write_atomically(out / reading / f"{index}-{kind}.png", _png(image.permute(1, 2, 0).numpy()))
        lines.append(f"wrote {out}/{reading}.npz and {2 * len(found.labels)} PNG files in {out}/{reading}")
    return [*lines, ROUNDED]


def _remove_earlier(out: Path, card: str) -> None:
    """Remove what an earlier export wrote, which may have had other readings and images; files of others stay."""
    listed = [line.removeprefix(READINGS).rstrip(".") for line in card.splitlines() if line.startswith(READINGS)]
    for reading in ", ".join(listed).split(", "):
        if Path(reading).name == reading and reading.strip("."):  # a name, no path to elsewhere
            (out / f"{reading}.npz").unlink(missing_ok=True)
            for path in (out / reading).glob("*.png"):
                if re.fullmatch(r"\d+-(clean|adversarial-\d+)\.png", path.name):
                    path.unlink()


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
    options = options_behind(result.options, f"{reading}/robust_accuracy" if reading else "robust_accuracy")
    norm, eps = options.get("norm", "linf"), options.get("eps")
    if eps is None:
        raise UserError(f"{result.path}: states no eps; measure again")
    return norm, parse_eps(eps, norm)
