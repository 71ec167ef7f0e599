"""The energy of a set of oscillators: as the paper defines it, and as the published code logs it.

Miyato et al. 2025 (AKOrN, arXiv 2410.13821), Eq. 3. J x includes the biases of the coupling; c is the stimulus after
its normalisation. Shapes: b batch, c channels, h w grid.
"""

from jaxtyping import Float
from torch import Tensor


def energy(
    x: Float[Tensor, "b c h w"], coupled: Float[Tensor, "b c h w"], stimulus: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b"]:
    """Return the energy of each example, E = -1/2 sum_i <x_i, (J x)_i> - sum_i <x_i, c_i>.

    For a symmetric J without natural frequencies, small steps never raise it.

    Args:
        x: unit oscillators.
        coupled: J x, the output of a coupling.
        stimulus: c, zeros where there is none.

    Returns:
        One number per example, shape "b".

    Source: Miyato et al. 2025 (arXiv 2410.13821), Eq. 3.

    Example:
        Two oscillators, coupled by J_12 = J_21 = 1. The energy is lowest when they are in phase.

        >>> import torch
        >>> x = torch.tensor([1.0, 0.0, 1.0, 0.0]).view(1, 4, 1, 1)
        >>> swap = [2, 3, 0, 1]
        >>> energy(x, x[:, swap], torch.zeros_like(x))
        tensor([-1.])
        >>> opposed = x * torch.tensor([1.0, 1.0, -1.0, -1.0]).view(1, 4, 1, 1)
        >>> energy(opposed, opposed[:, swap], torch.zeros_like(x))
        tensor([1.])
    """
    return -(x * (0.5 * coupled + stimulus)).sum(dim=(1, 2, 3))


def energy_code(
    x: Float[Tensor, "b c h w"], coupled: Float[Tensor, "b c h w"], stimulus: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b"]:
    """Return -sum_i <x_i, (J x)_i + c_i>, the quantity that the published AKOrN code logs as energy.

    Arguments and shape as in :func:`energy`.

    Differs: Eq. 3 has a factor 1/2 in front of J, this quantity has none.
    """
    return -(x * (coupled + stimulus)).sum(dim=(1, 2, 3))
