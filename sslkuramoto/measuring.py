"""Measure a network in memory, by a protocol, on images in memory.

Shapes: n images, y x pixels.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast, get_type_hints

import torch
from jaxtyping import Float, Int64
from omegaconf import OmegaConf
from torch import Tensor, nn

from sslkuramoto.any_network import as_classifier, check_encoder
from sslkuramoto.classifier import Classifier
from sslkuramoto.data.images.image_set import ImageSet, TensorSet
from sslkuramoto.encoders.features import Encoder, buffers_kept, modes_kept
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation import evaluate
from sslkuramoto.evaluation.foreign import features_wanted, subject_from
from sslkuramoto.evaluation.protocol import PROTOCOLS, Loaded, Protocol, Subject
from sslkuramoto.files import at_home, places_told
from sslkuramoto.measured import Measured
from sslkuramoto.model_checks import check_labels, check_pixels, network_device
from sslkuramoto.recipe import override
from sslkuramoto.run_directory import RunDirectory, describe_environment
from sslkuramoto.values import Count, Must, Seed, check_value

Network = nn.Module | Callable[[Tensor], Tensor]
Labelled = tuple[Float[Tensor, "n 3 y x"], Int64[Tensor, " n"]]


class Looks(TypedDict, total=False):
    """How a plain network that returns logits is read.

    Attributes:
        mean, std: of each channel, if the network expects normalised pixels; both or none (None).
        keep_training: leave a network in training mode as it is (False: it is set to eval mode, with a note).
        range_checked: refuse a network that is far better on images of another range than [0,1] (True).
    """

    mean: Any  # a sequence of floats, a tensor or an array, checked where it is used
    std: Any
    keep_training: bool
    range_checked: bool


class Setting(Looks, total=False):
    """What every measurement takes besides its own options, and :class:`Looks`.

    Attributes:
        seed: of every draw (0).
        batch_size: images per forward pass, and per unit of an attack (100).
        folder: where results and the ledger of attacks are saved: a later call continues there. None: a temporary one.
        progress: print a line of progress to stderr at a time (False).
    """

    seed: Seed
    batch_size: Count
    folder: Annotated[str | Path, Must("the name of a folder", lambda folder: bool(str(folder)))] | None
    progress: bool


def check_setting(setting: Setting, who: str) -> Setting:
    """Return what every measurement takes, its names and types checked.

    Raises:
        UserError: an unknown argument, or a value of the wrong type or out of range.
    """
    hints = get_type_hints(Setting, include_extras=True)
    for key in setting:
        if key not in hints:
            raise unknown(f"argument of {who}", key, hints)
    return cast(Setting, {key: check_value(key, value, hints[key]) for key, value in setting.items()})


def stated(key: str, options: object) -> dict[str, Any]:
    """Return options that were given as a mapping, or None for none.

    Raises:
        UserError: something else.
    """
    return {} if options is None else dict(check_value(key, options, Mapping[str, Any]))


@places_told()
@torch.inference_mode(mode=False)  # the caller's inference mode would cut every gradient
def measured_on(
    protocol: str,
    options: dict[str, Any],
    model: Network,
    given: Labelled,
    setting: Setting,
    more: Mapping[str, Labelled] | None = None,
) -> Measured:
    """Measure a network on images; its parts and buffers are as before afterwards.

    Args:
        protocol: registered name.
        options: its options.
        model: the network.
        given: images and labels that are scored.
        setting: see :class:`Setting`.
        more: those of other splits.

    Raises:
        UserError: what is wrong with network, images, options or folder, in one line.
    """
    setting = check_setting(setting, protocol)
    sets = {"test": given, **(more or {})}
    for split, each in sets.items():
        if not isinstance(each, tuple | list) or len(each) != 2:
            raise UserError(f"{split} images: must be a pair (images, labels)")
        check_pixels(each[0])
        check_labels(each[1], len(each[0]))
        if each[0].shape[1:] != given[0].shape[1:]:
            size, wanted = (" x ".join(map(str, part[0].shape[1:])) for part in (each, given))
            raise UserError(f"{split} images of {size}: the scored images are {wanted}")
    size, seed = setting.get("batch_size", 100), setting.get("seed", 0)
    if "chunk" in PROTOCOLS.options(protocol):
        options = options | {"chunk": min(size, len(given[0]))}
    measure = PROTOCOLS.build(protocol, options)
    owner = tempfile.TemporaryDirectory(prefix="sslkuramoto-")
    own = [model] if isinstance(model, nn.Module) else []
    with modes_kept(*own), buffers_kept(*own):
        ready, count = _ready(measure, model, sets, setting)
        names = tuple(map(str, range(count)))
        held = {split: TensorSet(each[0], each[1].long().cpu(), names, split) for split, each in sets.items()}

        def data(split: str) -> ImageSet:
            if split not in held:
                raise UserError(f"{protocol} needs the split {split!r}; images were given for {', '.join(held)}")
            return held[split]

        folder = at_home(setting.get("folder") or owner.name)
        about = {"model": type(model).__name__, "data": {"test": held["test"].fingerprint}}  # others: of one result
        device = network_device(ready, given[0].device)
        subject = subject_from(ready, data, folder, about, seed=seed, batch_size=size, device=device)
        if setting.get("progress"):
            subject.report = lambda line: print(line, file=sys.stderr, flush=True)
        return written(subject, Loaded(protocol, protocol, measure.options, measure), owner)


def _ready(
    measure: Protocol, model: Network, sets: Mapping[str, Labelled], setting: Setting
) -> tuple[Classifier | Encoder, int]:
    """Return what a protocol measures of a network, checked, and the number of classes."""
    images, labels = sets["test"]
    looks: Looks = {key: setting[key] for key in Looks.__annotations__ if key in setting}  # pyright: ignore
    if "head" in measure.needs:
        classifier = as_classifier(model, images, labels, seed=setting.get("seed", 0), **looks)
        return classifier, cast(int, classifier.head.out_features)
    if looks:
        raise UserError(
            f"{next(iter(looks))}: is for networks that return logits; give it to as_encoder(network, images)"
        )
    encoder = encoder_of(model, measure.name).eval()
    check_encoder(encoder, images)
    return encoder, 1 + max(int(classes.max()) for _, classes in sets.values())


def encoder_of(network: Network, who: str) -> Encoder:
    """Return what gives the features of a network.

    Raises:
        UserError: nothing does.
    """
    found = network.encoder if isinstance(network, Classifier) else network
    if not isinstance(found, Encoder) or found.gives == "logits":
        raise UserError(f"{who} needs {features_wanted(type(network).__name__)}")
    return found


def usable_device(device: str, key: str = "device") -> torch.device:
    """Return a device by its name.

    Args:
        device: its name, such as ``"cuda:0"``.
        key: of the option, in messages.

    Raises:
        UserError: it cannot be used here.
    """
    try:
        torch.zeros(1, device=device).cpu()  # also "meta" has none
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"{key}={device}: not usable here: {str(error).splitlines()[0]}") from None
    return torch.device(device)


def run_options(run: Path, settings: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Sort ``key=value`` into options of a run's own parts, written ``encoder.KEY`` and ``data.KEY``, and the rest.

    Args:
        run: its directory.
        settings: as they were written.

    Returns:
        Part -> options that are changed; the settings of the protocol.

    Raises:
        UserError: no run directory, or another name for a part.
    """
    parts: dict[str, dict[str, Any]] = {"encoder": {}, "data": {}}
    for part, options in parts.items():
        if own := [item for item in settings if item.startswith(f"{part}.")]:
            name = getattr(RunDirectory(run).recipe(), part).name
            options.update(override(OmegaConf.create({part: {"name": name}}), own)[part])
            if options.pop("name") != name:
                raise UserError(f"{part}.name: is the run's; only its options can be changed")
    return parts, [item for item in settings if not item.startswith(tuple(f"{part}." for part in parts))]


def written(subject: Subject, protocol: Loaded, owner: object = None) -> Measured:
    """Measure, write the result and hand it back."""
    saved: dict[str, Tensor] = {}
    environment = describe_environment(str(subject.device))
    result, _ = evaluate(replace(subject, keep=saved.__setitem__), protocol, environment)
    return Measured(result, saved.get("adversarial"), owner)
