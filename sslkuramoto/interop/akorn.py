"""Weights of the published AKOrN classification networks in our encoder.

The published network (Miyato et al. 2025; autonomousvision/akorn at commit eabbe27) is described by the arguments of
its constructor and by its state dict. What shows in the names and shapes of the weights is read off them.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.errors import UserError
from sslkuramoto.heads import Linear
from sslkuramoto.interop.published_weights import (
    LAYER,
    PROJECTION,
    Built,
    check_copy,
    filled,
    layers_of,
    norm_of_stimulus,
    per_layer,
    projects,
    step_size,
    truth,
    weight,
    weightless,
    whole,
)
from sslkuramoto.recipe import Part

_READ_FROM_WEIGHTS = {"kind", "ch", "out_classes", "num_classes", "L", "J", "ksizes", "ksize", "ks", "ro_ksize", "ro_N"}
_READ_FROM_WEIGHTS |= {"init_omg", "global_omg", "learn_omg", "norm", "fixed_noise", "imsize", "c_norm"}
READ = {"n", "T", "gamma", "use_omega", "ensemble", *PROJECTION, *_READ_FROM_WEIGHTS}
"""Arguments that are read, or that show in the weights."""


def encoder_options(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options of :class:`AKOrN` for a published classification network.

    Args:
        config: arguments of the published constructor (those not named have its defaults).
        state: its state dict by its published names, without the prefix ``state/``.

    Raises:
        UserError: a network of another kind, or weights that no option of ours describes.
    """
    if config.get("kind", "classification") != "classification":
        raise UserError(f"kind={config['kind']!r}: only 'classification' networks can be read")
    if whole(config, "ensemble", 1) > 1:
        raise UserError(f"ensemble={config['ensemble']}: only networks that answer from one draw can be read")
    layers = layers_of(state)
    kernels, couplings, norms, frequencies, map_norms, readout_dims = [], [], [], [], [], []
    for layer in range(layers):
        prefix = f"layers.{layer}.2"
        name = f"{prefix}.connectivity.weight"
        conv = weight(state, name, 4) if name in state else None
        couplings.append("attention" if conv is None else "conv")
        kernels.append(3 if conv is None else int(conv.shape[-1]))
        norms.append(norm_of_stimulus(config, state, f"{prefix}.c_norm."))
        omega = state.get(f"{prefix}.omg.omg_param")
        frequencies.append("none" if omega is None else "shared" if omega.numel() == 2 else "per_pair")
        map_norms.append(_norm_of_map(state, f"layers.{layer}.3.2.fn.0."))
        readout_dims.append(weight(state, f"layers.{layer}.3.0.invconv.bias").numel())
        readout_dims[-1] //= weight(state, f"layers.{layer}.3.0.bias").numel()
    for what, found in (("c_norm", norms), ("natural frequencies", frequencies), ("norm", map_norms)):
        if len(set(found)) > 1:
            raise UserError(f"{what} differ between layers ({found}): no option describes that")
    dims = per_layer(config, "n", 4, layers)
    if len(set(dims)) > 1:
        raise UserError(f"n={list(dims)}: no option describes oscillators of another dimension in each layer")
    use_omega = truth(config, "use_omega", frequencies[0] != "none")
    return {
        "channels": weight(state, "conv0.weight", 4).shape[0],
        "oscillator_dim": dims[0],
        "kernel_sizes": tuple(kernels),
        "num_steps": per_layer(config, "T", 3, layers),
        "coupling": tuple(couplings),
        "natural_frequency": frequencies[0] if use_omega else "identity",
        "step_size": step_size(config, state),
        "project": projects(config),
        "stimulus_norm": norms[0],
        "readout_dim": tuple(readout_dims),
        "readout_kernel": weight(state, "layers.0.3.0.invconv.weight", 4).shape[-1],
        "readout_map": "residual",
        "readout_map_norm": map_norms[0],
    }


def _norm_of_map(state: Mapping[str, Tensor], prefix: str) -> str:
    if f"{prefix}running_mean" in state:
        return "batch"
    return "group" if f"{prefix}weight" in state else "none"


def encoder_name(published: str) -> str | None:
    """Return our name of a published weight; None for what is no weight of our encoder (gamma, classifier, copies)."""
    if published == "gamma" or published.startswith("out."):
        return None
    if published.startswith("conv0."):
        return published.replace("conv0.", "stem.")
    found = LAYER.match(published)
    if not found:
        raise UserError(f"weight {published!r}: no part of a published classification network")
    layer, rest = int(found[1]), found[2]
    if rest.startswith("0.0."):
        return f"transitions.{layer - 1}.{rest.removeprefix('0.0.')}"
    if rest.startswith("0.1."):  # the convolution between layers is registered twice, for x and for c
        return None
    replacements = {
        "2.omg.omg_param": "layers.{}.frequencies.vector",
        "2.connectivity.W_qkv.": "layers.{}.coupling.to_qkv.",
        "2.connectivity.W_o.": "layers.{}.coupling.to_out.",
        "2.connectivity.": "layers.{}.coupling.",
        "2.c_norm.scale": "layers.{}.norm.weight",
        "2.c_norm.": "layers.{}.norm.",
        "3.0.bias": "readouts.{}.0.offset",
        "3.0.invconv.": "readouts.{}.0.project.",
        "3.1.fn.fn.0.fn.": "readouts.{}.1.inner.0.",
        "3.1.fn.fn.1.fn.": "readouts.{}.1.inner.1.",
        "3.2.fn.": "readouts.{}.1.last.",
    }
    for start, ours in replacements.items():
        if rest.startswith(start):
            return ours.format(layer) + rest.removeprefix(start)
    raise UserError(f"weight {published!r}: no part of a published classification network")


def from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Built:
    """Return encoder and classifier with the published weights, in eval mode.

    Raises:
        UserError: weights that are missing, left over or of another shape; copies of one weight that differ.
    """
    options = encoder_options(config, state)
    make = partial(AKOrN, **options)
    shape = weightless(make)
    wanted = shape.state_dict()
    ours: dict[str, Tensor] = {}
    for published, value in state.items():
        name = encoder_name(published)
        if name is None:
            copy_of = re.sub(r"^(layers\.\d+\.0)\.1\.", r"\1.0.", published)
            if copy_of != published:
                check_copy(state, published, copy_of, "x and c share one convolution here")
            continue
        if ".frequencies." in name and name not in wanted:
            continue  # frequencies that the network holds but is configured not to use
        if name in ours:
            raise UserError(f"weight {published!r}: another weight of the file is {name} too")
        ours[name] = value
    answers, bias = weight(state, "out.weight", 2), weight(state, "out.bias")
    if answers.shape[1] != shape.num_features or bias.shape != answers.shape[:1]:
        raise UserError(f"out.weight of shape {tuple(answers.shape)}: does not fit {shape.num_features} features")
    encoder = filled(make, ours)
    head = filled(partial(Linear, answers.shape[1], answers.shape[0]), {"weight": answers, "bias": bias})
    return Built(encoder, Part("akorn", options), head, Part("linear", {}))
