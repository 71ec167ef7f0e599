"""Plain transcriptions of the published equations, in float32 and NCHW, with lengths by ``torch.linalg.vector_norm``.

They are the reference of scripts/benchmark.py. Each takes the weights of one of our modules, and is tested to give the
same numbers. Shapes: b batch, c channels, n oscillator dimension, h w grid, e heads, s = h w sites, d channels a head.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sslkuramoto.dynamics.coupling import AttentionCoupling
from sslkuramoto.encoders import AKOrN


def plain_normalise(x: Tensor, n: int) -> Tensor:
    """Return x / |x| for each oscillator."""
    b, c, h, w = x.shape
    oscillators = x.view(b, c // n, n, h, w)
    size = torch.linalg.vector_norm(oscillators, dim=2, keepdim=True).clamp_min(1e-12)
    return (oscillators / size).view(b, c, h, w)


def plain_rotation(x: Tensor, frequency: Tensor) -> Tensor:
    """Return Omega x: each plane (x0, x1) of two channels becomes omega (x1, -x0)."""
    b, c, h, w = x.shape
    planes = x.view(b, c // 2, 2, h, w)
    omega = torch.linalg.vector_norm(frequency, dim=-1).expand(c // 2).view(1, -1, 1, 1)
    return torch.stack([omega * planes[:, :, 1], -omega * planes[:, :, 0]], dim=2).view(b, c, h, w)


def plain_attention(coupling: AttentionCoupling, x: Tensor) -> Tensor:
    """Return J(x) x with the matrix of attention weights written out: softmax(q k^T / sqrt(d)) v."""
    b, c, h, w = x.shape
    heads = coupling.heads

    def turned(name: str, part: Tensor) -> Tensor:
        if name not in coupling.rotations:
            return part
        matrices = coupling.rotations[name].matrices  # s d/2 2 2, made for this grid
        return torch.einsum("spij,bespj->bespi", matrices, part.unflatten(3, (-1, 2))).flatten(3)

    query, key, value = (
        part.view(b, c // heads, heads, h * w).permute(0, 2, 3, 1) for part in coupling.to_qkv(x).chunk(3, dim=1)
    )  # each b e s d
    query, key, value = (turned(name, part) for name, part in (("query", query), ("key", key), ("value", value)))
    weights = torch.softmax(query @ key.transpose(2, 3) / (c // heads) ** 0.5, dim=-1)
    mixed = turned("output", weights @ value)
    return coupling.to_out(mixed.permute(0, 3, 1, 2).reshape(b, c, h, w))


def plain_step(layer: Any, x: Tensor, c: Tensor | None, gamma: Tensor) -> Tensor:
    """Return x after one Kuramoto step of a layer with the stimulus c and the step size gamma."""
    n = layer.oscillator_dim
    shape = x.shape
    y = plain_attention(layer.coupling, x) if isinstance(layer.coupling, AttentionCoupling) else layer.coupling(x)
    y = y if c is None else y + c
    split = (shape[0], shape[1] // n, n, *shape[2:])
    if layer.project:
        x_n, y_n = x.view(split), y.view(split)
        y = (y_n - torch.sum(x_n * y_n, dim=2, keepdim=True) * x_n).view(shape)
    if layer.frequencies is not None:
        y = plain_rotation(x, layer.frequencies.vector) + y
    elif layer.identity:
        y = x + y
    return plain_normalise(x + gamma * y, n)


class PlainAKOrN(nn.Module):
    """AKOrN's classification network in plain operations, with the weights of one of our encoders.

    Convolutions, GroupNorm and g are copies of the encoder's modules. The Kuramoto step, attention and the norm of the
    readout are transcribed from Miyato et al. 2025 (arXiv 2410.13821), Eq. 2, 4-6 and 8.
    """

    def __init__(self, encoder: AKOrN) -> None:
        super().__init__()
        self.weights = copy.deepcopy(encoder)

    def forward(self, images: Tensor, initial: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return pooled features and the states of each layer after every step."""
        net = self.weights
        x, c = initial, net.stem((images - 0.5) / 0.5)
        states = []
        blocks: list[tuple[Any, Any]] = list(zip(net.layers, net.readouts, strict=True))
        for index, (layer, readout) in enumerate(blocks):
            if index:
                move = net.transitions[index - 1]
                x, c = move(x), move(c)
            x, c = plain_normalise(x, layer.oscillator_dim), layer.norm(c)
            for _ in range(net.num_steps[index]):
                x = plain_step(layer, x, c, net.step_size)
                states.append(x)
            vectors, g = readout
            m = torch.linalg.vector_norm(vectors.project(x).unflatten(1, (-1, vectors.dim)), dim=2)
            c = g(m + vectors.offset.view(1, -1, 1, 1))
        return c.mean(dim=(2, 3)), states
