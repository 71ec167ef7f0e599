"""The energy of a set of oscillators, as the paper defines it and as the published code logs it.

Miyato et al. 2025 (AKOrN), Eq. 3. J x includes the biases of the coupling, c comes after its norm.
Shapes: b batch, c channels, h w grid.
"""

from jaxtyping import Float
from torch import Tensor


def energy(
    x: Float[Tensor, "b c h w"], coupled: Float[Tensor, "b c h w"], stimulus: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b"]:
    """Return E = -1/2 sum_i <x_i, (J x)_i> - sum_i <x_i, c_i>; ``coupled`` is J x, ``stimulus`` is c."""
    return -(x * (0.5 * coupled + stimulus)).sum(dim=(1, 2, 3))


def energy_code(
    x: Float[Tensor, "b c h w"], coupled: Float[Tensor, "b c h w"], stimulus: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b"]:
    """Return -sum_i <x_i, (J x)_i + c_i>, what the published code logs: no factor 1/2."""
    return -(x * (coupled + stimulus)).sum(dim=(1, 2, 3))
