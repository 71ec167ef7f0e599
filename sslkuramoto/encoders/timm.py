"""Any network of timm as an encoder: the baselines, trained and attacked alike.

Wightman 2019, PyTorch Image Models. Shapes: b batch, y x pixels, d features, h w grid.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError, one_line, unknown
from sslkuramoto.values import small

FROM_ELSEWHERE = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
"""Arguments of timm by which it reads files, or loads code from a model hub."""


@small(model="test_resnet", small_stem=False)
class TimmEncoder(Encoder):
    """A network of timm without its classifier.

    Args:
        model: name in timm's registry, for example ``"resnet18"``.
        pretrained: load published weights (needs the network or timm's cache).
        small_stem: replace a ResNet's 7x7 stride-2 stem and max pooling by one 3x3 stride-1 convolution, as is usual
            for images of 32 pixels and less.
        normalisation: ``"half"`` maps pixels by (x - 1/2) / (1/2), as AKOrN does; ``"imagenet"`` uses ImageNet's mean
            and standard deviation (for published weights).
        arguments: further keyword arguments of ``timm.create_model``. ``checkpoint_path`` is read as weights only: a
            pickle that holds anything else is refused. ``pretrained_cfg`` and its like, which name files and code, are
            no arguments here.

    Raises:
        UserError: no such model (the error lists the nearest names), arguments it does not take, weights that cannot be
            had, or a stem that cannot be replaced.

    Differs: a few networks have a hidden layer after pooling (MobileNetV3); their pooled features are its output, and
        have another length than the map has channels.
    """

    def __init__(
        self,
        *,
        model: str,
        pretrained: bool = False,
        small_stem: bool = False,
        normalisation: Literal["half", "imagenet"] = "half",
        arguments: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        import timm
        from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        if not timm.is_model(model):
            names = timm.list_models()
            raise unknown("timm model", model, get_close_matches(model, names, n=5, cutoff=0.3) or names[:5])
        given = dict(arguments or {})
        if refused := sorted(FROM_ELSEWHERE & given.keys()):
            raise UserError(f"arguments.{refused[0]}: names files or code; only checkpoint_path may, a file of weights")
        checkpoint = given.pop("checkpoint_path", None)
        try:
            self.network: Any = timm.create_model(model, pretrained=pretrained, num_classes=0, **given)
        except (TypeError, ValueError, AssertionError, LookupError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(f"model={model}, pretrained={pretrained}, arguments={arguments or {}}: {reason}") from None
        if checkpoint is not None:
            _load(self.network, checkpoint)
        if small_stem:
            conv1, maxpool = getattr(self.network, "conv1", None), getattr(self.network, "maxpool", None)
            if not isinstance(conv1, nn.Conv2d) or maxpool is None:
                raise UserError(f"small_stem=true: {model} has no plain ResNet stem (conv1, maxpool) to replace")
            self.network.conv1 = nn.Conv2d(3, conv1.out_channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(self.network.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.network.maxpool = nn.Identity()
        self.num_features = getattr(self.network, "head_hidden_size", None) or self.network.num_features
        mean, std = {"half": ((0.5,) * 3, (0.5,) * 3), "imagenet": (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)}[
            normalisation
        ]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @classmethod
    def rebuilt(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options without published weights and without a file of weights."""
        arguments = options.get("arguments")
        if isinstance(arguments, Mapping):
            arguments = {key: value for key, value in arguments.items() if key != "checkpoint_path"}
        return {**options, "pretrained": False, "arguments": arguments}

    def forward(
        self,
        images: Float[Tensor, "b 3 y x"],
        *,
        initial: Tensor | None = None,
        draw: torch.Generator | None = None,
        trace: bool = False,
    ) -> Features:
        """Encode images; ``draw`` and ``trace`` have no effect, a network without dynamics takes no ``initial``."""
        if initial is not None:
            raise UserError("initial: this encoder has no oscillators")
        try:
            grid = self.network.forward_features((images - self.mean) / self.std)
        except AssertionError as error:  # timm's networks of a fixed size assert it
            side = f"{images.shape[2]} x {images.shape[3]}"
            raise UserError(f"images of {side} pixels: {error}; set data.size or arguments.img_size") from None
        pooled = self.network.forward_head(grid, pre_logits=True)
        return Features(pooled, _as_map(grid, channels_last=getattr(self.network, "output_fmt", None) == "NHWC"))


def _load(network: nn.Module, path: str) -> None:
    """Load a file of weights; nothing of it is run."""
    from timm.models import load_checkpoint

    if not Path(path).is_file():
        raise UserError(f"arguments.checkpoint_path={path}: no such file")
    try:
        load_checkpoint(network, path, strict=False, weights_only=True)
    except Exception as error:  # damaged files, pickles with more than weights, weights of another network
        raise UserError(f"arguments.checkpoint_path={path}: cannot be loaded as weights: {one_line(error)}") from None


def _as_map(grid: Tensor, *, channels_last: bool) -> Tensor:
    """Bring tokens "b s d" and channels-last maps to "b d h w" (tokens become a single row)."""
    if grid.ndim == 3:
        return grid.transpose(1, 2).unsqueeze(2)
    return grid.permute(0, 3, 1, 2) if channels_last else grid
