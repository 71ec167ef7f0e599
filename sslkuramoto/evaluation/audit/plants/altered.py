"""What plants are made of: a head whose answers are changed, an encoder whose pixels or features are changed.

Shapes: b batch, c channels, h w grid, y x pixels, i states (b or 1), d features, q classes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.dynamics.layer import Trace
from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError

Planted = tuple[Encoder, nn.Module]
"""Encoder and head of a network with a plant."""
Images = Float[Tensor, "b 3 y x"]


class AlteredHead(nn.Module):
    """A head whose logits are changed.

    Args:
        head: the network's own.
        change: of its logits.
    """

    def __init__(self, head: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.head, self.change = head, change

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b q"]:
        """Return changed logits."""
        return self.change(self.head(features))


class AlteredEncoder(Encoder):
    """An encoder that sees changed pixels, or whose features are changed. It draws no more than the encoder inside.

    Args:
        encoder: the network's own.
        pixels: changes the images.
        features: changes what the encoder returns.
        each_alone: whether what becomes of an image depends on nothing but that image.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        pixels: Callable[[Tensor], Tensor] = lambda images: images,
        features: Callable[[Features], Features] = lambda found: found,
        each_alone: bool = True,
    ) -> None:
        super().__init__()
        self.encoder, self.pixels, self.features = encoder, pixels, features
        self.num_features, self.gives = encoder.num_features, encoder.gives
        self.stochastic, self.initial = encoder.stochastic, encoder.initial
        self.draws_share_passes = encoder.draws_share_passes and each_alone

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
    ) -> Features:
        """Encode; see :meth:`Encoder.forward`."""
        return self.features(self.encoder(self.pixels(images), initial=initial, draw=draw, trace=trace))

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw what the encoder inside draws."""
        return self.encoder.sample_initial(images, draw)


class DrawingEncoder(Encoder):
    """An encoder whose pixels or features are changed at random, anew at every forward pass.

    Its initial state is the noise, channels of standard normal numbers, followed by the initial state of the wrapped
    encoder if that is stochastic. The noise can therefore be fixed or held like oscillators.

    Args:
        encoder: the network's own.
        name: of the plant, for errors.
        channels: how many channels of noise are drawn for such images.
        pixels: (images, noise) -> changed images.
        features: (features, noise) -> changed features.
    """

    stochastic = True

    def __init__(
        self,
        encoder: Encoder,
        name: str,
        channels: Callable[[Tensor], int],
        *,
        pixels: Callable[[Tensor, Tensor], Tensor] = lambda images, noise: images,
        features: Callable[[Features, Tensor], Features] = lambda found, noise: found,
    ) -> None:
        super().__init__()
        self.encoder, self.name, self.channels = encoder, name, channels
        self.pixels, self.features = pixels, features
        self.num_features, self.gives = encoder.num_features, encoder.gives
        self.draws_share_passes = encoder.draws_share_passes

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Float[Tensor, "i c h w"] | None = None,
        draw: torch.Generator | None = None,
        trace: Trace = False,
    ) -> Features:
        """Encode with noise; see :meth:`Encoder.forward`."""
        if initial is None:
            if draw is None:
                raise UserError("a stochastic encoder needs draw= (a torch.Generator) or initial= (noise)")
            initial = self.sample_initial(images, draw)
        own = self.channels(images)
        noise, inner = initial[:, :own].to(images.device), initial[:, own:].to(images.device)
        changed = self.pixels(images, noise)
        if self.encoder.stochastic:
            return self.features(self.encoder(changed, initial=inner, trace=trace), noise)
        return self.features(self.encoder(changed, trace=trace), noise)

    def sample_initial(self, images: Float[Tensor, "b 3 y x"], draw: torch.Generator) -> Float[Tensor, "b c h w"]:
        """Draw the noise of each image, and what the encoder inside draws.

        Raises:
            UserError: the initial states of the wrapped encoder do not have the height and width of the image.
        """
        shape = (len(images), self.channels(images), *images.shape[2:])
        noise = torch.randn(shape, generator=draw, device=draw.device)
        if not self.encoder.stochastic:
            return noise
        inner = self.encoder.sample_initial(images, draw)
        if inner.shape[2:] != noise.shape[2:]:
            raise UserError(
                f"plant={self.name}: the encoder's initial states must have the height and width of the images"
            )
        return torch.cat([noise, inner], dim=1)


def uniform(noise: Tensor) -> Tensor:
    """Return standard normal numbers as uniform ones in [0,1]."""
    return torch.special.ndtr(noise)
