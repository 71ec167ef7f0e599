"""What the readers of published weights share: options of the constructor, weights by name, and a strict load."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.recipe import Part


class Built(NamedTuple):
    """A published network in ours, with the recipe sections that rebuild it.

    Attributes:
        encoder: in eval mode.
        encoder_part: its name and options.
        head: in eval mode; None if the weights hold none.
        head_part: its name and options; None without a head.
    """

    encoder: Encoder
    encoder_part: Part
    head: nn.Module | None
    head_part: Part | None


PROJECTION = ("project", "apply_proj", "proj", "use_proj")
"""Names under which published scripts say whether the drive is projected."""


def projects(config: Mapping[str, Any]) -> bool:
    """Return whether the drive is projected onto the tangent space."""
    return all(bool(config.get(key, True)) for key in PROJECTION)


def per_layer(value: Any, layers: int) -> tuple[int, ...]:
    """Return one number a layer; of a list of another length the first entry counts, as in the published code."""
    if isinstance(value, list | tuple):
        return tuple(int(entry) for entry in (value if len(value) == layers else [value[0]] * layers))
    return (int(value),) * layers


def weight(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a weight.

    Raises:
        UserError: there is none of this name.
    """
    if name not in state:
        raise UserError(f"holds no weight {name!r}")
    return state[name]


def norm_of_stimulus(config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str) -> str:
    """Return our ``stimulus_norm`` for the published norm whose weights begin with ``prefix``."""
    if f"{prefix}scale" in state or (config.get("c_norm") == "sandb" and f"{prefix}weight" in state):
        return "scale_bias"
    return "group" if f"{prefix}weight" in state else "none"


def filled(module: nn.Module, ours: Mapping[str, Tensor]) -> None:
    """Load weights into a module: all of its weights, nothing else, each in its shape.

    Natural frequencies, the norm of the stimulus and single numbers may have another shape of the same size.

    Raises:
        UserError: weights are missing, left over or of another shape.
    """
    wanted = module.state_dict()
    missing, extra = sorted(set(wanted) - set(ours)), sorted(set(ours) - set(wanted))
    if missing or extra:
        raise UserError(f"published weights do not fit: missing {missing[:3]}, left over {extra[:3]}")
    fitting = {}
    for name, value in ours.items():
        reshaped = wanted[name].numel() == 1 or name.endswith("frequencies.vector") or ".norm." in name
        if value.shape != wanted[name].shape and not (reshaped and value.numel() == wanted[name].numel()):
            raise UserError(f"{name}: recorded shape {tuple(value.shape)}, ours {tuple(wanted[name].shape)}")
        fitting[name] = value.reshape(wanted[name].shape)
    module.load_state_dict(fitting)
