"""AugMix (Hendrycks et al. 2019, arXiv:1912.02781) of a whole batch; equals ``torchvision.transforms.AugMix``.

An image is mixed with several copies of itself. Each copy has passed a short chain of random operations:

    m ~ Beta(alpha, alpha),  w ~ Dirichlet(alpha, ..., alpha),  out = m image + (1 - m) sum_i w_i chain_i(image)

Differs: as in torchvision, magnitudes are bins of AutoAugment's ranges and not uniform numbers. The four operations
that resemble corruptions of CIFAR-10-C (brightness, colour, contrast, sharpness) are included unless
``all_ops=False``. There is no Jensen-Shannon loss.

Shapes: b batch, k chains, t operations per chain, y x pixels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.distributions import Beta, Dirichlet

from sslkuramoto.views.eight_bit import WHITE, apply_operations

BINS = 10
LONGEST_CHAIN = 3
CORRUPTIONS = ("Brightness", "Color", "Contrast", "Sharpness")


def magnitudes(size: int) -> dict[str, tuple[Float[Tensor, "10"], bool]]:
    """Return for each operation its ten magnitudes, weakest first, and whether their sign is random.

    Units: slope for shears, pixels for translations, degrees for rotations, bits kept for posterize, the lowest level
    that is inverted for solarize, change of a factor for the last four. AutoContrast and Equalize have no magnitude.

    Args:
        size: side of the images in pixels.
    """
    none = torch.zeros(BINS)
    return {
        "ShearX": (torch.linspace(0.0, 0.3, BINS), True),
        "ShearY": (torch.linspace(0.0, 0.3, BINS), True),
        "TranslateX": (torch.linspace(0.0, size / 3.0, BINS), True),
        "TranslateY": (torch.linspace(0.0, size / 3.0, BINS), True),
        "Rotate": (torch.linspace(0.0, 30.0, BINS), True),
        "Posterize": (4.0 - (torch.arange(BINS) / ((BINS - 1) / 4)).round(), False),
        "Solarize": (torch.linspace(255.0, 0.0, BINS), False),
        "AutoContrast": (none, False),
        "Equalize": (none, False),
        **{name: (torch.linspace(0.0, 0.9, BINS), True) for name in CORRUPTIONS},
    }


class Mixture(NamedTuple):
    """The random parameters of a batch, on the CPU.

    Attributes:
        operation: index of each operation in :attr:`AugMix.operations`.
        magnitude: its magnitude with sign, float64.
        active: whether the operation is applied; False past the end of a chain.
        own_weight: m, weight of the image itself.
        chain_weights: (1 - m) w, weights of the chains.
    """

    operation: Int[Tensor, "k b t"]
    magnitude: Float[Tensor, "k b t"]
    active: Bool[Tensor, "k b t"]
    own_weight: Float[Tensor, "b"]
    chain_weights: Float[Tensor, "k b"]


class AugMix(nn.Module):
    """Mix each image with copies of itself that passed random chains of operations.

    Args:
        size: side of the images in pixels.
        severity: magnitudes are drawn from this many of the ten bins, weakest first, 1..10.
        mixture_width: k, number of chains, >= 1.
        chain_depth: operations per chain, >= 1; -1 draws 1, 2 or 3 for each chain.
        alpha: parameter of the Beta and Dirichlet distributions, > 0.
        all_ops: whether brightness, colour, contrast and sharpness are among the operations.

    Source: Hendrycks et al. 2019 (arXiv:1912.02781).
    """

    def __init__(
        self,
        size: int,
        *,
        severity: int = 3,
        mixture_width: int = 3,
        chain_depth: int = -1,
        alpha: float = 1.0,
        all_ops: bool = True,
    ) -> None:
        super().__init__()
        table = magnitudes(size)
        self.size = size
        self.operations = tuple(name for name in table if all_ops or name not in CORRUPTIONS)
        self.severity = severity
        self.mixture_width = mixture_width
        self.chain_depth = chain_depth
        self.alpha = alpha
        self._magnitudes = torch.stack([table[name][0] for name in self.operations]).double()
        self._signed = torch.tensor([table[name][1] for name in self.operations])

    def mixture_for(self, count: int) -> Mixture:
        """Draw the parameters of ``count`` images from torch's global generator (see :class:`ViewPolicy`)."""
        longest = self.chain_depth if self.chain_depth > 0 else LONGEST_CHAIN
        shape = (self.mixture_width, count, longest)
        if self.chain_depth > 0:
            active = torch.ones(shape, dtype=torch.bool)
        else:
            active = torch.arange(longest) < torch.randint(1, longest + 1, shape[:2])[..., None]
        operation = torch.randint(len(self.operations), shape)
        magnitude = self._magnitudes[operation, torch.randint(self.severity, shape)]
        negative = self._signed[operation] & (torch.rand(shape) < 0.5)
        alpha = torch.tensor(self.alpha)
        own = Beta(alpha, alpha).sample((count,))
        chains = Dirichlet(alpha.expand(self.mixture_width)).sample((count,)).T
        return Mixture(operation, torch.where(negative, -magnitude, magnitude), active, own, (1.0 - own) * chains)

    def mix(self, images: Float[Tensor, "b 3 y x"], drawn: Mixture) -> Float[Tensor, "b 3 y x"]:
        """Return the mixtures of ``images``, pixels in [0, 1], with parameters ``drawn``, rounded down to 8 bits."""
        device = images.device
        levels = (images * WHITE).round().to(torch.uint8)
        # All chains of all images form one batch. At each position an operation is one call on the images that drew it.
        chains = levels.repeat(self.mixture_width, 1, 1, 1)
        for step in range(drawn.operation.shape[2]):
            drawn_here = (drawn.operation[..., step], drawn.magnitude[..., step], drawn.active[..., step])
            apply_operations(chains, self.operations, *(values.flatten() for values in drawn_here))
        copies = chains.view(self.mixture_width, *levels.shape)
        own = drawn.own_weight.to(device, non_blocking=True)
        weights = drawn.chain_weights.to(device, non_blocking=True)
        mixed = own[:, None, None, None] * levels
        for copy, weight in zip(copies, weights, strict=True):
            mixed += weight[:, None, None, None] * copy
        return mixed.clamp(0, WHITE).floor() / WHITE

    def forward(self, images: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b 3 y x"]:
        return self.mix(images, self.mixture_for(len(images)))

    def extra_repr(self) -> str:
        keys = ("severity", "mixture_width", "chain_depth", "alpha")
        return ", ".join(f"{key}={getattr(self, key)}" for key in keys) + f", {len(self.operations)} operations"
