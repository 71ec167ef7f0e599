"""A run as an ONNX file, checked against torch.

A stochastic encoder gets its initial oscillators as the input ``initial``: the file itself draws nothing. Its user
draws them (standard normal, any length) or uses the same ones each time.

Shapes: b batch, c channels, h w grid, y x pixels, q classes or d features.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.classifier import REORDERED
from sslkuramoto.dynamics.rounding import as_published
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.files import write_atomically
from sslkuramoto.heads import taken
from sslkuramoto.interop.card import CARD, card
from sslkuramoto.interop.trained import Trained
from sslkuramoto.randomness import generator

ONNX = "model.onnx"
CHECKED = (1, 7)  # batch sizes, other than the one that is traced
TOLERANCE = REORDERED
"""Largest difference from torch, as a share of the largest output. ONNX Runtime sums in another order than torch; on
equal hardware such rounding stays near 1e-6 of it, but an oscillator whose update almost cancels magnifies one unit in
the last place to 1e-4 within three layers. Ten times that is no rounding any more."""


class _Plain(nn.Module):
    """Encoder and head as a function of tensors."""

    def __init__(self, encoder: Encoder, head: nn.Module, field: Tensor | None) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.field: Tensor | None
        self.register_buffer(
            "field", field
        )  # an encoder that always starts from one drawn field: it becomes a constant

    def forward(self, images: Float[Tensor, "b 3 y x"], initial: Float[Tensor, "b c h w"] | None = None) -> Tensor:
        start = self.field if initial is None else initial
        features = self.encoder(images, initial=start)
        return self.head(taken(self.head, features.pooled, features.map))


def export_onnx(model: Trained, out: Path) -> list[str]:
    """Write ``model.onnx`` and a card, after comparing outputs with torch's for given initial oscillators.

    Args:
        model: the run.
        out: the folder.

    Returns:
        Lines on what was written and on the largest difference.

    Raises:
        UserError: a package is missing, the network cannot be expressed, or its outputs differ from torch's.
    """
    model.check_images("onnx")
    _check_packages()
    network = _Plain(model.encoder, model.head or nn.Identity(), model.encoder.fixed_initial(model.examples(1))).eval()
    content = _converted(network, _inputs(model, 3))
    difference, largest = _differences(content, network, model)
    said = f"{difference:.2g} ({difference / largest:.2g} of the largest output, at most {TOLERANCE:g} allowed)"
    if not difference <= TOLERANCE * largest:
        raise UserError(f"--to onnx: outputs of ONNX Runtime differ from torch's by {said}; nothing was written")
    images = sum(CHECKED)
    note = (
        f"Checked against torch {torch.__version__} by ONNX Runtime on {images} images of noise"
        f"{' with given initial oscillators' if model.encoder.stochastic else ''}: largest difference {said}."
    )
    text = card(model, _usage(model), "onnx", notes=[note])
    write_atomically(out / CARD, text)
    write_atomically(out / ONNX, content)
    return [f"wrote {out}/{ONNX} and {CARD}", f"largest difference from torch on {images} images: {said}"]


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"--to onnx: needs the package {error.name}, which the extra onnx brings: pip install 'sslkuramoto[onnx]'"
        ) from None


def _inputs(model: Trained, n: int) -> dict[str, Tensor]:
    images = model.examples(n)
    if not model.encoder.stochastic:
        return {"images": images}
    return {"images": images, "initial": model.encoder.sample_initial(images, generator("cpu", n, "export to onnx"))}


def _converted(network: nn.Module, inputs: dict[str, Tensor]) -> bytes:
    """Return the ONNX file of a network, its batch axis left open."""
    batch = torch.export.Dim("batch", min=1)
    stream = io.BytesIO()
    try:
        with torch.no_grad(), as_published(), _quiet():
            program: Any = torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                verbose=False,
                input_names=list(inputs),
                output_names=["output"],
                dynamic_shapes={name: {0: batch} for name in inputs},
            )
            program.save(stream)
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"--to onnx: this network cannot be expressed: {reason}") from None
    return stream.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress off the terminal."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _differences(content: bytes, network: nn.Module, model: Trained) -> tuple[float, float]:
    """Return the largest difference from torch and the largest output."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    difference = largest = 0.0
    for n in CHECKED:
        inputs = _inputs(model, n)
        with torch.no_grad():
            ours = network(*inputs.values())
        (theirs,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        apart = (torch.as_tensor(theirs) - ours).abs().max().item()
        difference = max(difference, apart) if apart == apart else float("nan")
        largest = max(largest, ours.abs().max().item())
    return difference, largest


def _usage(model: Trained) -> str:
    draw, fed = "", ""
    if model.encoder.stochastic:
        shape = ", ".join(map(str, _inputs(model, 1)["initial"].shape[1:]))
        draw = f'initial = numpy.random.default_rng(0).standard_normal((len(images), {shape}), dtype="float32")\n'
        fed = ', "initial": initial'
    what = "features" if model.head is None else "logits"
    return (
        "```python\nimport numpy\nimport onnxruntime\n\n"
        f'session = onnxruntime.InferenceSession("{ONNX}")\n{draw}'
        f'{what} = session.run(None, {{"images": images{fed}}})[0]  # images: float32 in [0,1], '
        f"(n, 3, {model.size}, {model.size})\n```"
    )
