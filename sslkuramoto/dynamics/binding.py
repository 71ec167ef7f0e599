"""Two objects that are bound by synchrony: coupling within and between them, coherence, and a step size that descends.

The poster "Binding by Oscillatory Dynamics in Neural Architectures for Relational Reasoning" (Veliz, Altabaa and
Lafferty). Each object i has D oscillators of dimension N,

    dx_{i,d} = Omega_d x_{i,d} + Proj(c_{i,d} + sum_d' J_in[d, d'] x_{i,d'} + sum_d' J_out[d, d'] x_{3-i,d'}),

which is the Kuramoto step of :mod:`~sslkuramoto.dynamics.kuramoto` on a grid of two sites, the objects: its channels
are c = D N, its coupling is :class:`PairCoupling`. Shapes: b batch, c channels (c = D N), n oscillator dimension, d
oscillators of an object.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.sphere import norm
from sslkuramoto.randomness import normal


class PairCoupling(nn.Module):
    """J_in within and J_out between two objects, each a matrix of n x n blocks over d and d'; no bias.

    The entries start as normal numbers of standard deviation 0.3 / sqrt(c), small beside drives of length one.

    Args:
        channels: c = D N.
        between: whether there is a J_out; without it the objects do not act on each other.
        symmetric: whether J_in and J_out are the symmetric parts (W + W^T) / 2 of free matrices, so that the coupling
            of all oscillators of both objects is symmetric.

    Source: Veliz, Altabaa and Lafferty, the poster's equation of motion; "energy minimization" for ``symmetric``.
    """

    def __init__(self, channels: int, *, between: bool = True, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.within = nn.Parameter(normal(channels, channels, std=0.3 / channels**0.5))
        self.across = nn.Parameter(normal(channels, channels, std=0.3 / channels**0.5)) if between else None

    def matrices(self) -> tuple[Float[Tensor, "c c"], Float[Tensor, "c c"]]:
        """Return J_in and J_out; zeros for a J_out that is not there."""
        across = torch.zeros_like(self.within) if self.across is None else self.across
        if not self.symmetric:
            return self.within, across
        return (self.within + self.within.T) / 2, (across + across.T) / 2

    def prepared(self, x: Float[Tensor, "b c 2 1"]) -> Callable[[Tensor], Tensor]:
        """Return the product with J as it is now."""
        inner, outer = self.matrices()

        def product(state: Tensor) -> Tensor:
            objects = state.squeeze(3).transpose(1, 2)  # b 2 c
            moved = objects @ inner.T
            if self.across is not None:
                moved = moved + objects.flip(1) @ outer.T
            return moved.transpose(1, 2).unsqueeze(3)

        return product

    def forward(self, x: Float[Tensor, "b c 2 1"]) -> Float[Tensor, "b c 2 1"]:
        """Return J x: J_in times an object plus J_out times the other."""
        return self.prepared(x)(x)


def coherence(x: Float[Tensor, "b c 2 1"], oscillator_dim: int) -> Float[Tensor, "b d"]:
    """Return rho_d = |x_{1,d} + x_{2,d}|, in [0, 2]: 2 in phase, 0 opposed; rho^2 = 2 + 2 <x_{1,d}, x_{2,d}>.

    The gradient at 0 is 0.

    Args:
        x: unit oscillators of two objects.
        oscillator_dim: n.

    Source: Veliz, Altabaa and Lafferty, "relational bottleneck".

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]).T.view(1, 4, 2, 1)  # in phase; at 90 degrees
        >>> coherence(x, 2)
        tensor([[2.0000, 1.4142]])
    """
    return norm(x.sum(dim=2, keepdim=True), oscillator_dim).flatten(1)


def descending_step(
    coupling: PairCoupling, stimulus: Float[Tensor, "b c 2 1"], oscillator_dim: int
) -> Float[Tensor, " b"]:
    """Return the largest step size for which it is known that no step raises the energy of a symmetric coupling.

    It is gamma with gamma (max_i (sum_j |J_ij| + |c_i|) + max(0, -lambda_min(J))) = 2, over all oscillators i of both
    objects, |J_ij| the spectral norm of a block. The state does not enter. J has the eigenvalues of J_in + J_out and of
    J_in - J_out.

    Args:
        coupling: symmetric.
        stimulus: c.
        oscillator_dim: n.

    Returns:
        One step size per pair.

    Source: docs/methods/kuramoto.md (energy in discrete time).
    """
    inner, outer = coupling.matrices()
    n, count = oscillator_dim, len(inner) // oscillator_dim
    blocks = torch.stack([inner, outer]).view(2, count, n, count, n).transpose(2, 3)
    pull = torch.linalg.matrix_norm(blocks, ord=2).sum(dim=(0, 2))  # d
    longest = (pull[:, None, None] + norm(stimulus, n)).flatten(1).amax(dim=1)
    lowest = torch.stack([torch.linalg.eigvalsh(inner + sign * outer)[0] for sign in (1, -1)]).min()
    return 2 / (longest + (-lowest).clamp_min(0))
