"""Networks of timm (ResNet, ViT, ...) as encoders, so that baselines are trained and attacked like AKOrN.

Wightman 2019, PyTorch Image Models. Shapes: b batch, y x pixels, d features, h w grid.
"""

import re
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sslkuramoto.encoders.features import Encoder, Features
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.files import at_home
from sslkuramoto.values import small

FROM_ELSEWHERE = frozenset({"pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"})
"""Arguments of ``timm.create_model`` that name files, or code on a model hub; they are refused."""


@small(model="test_resnet", small_stem=False)
class TimmEncoder(Encoder):
    """A network of timm without its classifier.

    Args:
        model: name of the network in timm, for example ``"resnet18"``.
        pretrained: whether to load published weights (from timm's cache, or by a download).
        small_stem: whether to replace a ResNet's stem, a 7x7 convolution of stride 2 and max pooling, by one 3x3
            convolution of stride 1, as is usual for images of at most 32 pixels.
        normalisation: how pixels are normalised: ``"half"`` is (x - 0.5) / 0.5, as in AKOrN; ``"imagenet"`` uses
            ImageNet's mean and standard deviation, which published weights expect.
        arguments: further keyword arguments of ``timm.create_model``, for example ``{img_size: 32}``. A file given as
            ``checkpoint_path`` is read as weights only; one that holds anything else, or lacks a matrix or kernel of
            the network, is refused (a classifier in it is left out). Arguments that name other files or code
            (``pretrained_cfg``, ``pretrained_cfg_overlay``, ``cache_dir``) are refused.

    Raises:
        UserError: there is no such model (the error lists the nearest names), it does not accept the arguments, the
            weights cannot be loaded, or the stem cannot be replaced.

    Differs: some networks have a hidden layer after pooling (MobileNetV3). Their pooled features are its output, whose
        length is not the number of channels of the map.

    Example:
        >>> import torch
        >>> encoder = TimmEncoder(model="resnet18", small_stem=True).eval()
        >>> features = encoder(torch.rand(2, 3, 32, 32))
        >>> tuple(features.pooled.shape), tuple(features.map.shape)
        ((2, 512), (2, 512, 4, 4))
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
    def pretrained(cls, options: Mapping[str, Any]) -> bool:
        """Return whether weights are published ones or from a file."""
        return bool(options.get("pretrained") or cls.weight_file(options))

    @classmethod
    def weight_file(cls, options: Mapping[str, Any]) -> str | None:
        """Return ``arguments.checkpoint_path``, see :meth:`Encoder.weight_file`."""
        return (options.get("arguments") or {}).get("checkpoint_path")

    @classmethod
    def rebuilt(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options without published weights and without a file of weights, see :meth:`Encoder.rebuilt`."""
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
        """Encode images; see :meth:`Encoder.forward`.

        Args:
            images: pixels in [0, 1].
            initial: must be None, for there are no oscillators.
            draw: has no effect.
            trace: has no effect.

        Raises:
            UserError: ``initial`` is given, or the network does not take images of this size.
        """
        if initial is not None:
            raise UserError("initial: this encoder has no oscillators")
        try:
            grid = self.network.forward_features((images - self.mean) / self.std)
        except AssertionError as error:  # timm's networks of a fixed size assert it
            side = f"{images.shape[2]} x {images.shape[3]}"
            raise UserError(f"images of {side} pixels: {error}; set data.size or encoder.arguments.img_size") from None
        pooled = self.network.forward_head(grid, pre_logits=True)
        return Features(pooled, _as_map(grid, channels_last=getattr(self.network, "output_fmt", None) == "NHWC"))


def _load(network: nn.Module, path: str) -> None:
    """Load a file of weights without running any code that it holds."""
    from timm.models import load_checkpoint

    file = at_home(path)
    if not file.is_file():
        raise UserError(f"arguments.checkpoint_path={path}: no such file")
    try:
        with warnings.catch_warnings():  # of weights for the device "meta", which checks names and shapes only
            warnings.filterwarnings("ignore", "for .* copying from a non-meta parameter")
            keys = load_checkpoint(network, str(file), strict=False, weights_only=True)  # None for numpy's formats
    except Exception as error:  # damaged files, pickles with more than weights, weights of another network
        other = re.search(r"size mismatch for ([\w.]+)", str(error))
        reason = "damaged, or holds more than weights; reading that could run its author's code"
        reason = f"weight {other[1]!r} has another shape in this network" if other else reason
        raise UserError(f"arguments.checkpoint_path={path}: {reason}") from None
    random = [name for name, weight in network.named_parameters() if weight.ndim > 1]  # others start at ones and zeros
    if keys is not None and (missing := sorted({*random} & {*keys.missing_keys}, key=random.index)):
        raise UserError(
            f"arguments.checkpoint_path={path}: lacks {len(missing)} of the {len(random)} matrices and kernels of this"
            f" network, {missing[0]!r} among them: they would stay random"
        )


def _as_map(grid: Tensor, *, channels_last: bool) -> Tensor:
    """Return tokens "b s d" or a channels-last map as "b d h w"; tokens become a single row."""
    if grid.ndim == 3:
        return grid.transpose(1, 2).unsqueeze(2)
    return grid.permute(0, 3, 1, 2) if channels_last else grid
