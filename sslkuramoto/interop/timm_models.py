"""AKOrN as a model of timm: ``import sslkuramoto.interop.timm_models`` registers ``sslkuramoto_akorn``.

timm looks for no entry points of other packages, so this import is the registration.

Wightman 2019, PyTorch Image Models. Shapes: b batch, y x pixels, d features, h w grid, q classes.
"""

from typing import Any, cast

import timm
import torch
import torch.distributed
from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from sslkuramoto.encoders import ENCODERS, Encoder
from sslkuramoto.errors import UserError
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Part

ARCHITECTURES = {"akorn": "sslkuramoto_akorn"}  # encoder -> the name that timm knows it by
_POOLS = ("avg", "")


class TimmAkorn(nn.Module):
    """AKOrN with timm's interface.

    In eval mode every image starts from one field of oscillators drawn from ``field_seed``, so that equal images give
    equal outputs; that is the mode "fixed" of :class:`~sslkuramoto.classifier.Classifier`. In training mode each
    forward pass draws new ones, from a generator of its own in each process.

    Args:
        num_classes: q; 0 for features.
        in_chans: 3.
        global_pool: ``"avg"``, or ``""`` for the map itself (then ``num_classes`` must be 0).
        drop_rate: dropout before the classifier, in [0,1).
        field_seed: of the field in eval mode and of the draws in training mode.
        options: of the encoder, as recipes write them (``channels``, ``kernel_sizes``, ...).

    Raises:
        UserError: a value out of range.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        field_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__()
        if in_chans != 3:
            raise UserError(f"in_chans={in_chans}: the encoder reads 3 channels")
        self.encoder: Encoder = ENCODERS.build("akorn", options)
        self.num_features = self.head_hidden_size = self.encoder.num_features
        self.field_seed = field_seed
        self.drop = nn.Dropout(drop_rate)
        self._draws: dict[torch.device, torch.Generator] = {}
        self.reset_classifier(num_classes, global_pool)
        self.register_load_state_dict_pre_hook(_accept_encoder_file)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new linear classifier in place of the old one.

        Args:
            num_classes: q; 0 for features.
            global_pool: another pooling, None to keep it.
        """
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in _POOLS or (pool == "" and num_classes):
            raise UserError(f"global_pool={pool!r}: must be 'avg', or '' with num_classes=0")
        self.global_pool, self.num_classes = pool, num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.head

    def forward_features(self, x: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b d h w"]:
        """Return the last map of images with pixels in [0,1]."""
        if not self.encoder.stochastic:
            return self.encoder(x).map
        if self.training:
            return self.encoder(x, draw=self._draw(x.device)).map
        field = self.encoder.sample_initial(x[:1], generator(x.device, self.field_seed, "fixed", 0))
        return self.encoder(x, initial=field).map

    def forward_head(self, x: Float[Tensor, "b d h w"], pre_logits: bool = False) -> Tensor:
        """Pool a map and classify it.

        Args:
            x: of :meth:`forward_features`.
            pre_logits: return the pooled features.
        """
        x = x.mean(dim=(2, 3)) if self.global_pool else x
        return x if pre_logits else self.head(self.drop(x))

    def forward(self, x: Float[Tensor, "b 3 y x"]) -> Tensor:
        """Return logits "b q", or features where there is no classifier."""
        return self.forward_head(self.forward_features(x))

    def _draw(self, device: torch.device) -> torch.Generator:
        if device not in self._draws:
            rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
            self._draws[device] = generator(device, self.field_seed, "timm training", rank)
        return self._draws[device]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the generators out of copies: torch cannot copy them, and a copy draws from its own."""
        return {**self.__dict__, "_draws": {}}


def _accept_encoder_file(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let the file of an encoder load, whose weights are not named ``encoder.``."""
    if not any(name.startswith(f"{prefix}encoder.") for name in state):
        for name in [name for name in state if name.startswith(prefix)]:
            state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)


def _cfg(size: int, num_classes: int) -> dict[str, Any]:
    """Return timm's description of the input: pixels stay in [0,1], the encoder normalises them itself."""
    return {
        "input_size": (3, size, size),
        "num_classes": num_classes,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "first_conv": "encoder.stem",
        "classifier": "head",
    }


default_cfgs = generate_default_cfgs({ARCHITECTURES["akorn"]: _cfg(32, 1000)})


@register_model
def sslkuramoto_akorn(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """AKOrN (Miyato et al. 2025, arXiv 2410.13821) with the options of the encoder ``akorn``."""
    return cast(nn.Module, build_model_with_cfg(TimmAkorn, "sslkuramoto_akorn", pretrained, **kwargs))


def create(name: str, **arguments: Any) -> Any:
    """Return a model that timm builds, those of this module among them."""
    return timm.create_model(name, **arguments)


def timm_config(section: Part, encoder: Encoder, head: nn.Module | None, size: int) -> dict[str, Any]:
    """Return the keys by which timm rebuilds a model from a folder; none for an encoder that is not registered.

    Args:
        section: the recipe section of the encoder.
        encoder, head: the networks.
        size: side of the images in pixels.
    """
    if section.name not in ARCHITECTURES:
        return {}
    num_classes = 0 if head is None else cast(int, head.out_features)
    return {
        "architecture": ARCHITECTURES[section.name],
        "num_classes": num_classes,
        "num_features": encoder.num_features,
        "global_pool": "avg",
        "model_args": dict(section.options),
        "pretrained_cfg": _cfg(size, num_classes),
    }
