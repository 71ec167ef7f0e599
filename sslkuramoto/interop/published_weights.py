"""What the readers of published weights share: options of the constructor, weights by name, and a strict load."""

import re
from collections.abc import Callable, Mapping
from math import isclose
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError, too_large
from sslkuramoto.recipe import Part

M = TypeVar("M", bound=nn.Module)

LARGEST = torch.finfo(torch.float64).max
LAYER = re.compile(r"^layers\.(\d{1,4})\.(.+)$")
"""Number of the layer and the rest of a published name."""


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


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""What weights are read in: of other numbers the scale is lost."""
PROJECTION = ("project", "apply_proj", "proj", "use_proj")
"""Names under which published scripts say whether the drive is projected."""


def projects(config: Mapping[str, Any]) -> bool:
    """Return whether the drive is projected onto the tangent space."""
    return all(truth(config, key, True) for key in PROJECTION)


def truth(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """Return an argument that is true or false, or its default where it is not named.

    Raises:
        UserError: it is something else.
    """
    value = config.get(key)
    if value not in (None, False, True):  # 0 and 1 too
        raise UserError(f"{key}={value!r}: must be true or false")
    return default if value is None else bool(value)


def whole(config: Mapping[str, Any], key: str, default: int) -> int:
    """Return an argument that is a whole number, or its default where it is not named.

    Raises:
        UserError: it is something else.
    """
    value = config.get(key)
    return default if value is None else _whole(key, value)


def number(config: Mapping[str, Any], key: str, default: float) -> float:
    """Return an argument that is a finite number, or its default where it is not named.

    Raises:
        UserError: it is something else.
    """
    value = config.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise UserError(f"{key}={value!r}: must be a finite number")
    return float(value)


def per_layer(config: Mapping[str, Any], key: str, default: int, layers: int) -> tuple[int, ...]:
    """Return one whole number a layer; of a list of another length the first counts, as in the published code.

    Raises:
        UserError: the argument is something else.
    """
    value = config.get(key)
    if isinstance(value, list | tuple) and value:
        numbers = tuple(_whole(key, entry) for entry in value)
        return numbers if len(numbers) == layers else numbers[:1] * layers
    return (whole(config, key, default),) * layers


def _whole(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise UserError(f"{key}={value!r}: must be a whole number")
    return int(value)


def weight(state: Mapping[str, Tensor], name: str, dimensions: int | None = None) -> Tensor:
    """Return a weight.

    Args:
        state: by published names.
        name: of the weight.
        dimensions: how many it must have; None for any number.

    Raises:
        UserError: there is none of this name, or it has another number of dimensions.
    """
    if name not in state:
        raise UserError(f"holds no weight {name!r}")
    found = state[name]
    if dimensions is not None and found.ndim != dimensions:
        raise UserError(f"{name} of shape {tuple(found.shape)}: must have {dimensions} dimensions")
    return found


def step_size(config: Mapping[str, Any], state: Mapping[str, Tensor], default: float = 1.0) -> float:
    """Return gamma as the weights or else the arguments have it, or its default.

    Raises:
        UserError: it is no single number.
    """
    stated = number(config, "gamma", default)
    if "gamma" not in state:
        return stated
    if state["gamma"].dtype not in (*FLOATS, torch.int64):
        raise UserError(f"gamma: holds {state['gamma'].dtype}; must hold a number of 16, 32 or 64 bits")
    if state["gamma"].numel() != 1:
        raise UserError(f"gamma of shape {tuple(state['gamma'].shape)}: must be one number")
    return float(state["gamma"].item())


def agrees_with_weight(config: Mapping[str, Any], state: Mapping[str, Tensor], name: str) -> bool:
    """Return whether an argument, if it is given, is the weight of the same name: a trained one may have moved."""
    return name not in config or isclose(float(config[name]), float(state[name].item()), rel_tol=1e-6)


def norm_of_stimulus(config: Mapping[str, Any], state: Mapping[str, Tensor], prefix: str) -> str:
    """Return our ``stimulus_norm`` for the published norm whose weights begin with ``prefix``."""
    if f"{prefix}scale" in state or (config.get("c_norm") == "sandb" and f"{prefix}weight" in state):
        return "scale_bias"
    return "group" if f"{prefix}weight" in state else "none"


def layers_of(state: Mapping[str, Tensor]) -> int:
    """Return how many layers the weights are of, by the largest number in the names ``layers.NUMBER.``

    Raises:
        UserError: no weight is of a layer.
    """
    layers = 1 + max((int(found[1]) for name in state if (found := LAYER.match(name))), default=-1)
    if not layers:
        raise UserError("holds no weights of layers (state/layers.0...)")
    return layers


def check_copy(state: Mapping[str, Tensor], name: str, copy_of: str, reason: str) -> None:
    """Check that two weights, which are one here, are equal.

    Args:
        state: by published names.
        name: the one that is left out.
        copy_of: the one that is read.
        reason: why they are one, for the error.

    Raises:
        UserError: they differ, or the other one is missing.
    """
    value, other = state[name], weight(state, copy_of)
    if value.dtype != other.dtype or not torch.equal(value, other):
        raise UserError(f"weight {name!r} differs from {copy_of!r}: {reason}")


def weightless(make: Callable[[], M]) -> M:
    """Return a module whose weights take no memory: the sizes in a file are compared before memory is taken.

    Raises:
        UserError: it would be larger than any memory.
    """
    try:
        with torch.device("meta"):
            return make()
    except (MemoryError, RuntimeError) as error:
        if (found := too_large(error)) is None:
            raise
        raise UserError(f"published weights do not fit: {found.what}") from None


def filled(make: Callable[[], M], ours: Mapping[str, Tensor]) -> M:
    """Build a module and load weights into it: all of its weights, nothing else, each in its shape; in eval mode.

    Natural frequencies, the norm of the stimulus and single numbers may have another shape of the same size.

    Raises:
        UserError: weights are missing, left over, of another shape or no floating-point numbers.
    """
    wanted = weightless(make).state_dict()
    missing, extra = sorted(set(wanted) - set(ours)), sorted(set(ours) - set(wanted))
    if missing or extra:
        raise UserError(f"published weights do not fit: missing {missing[:3]}, left over {extra[:3]}")
    fitting = {}
    for name, value in ours.items():
        if wanted[name].is_floating_point() and value.dtype not in FLOATS:
            raise UserError(f"{name}: holds {value.dtype}; must hold numbers of 16, 32 or 64 bits, not quantised ones")
        reshaped = wanted[name].numel() == 1 or name.endswith("frequencies.vector") or ".norm." in name
        if value.shape != wanted[name].shape and not (reshaped and value.numel() == wanted[name].numel()):
            raise UserError(f"{name}: recorded shape {tuple(value.shape)}, ours {tuple(wanted[name].shape)}")
        fitting[name] = value.reshape(wanted[name].shape)
    module = make()
    module.load_state_dict(fitting)
    return module.eval()
