"""Measure any network from Python: images and labels in, a result out that prints as a table.

    import sslkuramoto as sk
    robust = sk.robust_accuracy(network, images, labels, eps="8/255")
    print(robust)

A network is a ``torch.nn.Module`` from pixels in [0,1] to logits, a :class:`Classifier`, or what :func:`load` returns.
The protocols are those of the command line, with every image that is handed over.

Shapes: n images, m bank images, y x pixels, k draws, d features.
"""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sslkuramoto import evaluation
from sslkuramoto.any_network import as_classifier, as_encoder
from sslkuramoto.checkpoint import load_encoder
from sslkuramoto.classifier import Classifier
from sslkuramoto.data.images.image_set import ImageSet, TensorSet
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.foreign import subject_from
from sslkuramoto.evaluation.protocol import PROTOCOLS, Loaded, Subject, load_protocol
from sslkuramoto.evaluation.representation.monitor import online_knn
from sslkuramoto.files import name_beside
from sslkuramoto.measured import Measured, headline_of
from sslkuramoto.model_checks import check_labels, check_pixels
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe, load_recipe, recipe_file
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory, describe_environment
from sslkuramoto.study.paired import PairedTest, paired_test
from sslkuramoto.threat import Norm
from sslkuramoto.training import train as train_recipe

Network = nn.Module | Callable[[Tensor], Tensor]
Labelled = tuple[Float[Tensor, "n 3 y x"], Int64[Tensor, " n"]]
Budget = Literal["quick", "full"]


class Setting(TypedDict, total=False):
    """What every measurement takes besides its own options.

    Attributes:
        seed: of every draw (0).
        batch_size: images per forward pass, and per unit of an attack (100).
        folder: where results and the ledger of attacks are kept: a later call continues there. None: a temporary one.
        progress: print a line of progress to stderr at a time (False).
        mean, std: of each channel, if the network expects normalised pixels (None).
        keep_training: leave a network in training mode as it is (False: it is set to eval mode, with a note).
        range_checked: refuse a network that is far better on images of another range than [0,1] (True).
    """

    seed: int
    batch_size: int
    folder: str | Path | None
    progress: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    keep_training: bool
    range_checked: bool


def robust_accuracy(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    eps: float | str = "8/255",
    norm: Norm = "linf",
    *,
    budget: Budget = "quick",
    attacks: Sequence[str | dict[str, Any]] | None = None,
    ways: Mapping[str, dict[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Return the accuracy under attack, an upper bound: what these attacks could not break.

    Args:
        model: the network.
        images: pixels in [0,1], float32.
        labels: their classes.
        eps, norm: radius in pixels of [0,1] ("8/255" or a number), "linf" or "l2".
        budget: of the four ways of reading a network (as published, fixed noise, EoT, adaptive): "quick" is that of
            ``robustness-quick``, "full" that of ``robustness-linf`` or ``-l2``.
        attacks: these alone, one way of reading, in place of the four: names or ``{name: ..., ...}``.
        ways: other ways: name -> options.
        options: further options of the protocol ``robustness``, such as ``draws``.
        **setting: see :class:`Setting`.

    Returns:
        The result; ``adversarial`` holds the worst candidate of each image.

    Raises:
        UserError: what is wrong with network, images or options, in one line.
    """
    file = load_protocol("robustness-quick" if budget == "quick" else f"robustness-{norm}").options
    if attacks is not None:
        file |= {"attacks": [*attacks], "ways": None}
    elif ways is not None:
        file["ways"] = dict(ways)
    own = {"eps": eps, "norm": norm, "images": None, "control": min(file["control"], len(images))}
    return _measured("robustness", file | own | dict(options or {}), model, (images, labels), setting)


def audit(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    eps: float | str = "8/255",
    norm: Norm = "linf",
    *,
    budget: Budget = "quick",
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Ask whether the robustness of a network is real: twenty questions, a verdict with its reasons.

    Args:
        model, images, labels, eps, norm: as for :func:`robust_accuracy`; eps > 0.
        budget: "quick" or "full".
        options: further options of the protocol ``audit``.
        **setting: see :class:`Setting`.
    """
    own = {"eps": eps, "norm": norm, "images": len(images)}
    file = load_protocol(f"audit-{budget}").options
    return _measured("audit", file | own | dict(options or {}), model, (images, labels), setting)


def calibration(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    *,
    fit: Labelled | None = None,
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Return how far the confidence of a network can be believed.

    Args:
        model, images, labels: as for :func:`robust_accuracy`.
        fit: other images and labels, on which one temperature is fitted; None: none is.
        options: further options of the protocol ``calibration``.
        **setting: see :class:`Setting`.
    """
    own = {"temperature": fit is not None, "images": None}
    more = {} if fit is None else {"val": fit}
    return _measured("calibration", own | dict(options or {}), model, (images, labels), setting, more)


def corruptions(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    *,
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Return the accuracy under common corruptions: 15 kinds at five severities.

    Args:
        model, images, labels: as for :func:`robust_accuracy`.
        options: of the protocol ``corruptions``, such as ``{"corruptions": ["fog"]}``.
        **setting: see :class:`Setting`.
    """
    return _measured("corruptions", {"images": None} | dict(options or {}), model, (images, labels), setting)


def knn_accuracy(
    encoder: Network,
    bank: Labelled,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    *,
    neighbours: int = 20,
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Return the accuracy of k nearest neighbours on an encoder's features, by cosine.

    Args:
        encoder: from pixels in [0,1] to features: an :class:`Encoder`, or any module that returns ``[n, d]``.
        bank: images and labels of the neighbours.
        images, labels: those that are classified.
        neighbours: that vote.
        options: further options of the protocol ``knn``.
        **setting: see :class:`Setting`.
    """
    own = {"neighbours": neighbours} | dict(options or {})
    return _measured("knn", own, encoder, (images, labels), setting, {"train": bank}, classifies=False)


@torch.no_grad()
def features(
    encoder: Network,
    images: Float[Tensor, "n 3 y x"],
    *,
    draws: int | None = None,
    seed: int = 0,
    batch_size: int = 100,
    keep_training: bool = False,
) -> Float[Tensor, "n d"] | Float[Tensor, "k n d"]:
    """Return the pooled features of images, on the CPU.

    Args:
        encoder: as for :func:`knn_accuracy`; of a :class:`Classifier` its encoder.
        images: pixels in [0,1].
        draws: of a stochastic encoder, at least 20: one set of features for each draw. None: one draw, ``[n, d]``.
        seed: of the draws.
        batch_size: images per forward pass.
        keep_training: as in :class:`Setting`.
    """
    check_pixels(images)
    source = encoder.encoder if isinstance(encoder, Classifier) else encoder
    found = as_encoder(source, images, keep_training=keep_training, seed=seed).eval()
    device = _device_of(found, images)
    passes = 1 if draws is None else draws_for(found.stochastic, draws)
    sets = []
    for draw in range(passes):
        noise = generator(device, seed, "features", draw) if found.stochastic else None
        sets.append(torch.cat([found(part.to(device), draw=noise).pooled.cpu() for part in images.split(batch_size)]))
    return sets[0] if draws is None else torch.stack(sets)


def embed(
    source: str | Path | Network, images: Float[Tensor, "n 3 y x"], *, seed: int = 0, batch_size: int = 100
) -> Float[Tensor, "n d"]:
    """Return features of images by a run, an encoder file or an encoder.

    Args:
        source: what :func:`load` takes, or a network.
        images: pixels in [0,1].
        seed: of the one draw of a stochastic encoder.
        batch_size: images per forward pass.
    """
    network = load(source) if isinstance(source, str | Path) else source
    return features(network, images, seed=seed, batch_size=batch_size)


def compare(a: Measured | str | Path, b: Measured | str | Path, *, per_image: str | None = None) -> PairedTest:
    """Test whether two networks differ on the same images, by exchanging them at images (exact McNemar and beyond).

    Args:
        a, b: results, or their files.
        per_image: name of the lists that are compared; None: which images are right under the union of all ways where
            both have it, otherwise simply right.

    Raises:
        UserError: they were measured on different images, or hold no list of one name.
    """
    first, second = (Result.read(each.path if isinstance(each, Measured) else Path(each)) for each in (a, b))
    both = {name: values for name, values in first.per_image.items() if name in second.per_image}
    name = per_image or headline_of(both, "compare")
    if name not in both:
        raise unknown("per-image list", name, both)
    if _images_of(first, name) != _images_of(second, name):
        raise UserError("compare: the two were measured on different images")
    return paired_test([(both[name], second.per_image[name])])


def load(path: str | Path) -> Classifier | Encoder:
    """Return the network of a finished run, an exported folder or an encoder file: a classifier where there is one.

    Args:
        path: a run directory, a folder that ``sslkuramoto export`` wrote for torch, timm or a hub, or
            ``encoder.safetensors`` of a run.

    Raises:
        UserError: none of these, damaged, or a run that is not finished.
    """
    place = Path(path)
    if place.is_file():
        return load_encoder(place)
    from sslkuramoto.interop.export_folder import is_exported, load_exported  # and timm, which no other name here needs

    if is_exported(place):
        return load_exported(place)
    subject = evaluation.subject_of(place)
    return subject.encoder if subject.head is None else Classifier(subject.encoder, subject.head, seed=subject.seed)


def train(recipe: str | Path | Recipe, *overrides: str, run: str | Path | None = None) -> Path:
    """Carry out a recipe and return its run directory; a finished run is left as it is, an interrupted one continues.

    Args:
        recipe: a recipe, its file, or the name of one under recipes/.
        *overrides: ``"key=value"``.
        run: run directory; None: runs/RECIPE.
    """
    if isinstance(recipe, Recipe):
        if run is None or overrides:
            raise UserError("train: a recipe that is no file needs run=DIR, and takes no overrides")
        found, place = recipe, Path(run)
    else:
        file = recipe_file(str(recipe))
        found, place = load_recipe(file, overrides), Path(run or Path("runs") / file.stem)
    train_recipe(found, place, monitor=online_knn(found, RunDirectory(place)))
    return place


def evaluate(run: str | Path, protocol: str, *overrides: str, device: str = "cpu", seed: int | None = None) -> Measured:
    """Measure a finished run by a protocol, and write the result into the run.

    Args:
        run: run directory.
        protocol: as on the command line.
        *overrides: ``"key=value"``. As on the command line they and ``seed`` name a result file of their own.
        device: where to measure.
        seed: of the measurement; None: the run's.
    """
    subject, loaded = evaluation.subject_of(Path(run), device=device, seed=seed), load_protocol(protocol, overrides)
    if changed := [*overrides, *([] if seed is None else [f"seed={seed}"])]:
        loaded = loaded._replace(file=name_beside(loaded.file, changed))
    return _written(subject, loaded)


def _measured(
    protocol: str,
    options: dict[str, Any],
    model: Network,
    given: Labelled,
    setting: Setting,
    more: Mapping[str, Labelled] | None = None,
    *,
    classifies: bool = True,
) -> Measured:
    """Measure a network on images that were handed over."""
    for key in setting:
        if key not in Setting.__annotations__:
            raise unknown(f"argument of {protocol}", key, Setting.__annotations__)
    sets = {"test": given, **(more or {})}
    for pixels, classes in sets.values():
        check_pixels(pixels)
        check_labels(classes, len(pixels))
    seed = setting.get("seed", 0)
    mean, std, keep = setting.get("mean"), setting.get("std"), setting.get("keep_training", False)
    images, labels = given
    if classifies:
        checked = setting.get("range_checked", True)
        ready = as_classifier(
            model, images, labels, mean=mean, std=std, keep_training=keep, range_checked=checked, seed=seed
        )
        count = cast(int, ready.head.out_features)
    else:
        ready = Classifier(as_encoder(model, images, mean=mean, std=std, keep_training=keep, seed=seed), nn.Identity())
        count = 1 + max(int(classes.max()) for _, classes in sets.values())
    names = tuple(map(str, range(count)))
    held = {split: TensorSet(each[0], each[1].long().cpu(), names, split) for split, each in sets.items()}

    def data(split: str) -> ImageSet:
        if split not in held:
            raise UserError(f"{protocol} needs the split {split!r}; images were given for {', '.join(held)}")
        return held[split]

    owner = tempfile.TemporaryDirectory(prefix="sslkuramoto-")
    folder = Path(setting.get("folder") or owner.name)
    about = {"model": type(model).__name__, "data": {"test": held["test"].fingerprint}}  # other splits: of one result
    size = setting.get("batch_size", 100)
    subject = subject_from(ready, data, folder, about, seed=seed, batch_size=size, device=_device_of(ready, images))
    if setting.get("progress"):
        subject.report = lambda line: print(line, file=sys.stderr, flush=True)
    if "chunk" in PROTOCOLS.options(protocol):
        options = options | {"chunk": min(size, len(images))}
    measure = PROTOCOLS.build(protocol, options)
    return _written(subject, Loaded(protocol, protocol, measure.options, measure), owner)


def _written(subject: Subject, protocol: Loaded, owner: object = None) -> Measured:
    """Measure, write the result and hand it back."""
    kept: dict[str, Tensor] = {}
    environment = describe_environment(str(subject.device))
    result, path = evaluation.evaluate(replace(subject, keep=kept.__setitem__), protocol, environment)
    lists, adversarial = result.per_image, kept.get("adversarial")
    return Measured(path, dict(result.metrics), lists, tuple(result.notes), result.details, adversarial, owner)


def _images_of(result: Result, name: str) -> tuple[Any, ...]:
    """Return which images a per-image list is of."""
    every = list(range(len(result.per_image[name])))
    return result.data.get("fingerprint"), result.data.get("split"), result.per_image.get("index") or every


def _device_of(module: nn.Module, images: Tensor) -> torch.device:
    return next((each.device for each in (*module.parameters(), *module.buffers())), images.device)
