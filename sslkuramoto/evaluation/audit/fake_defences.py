"""Four fake defences that only mask gradients: an audit must expose them.

Each masks the gradient differently, and none makes the network more robust. Rounded logits have zero gradients.
Detached logits have no autograd graph (as behind a median filter or a JPEG codec outside torch). Large logits saturate
the cross entropy in float32. Noise on the input makes the gradient of a single draw unreliable. See Athalye, Carlini
and Wagner 2018 (1802.00420) on shattered, vanishing and stochastic gradients, and Carlini and Wagner 2017 (1608.04644,
section V) on the large logits of defensive distillation.

Shapes: b batch, c channels, h w grid, y x pixels, d features, q classes.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError

Plant = Literal["quantised", "detached", "scaled", "noisy"]
STEP = 0.5  # of rounded logits: fine enough not to change the clean accuracy
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
    """The same logits without an autograd graph to the image."""

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

    Its initial state is the noise, three channels of standard normal numbers, followed by the initial state of the
    wrapped encoder if that is stochastic. The noise can therefore be fixed or held like oscillators.
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
            UserError: the initial states of the wrapped encoder do not have the height and width of the image.
        """
        noise = torch.randn(images.shape, generator=draw, device=draw.device)
        if not self.encoder.stochastic:
            return noise
        inner = self.encoder.sample_initial(images, draw)
        if inner.shape[2:] != noise.shape[2:]:
            raise UserError("plant=noisy: the encoder's initial states must have the height and width of the images")
        return torch.cat([noise, inner], dim=1)


def planted(plant: Plant | None, encoder: Encoder, head: nn.Module) -> tuple[Encoder, nn.Module]:
    """Return encoder and head with a fake defence added (None: unchanged); weights are shared, not copied."""
    if plant == "quantised":
        return encoder, QuantisedHead(head)
    if plant == "detached":
        return encoder, DetachedHead(head)
    if plant == "scaled":
        return encoder, ScaledHead(head)
    return (NoisyEncoder(encoder) if plant == "noisy" else encoder), head
