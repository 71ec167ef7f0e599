"""Four defences that do nothing but look robust: what an audit of robustness must expose.

Each hides the gradient in a way of its own, none makes the network harder to fool: rounded outputs have no gradient, a
detached one has not even a graph (as behind a median filter or a JPEG outside torch), large logits saturate the cross
entropy in float32, and noise at the input blurs what an attacker who draws once sees
(Athalye, Carlini and Wagner 2018, 1802.00420: "shattered", "vanishing" and "stochastic" gradients; Carlini and Wagner
2017, 1608.04644, section V, for the large logits of defensive distillation).

Shapes: b batch, c channels, h w grid, y x pixels, d features, q classes.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError

Plant = Literal["quantised", "detached", "scaled", "noisy"]
STEP = 0.5  # of rounded logits: fine enough to leave the clean accuracy alone
FACTOR = 1e4  # softmax of such logits is exactly 0 or 1 in float32
SIGMA = 0.6  # of the noise, pixels in [0,1]


class QuantisedHead(nn.Module):
    """Logits rounded to multiples of a step: their gradient is exactly zero, everywhere."""

    def __init__(self, head: nn.Module, step: float = STEP) -> None:
        super().__init__()
        self.head, self.step = head, step

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b q"]:
        """Return rounded logits."""
        return (self.head(features) / self.step).round() * self.step


class DetachedHead(nn.Module):
    """The same logits, and no graph that leads back to the image."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    @torch.no_grad()
    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b q"]:
        """Return logits that require no gradient."""
        return self.head(features)


class ScaledHead(nn.Module):
    """Logits times a large factor: the same classes, and a cross entropy without gradient."""

    def __init__(self, head: nn.Module, factor: float = FACTOR) -> None:
        super().__init__()
        self.head, self.factor = head, factor

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b q"]:
        """Return scaled logits."""
        return self.head(features) * self.factor


class NoisyEncoder(Encoder):
    """Gaussian noise on the pixels, new at every forward pass.

    Its initial state is the noise, three channels of standard normal numbers, with the states of a stochastic encoder
    inside behind them; so the noise can be fixed or held like oscillators.
    """

    stochastic = True

    def __init__(self, encoder: Encoder, sigma: float = SIGMA) -> None:
        super().__init__()
        self.encoder, self.sigma = encoder, sigma
        self.num_features = encoder.num_features

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Encode noisy images; see :meth:`Encoder.forward`."""
        if initial is None:
            if draw is None:
                raise UserError("a stochastic encoder needs draw= (a torch.Generator) or initial= (noise)")
            initial = self.sample_initial(images, draw)
        noisy = images + self.sigma * initial[:, :3].to(images.device)
        if not self.encoder.stochastic:
            return self.encoder(noisy, trace=trace)
        return self.encoder(noisy, initial=initial[:, 3:].to(images.device), trace=trace)

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw the noise of each image, and what the encoder inside draws.

        Raises:
            UserError: that is not on the grid of the pixels.
        """
        noise = torch.randn(images.shape, generator=draw, device=draw.device)
        if not self.encoder.stochastic:
            return noise
        inner = self.encoder.sample_initial(images, draw)
        if inner.shape[2:] != noise.shape[2:]:
            raise UserError("plant=noisy: the encoder's initial states do not lie on the grid of the pixels")
        return torch.cat([noise, inner], dim=1)


def planted(plant: Plant | None, encoder: Encoder, head: nn.Module) -> tuple[Encoder, nn.Module]:
    """Return encoder and head with a defence planted in them (None: as they are); weights are shared, not copied."""
    if plant == "quantised":
        return encoder, QuantisedHead(head)
    if plant == "detached":
        return encoder, DetachedHead(head)
    if plant == "scaled":
        return encoder, ScaledHead(head)
    return (NoisyEncoder(encoder) if plant == "noisy" else encoder), head
