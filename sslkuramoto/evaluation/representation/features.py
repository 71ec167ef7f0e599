"""Pooled features of a split: extracted once, every sample exactly once, kept beside the run.

Shapes: k draws, n images, d features.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sslkuramoto.data import ImageSet, batches, in_order
from sslkuramoto.encoders.features import one_field
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation.protocol import Subject
from sslkuramoto.evaluation.representation.progress import Progress
from sslkuramoto.files import write_atomically
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator


class FeatureSet(NamedTuple):
    """Features of one split, on the CPU in float32.

    Attributes:
        values: one pass over the split a draw.
        labels: one an image.
        images: the split itself.
    """

    values: Float[Tensor, "k n d"]
    labels: Int64[Tensor, " n"]
    images: ImageSet


def split_features(subject: Subject, split: str, *, draws: int | None = None) -> FeatureSet:
    """Return the pooled features of a labelled split, from the cache when it holds them.

    Args:
        subject: encoder, data and cache folder.
        split: "train", "val" or "test".
        draws: independent passes of a stochastic encoder, at least 20 where anything is scored. None makes one pass,
            for a bank or a training set, whose images may be seen with one draw each; so does a deterministic encoder.

    Pass k draws its oscillators from ``generator(device, seed, "features", split, k)``.
    """
    values, images = split_values(subject, split, draws=draws)
    assert images.labels is not None
    return FeatureSet(values, images.labels.cpu(), images)


def split_values(
    subject: Subject, split: str, *, draws: int | None = None, shared_field: bool = False
) -> tuple[Float[Tensor, "k n d"], ImageSet]:
    """Return the pooled features of a split, labelled or not, from the cache when it holds them, and the split.

    Args:
        subject: encoder, data and cache folder.
        split: "train", "val" or "test".
        draws: as for :func:`split_features`.
        shared_field: whether all images of pass k start from the same field of oscillators; otherwise each image has
            its own. An encoder that draws nothing has one kind of features.

    Pass k draws from ``generator(device, seed, "features", split, k)``, or ``(..., "one field", split, k)``.
    """
    images = subject.images(split)
    passes = 1 if draws is None else draws_for(subject.encoder.stochastic, draws)
    key = {
        "encoder": subject.encoder_hash,
        "encoder_options": dict(subject.encoder_options),
        **({"code": subject.code} if subject.code else {}),
        "data": images.fingerprint,
        **({"stamp": images.stamp} if images.stamp else {}),
        "split": split,
        "draws": passes,
        "seed": subject.seed if subject.encoder.stochastic else None,
        "batch_size": subject.batch_size,
        "precision": f"float32/{torch.get_float32_matmul_precision()}",
        **({"field": "shared"} if shared_field and subject.encoder.stochastic else {}),
    }
    text = json.dumps(key, sort_keys=True)
    path = subject.run_dir / "cache" / f"features-{split}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    values = _load(path, text, len(images))
    if values is None:
        subject.report(f"features of {split}: {len(images)} images, {passes} draw{'s' if passes > 1 else ''}")
        values = _extract(subject, images, split, passes, shared_field)
        _save(path, values, text, subject)
    return values, images


@torch.no_grad()
def _extract(subject: Subject, images: ImageSet, split: str, passes: int, shared_field: bool) -> Float[Tensor, "k n d"]:
    encoder, n = subject.encoder, len(images)
    kind = "one field" if shared_field else "features"
    noise = [generator(subject.device, subject.seed, kind, split, k) for k in range(passes)]
    fields: list[Tensor | None] = []
    progress = Progress(subject.report, f"features of {split}", n, "images")
    values = torch.empty(passes, n, encoder.num_features)
    seen = torch.zeros(n, dtype=torch.int64)
    order = in_order(n, subject.batch_size)
    for batch in batches(images, order, device=subject.device, workers=subject.workers):
        seen[batch.indices] += 1
        if shared_field and not fields:
            fields = [one_field(encoder, batch.inputs, draw) for draw in noise]
        for k in range(passes):
            start = {"initial": fields[k]} if fields else {"draw": noise[k] if encoder.stochastic else None}
            features = encoder(batch.inputs, **start)
            values[k, batch.indices] = features.pooled.float().cpu()
        progress.done(int(seen.sum()))
    assert bool((seen == 1).all()), "a sample was skipped or counted twice"
    return values


def _load(path: Path, key: str, n: int) -> Float[Tensor, "k n d"] | None:
    """Return cached features, or None when the file is missing, cut short or made for something else."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            values = file.get_tensor("features")
    except (SafetensorError, OSError):
        return None
    return values if values.shape[1] == n else None


def _save(path: Path, values: Tensor, key: str, subject: Subject) -> None:
    """Write the cache file whole or not at all; a full disk costs the cache, not the measurement."""
    try:
        write_atomically(path, save({"features": values}, metadata={"key": key}))
    except UserError as error:
        subject.report(f"features are not cached: {error}")
