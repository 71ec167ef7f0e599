"""Weights of the published AKOrN classification networks in our encoder.

The published network (Miyato et al. 2025; autonomousvision/akorn at commit eabbe27) is described by the arguments of its
constructor and by its state dict. What the arguments leave open is read off the shapes of the weights.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sslkuramoto.encoders.akorn import AKOrN
from sslkuramoto.errors import UserError

_LAYER = re.compile(r"^layers\.(\d+)\.(.+)$")
_COUPLINGS = {"conv": "conv", "attn": "attention", "attention": "attention"}
_STIMULUS_NORMS = {"gn": "group", "sandb": "scale_bias", "none": "none", None: "none", "": "none"}
_READ_FROM_WEIGHTS = {"kind", "ch", "out_classes", "num_classes", "L", "J", "ksizes", "ksize", "ks", "ro_ksize", "ro_N"}
_READ_FROM_WEIGHTS |= {"init_omg", "global_omg", "learn_omg", "norm", "ensemble", "fixed_noise", "imsize", "c_norm"}
_READ = {"n", "T", "gamma", "use_omega", "project", "apply_proj", "proj", "use_proj"}


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
    layers = 1 + max(int(found[1]) for name in state if (found := _LAYER.match(name)))
    n = int(config.get("n", 2))
    kernels, couplings, norms, frequencies = [], [], [], []
    for layer in range(layers):
        prefix = f"layers.{layer}.2"
        conv = state.get(f"{prefix}.connectivity.weight")
        couplings.append("attention" if conv is None else "conv")
        kernels.append(3 if conv is None else int(conv.shape[-1]))
        norms.append(_norm_of_stimulus(config, state, f"{prefix}.c_norm."))
        omega = state.get(f"{prefix}.omg.omg_param")
        frequencies.append("none" if omega is None else "shared" if omega.numel() == 2 else "per_pair")
    for what, found in (("c_norm", norms), ("natural frequencies", frequencies)):
        if len(set(found)) > 1:
            raise UserError(f"{what} differ between layers ({found}): no option describes that")
    use_omega = bool(config.get("use_omega", frequencies[0] != "none"))
    gamma = float(state["gamma"].item()) if "gamma" in state else float(config.get("gamma", 1.0))
    readout = state["layers.0.3.0.invconv.weight"]
    steps = config.get("T", 3)
    return {
        "channels": int(state["conv0.weight"].shape[0]),
        "oscillator_dim": n,
        "kernel_sizes": tuple(kernels),
        "num_steps": steps if isinstance(steps, int) else tuple(steps),
        "coupling": tuple(couplings),
        "natural_frequency": frequencies[0] if use_omega else "identity",
        "step_size": gamma,
        "project": all(bool(config.get(key, True)) for key in ("project", "apply_proj", "proj", "use_proj")),
        "stimulus_norm": norms[0],
        "readout_dim": readout.shape[0] // state["layers.0.3.0.bias"].numel(),
        "readout_kernel": int(readout.shape[-1]),
        "readout_map": "residual",
    }


def unread(config: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``config`` that :func:`encoder_options` does not know, to be told to the user."""
    return sorted(set(config) - _READ - _READ_FROM_WEIGHTS)


def _norm_of_stimulus(config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str) -> str:
    if not any(name.startswith(prefix) for name in state):
        return "none"
    kind = config.get("c_norm", "gn")
    if kind not in _STIMULUS_NORMS:
        raise UserError(f"c_norm={kind!r}: allowed: gn, sandb, none")
    return _STIMULUS_NORMS[kind]


def encoder_name(published: str) -> str | None:
    """Return our name of a published weight; None for what is no weight of our encoder (gamma, classifier, copies)."""
    if published == "gamma" or published.startswith("out."):
        return None
    if published.startswith("conv0."):
        return published.replace("conv0.", "stem.")
    found = _LAYER.match(published)
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


def from_published(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[AKOrN, nn.Linear]:
    """Return encoder and classifier with the published weights, in eval mode.

    Raises:
        UserError: weights that are missing, left over or of another shape; copies of one weight that differ.
    """
    encoder = AKOrN(**encoder_options(config, state))
    wanted = encoder.state_dict()
    ours: dict[str, Tensor] = {}
    for published, value in state.items():
        name = encoder_name(published)
        if name is None:
            copy_of = re.sub(r"^(layers\.\d+\.0)\.1\.", r"\1.0.", published)
            if copy_of != published and not torch.equal(state[copy_of], value):
                raise UserError(f"weight {published!r} differs from {copy_of!r}: x and c share one convolution here")
            continue
        if ".frequencies." in name and name not in wanted:
            continue  # frequencies that the network holds but was told not to use
        ours[name] = value.reshape(wanted[name].shape) if name in wanted else value
    missing, extra = sorted(set(wanted) - set(ours)), sorted(set(ours) - set(wanted))
    if missing or extra:
        raise UserError(f"published weights do not fit: missing {missing[:3]}, left over {extra[:3]}")
    encoder.load_state_dict(ours)
    head = nn.Linear(state["out.weight"].shape[1], state["out.weight"].shape[0])
    head.load_state_dict({"weight": state["out.weight"], "bias": state["out.bias"]})
    return encoder.eval(), head.eval()
