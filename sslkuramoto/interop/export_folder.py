"""A run as a self-contained folder: model.safetensors, config.json and a model card; and back.

The folder is what ``timm.create_model("local-dir:FOLDER")`` and model hubs read too. Weights are named
``encoder.PARAMETER`` and ``head.PARAMETER``. It holds no pickle and no code.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from sslkuramoto.checkpoint import (
    HeadParts,
    build_encoder,
    build_head,
    linear_parts,
    packed_weights,
    size_of_head,
    weights_hash,
)
from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.files import content_of, read_object, write_atomically
from sslkuramoto.interop.card import CARD, card
from sslkuramoto.interop.timm_models import ARCHITECTURES, create, timm_config
from sslkuramoto.interop.trained import Trained
from sslkuramoto.run_directory import impersonal
from sslkuramoto.version import __version__

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT = 1  # of config.json
TIMM_HEADS = ("linear",)  # heads that timm's model has too

_USE = """
```python
import sslkuramoto as sk

model = sk.load("FOLDER")
CALL
```
"""
_TIMM = """
```python
import timm
import sslkuramoto.interop.timm_models  # registers sslkuramoto_akorn

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()
```

In eval mode timm's model starts every image from one seeded field of oscillators (`field_seed=0`), in training mode
from new ones at each forward pass.
"""


def export_torch(model: Trained, out: Path, *, front_matter: bool = False) -> list[str]:
    """Write the folder, read it back and compare the weights.

    Args:
        model: the run.
        out: the folder.
        front_matter: whether the card begins with YAML for a hub.

    Returns:
        Lines on what was written.
    """
    weights = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    if model.head is not None:
        weights |= {f"head.{name}": value for name, value in model.head.state_dict().items()}
    usage = _USE.replace("CALL", _call(model)) + (_TIMM if _timm_builds(model) else "")
    config = impersonal(json.dumps(config_of(model), indent=1) + "\n")
    text = card(model, usage, "torch", front_matter=front_matter)
    write_atomically(out / CARD, text)  # first: by it the folder is known for ours, also after a write that was killed
    write_atomically(out / WEIGHTS, packed_weights(weights, {"format": "pt"}))
    write_atomically(out / CONFIG, config)
    _check_same(model, load_exported(out))
    return [f"wrote {out}/{WEIGHTS}, {CONFIG} and {CARD}; the weights read back are equal"]


def export_timm(model: Trained, out: Path) -> list[str]:
    """Write the folder, build timm's model from it and compare its outputs.

    Raises:
        UserError: an encoder that is not registered with timm.
    """
    model.check_images("timm")
    if model.recipe.encoder.name not in ARCHITECTURES:
        raise UserError(
            f"--to timm: encoder {model.recipe.encoder.name} is not registered with timm by this package; registered: "
            f"{', '.join(ARCHITECTURES)}; --to torch writes any encoder"
        )
    if not _timm_builds(model):
        raise UserError(
            f"--to timm: timm's model ends in one linear layer, the run in a head {model.head_parts.section['name']}; "
            "--to torch writes any head"
        )
    lines = export_torch(model, out)
    images = model.examples(4)
    with torch.no_grad():
        found = create(f"local-dir:{out}", pretrained=True).eval()(images)
        ours = Classifier(model.encoder, model.head or torch.nn.Identity(), "fixed", seed=0)
        assert torch.equal(found, ours(images)), "timm's model differs from the run's"
    return [*lines, "timm.create_model gives equal outputs on fixed oscillators"]


def _call(model: Trained) -> str:
    draw = ", draw=torch.Generator().manual_seed(0)" if model.encoder.stochastic else ""
    if model.head is None:
        return f"features = model({model.kind}{draw}).pooled"
    return f"logits = model({model.kind}{draw})"


def _timm_builds(model: Trained) -> bool:
    """Return whether timm's model is the run's: a registered encoder, and its one linear layer."""
    linear = model.head is None or model.head_parts.section["name"] in TIMM_HEADS
    return linear and model.recipe.encoder.name in ARCHITECTURES


def _check_same(model: Trained, found: Classifier | Encoder) -> None:
    if isinstance(found, Classifier):
        assert {"encoder": weights_hash(found.encoder), "head": weights_hash(found.head)} == model.hashes()
    else:
        assert {"encoder": weights_hash(found)} == model.hashes()


def config_of(model: Trained) -> dict[str, Any]:
    """Return what config.json holds: what rebuilds the networks, how they were trained, and timm's own keys."""
    config = {
        "library_name": "sslkuramoto",
        "format": FORMAT,
        "version": __version__,
        "kind": "encoder" if model.head is None else "classifier",
        "encoder": model.recipe.encoder.to_dict(),
        "classes": model.classes,
        "reads": model.kind,
        "image_size": model.size,
        "seed": model.subject.seed,
        "weights": model.subject.weights,
        "sha256": model.hashes(),
        "recipe": model.public_recipe(),
    }
    if model.head is not None:
        config |= {"head": model.head_parts.section}
        config |= {"head_size": {"in_features": model.head.in_features, "out_features": model.head.out_features}}
    if not _timm_builds(model):
        return config
    return config | timm_config(model.recipe.encoder, model.encoder, model.head, model.size)


def is_exported(path: Path) -> bool:
    """Return whether ``path`` is a folder that :func:`export_torch` wrote."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def load_exported(path: Path) -> Classifier | Encoder:
    """Read an exported folder: a classifier, or the encoder where it holds no head; in eval mode, without gradients.

    Args:
        path: the folder.

    Raises:
        UserError: no such folder, a damaged file, one of another program or of a newer version, or weights that do not
            fit.
    """
    if not is_exported(path):
        raise UserError(f"{path}: no exported model (it holds no {CONFIG} beside {WEIGHTS})")
    config = _config(path / CONFIG)
    encoder_weights, head_weights = _weights(path / WEIGHTS)
    encoder = build_encoder(config["encoder"], encoder_weights, str(path / WEIGHTS))
    if config["kind"] == "encoder":
        return encoder
    head = build_head(_head_parts(config, head_weights, path), str(path / WEIGHTS))
    if head.in_features != encoder.num_features:
        raise UserError(f"{path / WEIGHTS}: head of {head.in_features} features, encoder of {encoder.num_features}")
    return Classifier(encoder, head, seed=config["seed"])


def _head_parts(config: Mapping[str, Any], weights: dict[str, Tensor], path: Path) -> HeadParts:
    """Return what rebuilds the head; a folder of before heads had a section holds a linear one."""
    if "head" not in config:
        return linear_parts(weights, str(path / WEIGHTS))
    for key in ("head", "head_size"):
        if not isinstance(config.get(key), dict):
            raise UserError(f"{path / CONFIG}: {key}={config.get(key)!r}: must be a dict")
    return HeadParts(config["head"], size_of_head(config["head_size"], str(path / CONFIG)), weights)


def _config(path: Path) -> Mapping[str, Any]:
    config = read_object(path, "export the run again")
    if config.get("library_name") != "sslkuramoto":
        raise UserError(f"{path}: of another program, no export of sslkuramoto")
    if type(config.get("format")) is not int or not 1 <= config["format"] <= FORMAT:
        raise UserError(
            f"{path}: format {config.get('format')!r}; this version reads up to {FORMAT}: update sslkuramoto"
        )
    for key, kind in (("kind", str), ("encoder", dict), ("seed", int)):
        if not isinstance(config.get(key), kind):
            raise UserError(f"{path}: {key}={config.get(key)!r}: must be a {kind.__name__}")
    if (
        config["kind"] not in ("encoder", "classifier")
        or type(config["seed"]) is not int
        or not 0 <= config["seed"] < 2**63
    ):
        raise UserError(f"{path}: kind={config['kind']!r:.40}, seed={config['seed']!r:.40}: no export has such values")
    return config


def _weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    try:
        tensors = load_tensors(content_of(path))
    except UserError:
        raise
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: truncated, or no safetensors file: {' '.join(str(error).split())}") from None
    by_network: dict[str, dict[str, Tensor]] = {"encoder": {}, "head": {}}
    for name, value in tensors.items():
        network, _, parameter = name.partition(".")
        if network not in by_network:
            raise UserError(f"{path}: weight {name!r} has no place here")
        by_network[network][parameter] = value
    return by_network["encoder"], by_network["head"]
