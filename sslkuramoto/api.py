"""Measure any network from Python: images and labels in, a result out that prints as a table.

    import sslkuramoto as sk
    robust = sk.robust_accuracy(network, images, labels, eps="8/255")
    print(robust)

A network is a ``torch.nn.Module`` from pixels in [0,1] to logits, a :class:`Classifier`, or what :func:`load` returns.
The protocols are those of the command line, on every image that is passed.

Shapes: n images, m bank images, y x pixels, k draws, d features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from sslkuramoto import evaluation
from sslkuramoto.carry_out import asked_training, carry_out
from sslkuramoto.checkpoint import load_encoder
from sslkuramoto.classifier import Classifier
from sslkuramoto.encoders.features import Encoder, buffers_kept, modes_kept
from sslkuramoto.errors import UserError, unknown
from sslkuramoto.evaluation.audit.budget import BUDGETS
from sslkuramoto.evaluation.protocol import load_protocol
from sslkuramoto.files import at_home, name_beside, places_told
from sslkuramoto.measured import Measured, headline_of
from sslkuramoto.measuring import (
    Labelled,
    Network,
    Setting,
    encoder_of,
    measured_on,
    run_options,
    stated,
    usable_device,
    written,
)
from sslkuramoto.model_checks import check_defaults, check_network, check_pixels
from sslkuramoto.noise_draws import draws_for
from sslkuramoto.randomness import generator
from sslkuramoto.recipe import Recipe
from sslkuramoto.results import Result
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.study.paired import PairedTest
from sslkuramoto.study.run_pairs import shared_verdicts, tested_pair
from sslkuramoto.threat import Norm
from sslkuramoto.values import Count, Repeats, Seed, check_value, checked

Budget = Literal["quick", "full"]


def robust_accuracy(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    eps: float | str | None = None,
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
        eps, norm: radius in pixels of [0,1] ("8/255" or a number; None: 8/255 in linf, 0.5 in l2), "linf" or "l2".
        budget: of the four readings of a network (as published, fixed noise, EoT, adaptive): "quick" is that of
            ``robustness-quick``, "full" that of ``robustness-linf`` or ``-l2``.
        attacks: these alone, as one reading, in place of the four: names or ``{name: ..., ...}``.
        ways: other readings: name -> options.
        options: further options of the protocol ``robustness``, such as ``draws``.
        **setting: see :class:`Setting`.

    Returns:
        The result; ``adversarial`` holds the worst candidate of each image.

    Raises:
        UserError: what is wrong with network, images or options, in one line.
    """
    check_pixels(images)
    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    file = load_protocol("robustness-quick" if budget == "quick" else f"robustness-{norm}").options
    if attacks is not None and ways is not None:
        raise UserError("attacks: one reading, cannot be combined with ways")
    if attacks is not None:
        named = check_value("attacks", attacks, Sequence[str | dict[str, Any]])
        file |= {"attacks": [*named], "ways": None}
    elif ways is not None:
        file["ways"] = stated("ways", ways)
    own = {
        "eps": eps,
        "norm": norm,
        "images": None,
        "control": min(file["control"], len(images)),
    }
    return measured_on("robustness", file | own | stated("options", options), model, (images, labels), setting)


def audit(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    eps: float | str | None = None,
    norm: Norm = "linf",
    *,
    budget: Budget = "quick",
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Ask whether the robustness of a network is real: 21 checks, a verdict with its reasons.

    Args:
        model, images, labels, eps, norm: as for :func:`robust_accuracy`; eps > 0.
        budget: "quick" or "full".
        options: further options of the protocol ``audit``.
        **setting: see :class:`Setting`.
    """
    check_pixels(images)
    own = {"eps": eps, "norm": norm, "images": len(images)}
    file = load_protocol(f"audit-{budget}").options
    return measured_on("audit", file | own | stated("options", options), model, (images, labels), setting)


def certify(
    model: Network,
    images: Float[Tensor, "n 3 y x"],
    labels: Int64[Tensor, " n"],
    sigma: float | Sequence[float] = 0.25,
    *,
    radii: Sequence[float] | None = None,
    options: Mapping[str, Any] | None = None,
    **setting: Unpack[Setting],
) -> Measured:
    """Return the accuracy of the smoothed network between a proof and an attack, in l2.

    Args:
        model, images, labels: as for :func:`robust_accuracy`.
        sigma: standard deviation of the Gaussian noise, or several; pixels in [0,1].
        radii: l2 radii at which accuracies are printed; None: half of the largest sigma, and that sigma.
        options: further options of the protocol ``certify``, such as ``n`` and ``attacks``; those left out are the ones
            of ``certify-quick``.
        **setting: see :class:`Setting`.
    """
    check_pixels(images)
    sizes = check_value("sigma", sigma, float | Sequence[float])
    sizes = [sizes] if isinstance(sizes, float) else [*sizes]
    file = load_protocol("certify-quick").options
    own = {"sigma": sizes, "radii": check_value("radii", radii, Sequence[float] | None), "images": None}
    return measured_on("certify", file | own | stated("options", options), model, (images, labels), setting)


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
    return measured_on("calibration", own | stated("options", options), model, (images, labels), setting, more)


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
    own = {"images": None} | stated("options", options)
    return measured_on("corruptions", own, model, (images, labels), setting)


def knn_accuracy(
    encoder: Encoder | Classifier,
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
        encoder: from pixels in [0,1] to features: an :class:`Encoder`, what :func:`as_encoder` makes of any module that
            returns ``[n, d]``, or a :class:`Classifier`, whose encoder counts.
        bank: images and labels of the neighbours.
        images, labels: those that are classified.
        neighbours: that vote.
        options: further options of the protocol ``knn``.
        **setting: see :class:`Setting`.
    """
    own = {"neighbours": neighbours} | stated("options", options)
    return measured_on("knn", own, encoder, (images, labels), setting, {"train": bank})


@checked
@torch.no_grad()
def features(
    encoder: Encoder | Classifier,
    images: Float[Tensor, "n 3 y x"],
    *,
    draws: Repeats | None = None,
    seed: Seed = 0,
    batch_size: Count = 100,
) -> Float[Tensor, "n d"] | Float[Tensor, "k n d"]:
    """Return the pooled features of images, on the CPU.

    Args:
        encoder: as for :func:`knn_accuracy`; its mode is as it was afterwards.
        images: pixels in [0,1].
        draws: of a stochastic encoder, at least 20: one set of features for each draw. None: one draw, ``[n, d]``.
        seed: of the draws.
        batch_size: images per forward pass.

    Raises:
        UserError: a network that gives logits, or a plain one that was not declared an encoder; pixels outside [0,1].
    """
    check_pixels(images)
    found = encoder_of(encoder, "sk.features")
    device = check_network(found, images)
    passes = 1 if draws is None else draws_for(found.stochastic, draws)
    sets = []
    with modes_kept(found), buffers_kept(found):
        found.eval()
        for draw in range(passes):
            noise = generator(device, seed, "features", draw) if found.stochastic else None
            parts = (found(part.to(device), draw=noise).pooled.cpu() for part in images.split(batch_size))
            sets.append(torch.cat(list(parts)))
    return sets[0] if draws is None else torch.stack(sets)


def embed(
    source: str | Path | Encoder | Classifier,
    images: Float[Tensor, "n 3 y x"],
    *,
    seed: Seed = 0,
    batch_size: Count = 100,
) -> Float[Tensor, "n d"]:
    """Return features of images by a run, an encoder file or an encoder.

    Args:
        source: what :func:`load` takes, or what :func:`features` takes.
        images: pixels in [0,1].
        seed: of the one draw of a stochastic encoder.
        batch_size: images per forward pass.
    """
    network = load(source) if isinstance(source, str | Path) else source
    return features(network, images, seed=seed, batch_size=batch_size)


@places_told()
def compare(a: Measured | str | Path, b: Measured | str | Path, *, per_image: str | None = None) -> PairedTest:
    """Test whether two networks differ on the same images, by exchanging them at images (exact McNemar and beyond).

    Args:
        a, b: results, or their files.
        per_image: name of the lists of verdicts that are compared; None: which images are correct under the union of
            all readings where both have it, otherwise simply correct.

    Raises:
        UserError: they were measured on different images, or hold no such lists of one name.
    """
    first, second = (each.result if isinstance(each, Measured) else Result.read(_place(each)) for each in (a, b))
    pair = first, second
    return tested_pair("compare", pair, per_image or headline_of(dict.fromkeys(shared_verdicts(pair)), "compare"))


def _place(path: object, key: str = "path") -> Path:
    """Return a path that was given as text or as a path.

    Raises:
        UserError: something else, or a null character.
    """
    return at_home(check_value(key, str(path) if isinstance(path, Path) else path, str))


@places_told()
@torch.inference_mode(mode=False)
def load(path: str | Path) -> Classifier | Encoder:
    """Return the network of a finished run, an exported folder or an encoder file: a classifier where there is one.

    Args:
        path: a run directory, a folder that ``sslkuramoto export`` wrote for torch, timm or a hub, or
            ``encoder.safetensors`` of a run.

    Raises:
        UserError: none of these, damaged, or a run that is not finished.
    """
    check_defaults()
    place = _place(path)
    if place.is_file():
        return load_encoder(place)
    from sslkuramoto.interop.export_folder import is_exported, load_exported  # and timm, which no other name here needs

    if is_exported(place):
        return load_exported(place)
    subject = evaluation.subject_of(place)
    return subject.encoder if subject.head is None else Classifier(subject.encoder, subject.head, seed=subject.seed)


@places_told()
@torch.inference_mode(mode=False)
def train(
    recipe: str | Path | Recipe, *overrides: str, run: str | Path | None = None, init: str | Path | None = None
) -> Path:
    """Carry out a recipe and return its run directory; a finished run is left as it is, an interrupted one continues.

    Args:
        recipe: a recipe, its file, the name of one under recipes/, or a run directory to continue.
        *overrides: ``"key=value"``.
        run: run directory; None: the run that is continued, or runs/RECIPE.
        init: finished run whose encoder the training starts from; None: as the recipe says.
    """
    check_defaults()
    start = None if init is None else str(_place(init, "init"))
    place = None if run is None else _place(run, "run")
    if isinstance(recipe, Recipe):
        if place is None or overrides:
            raise UserError("train: a recipe that is no file needs run=DIR, and takes no overrides")
        found, directory = recipe if start is None else replace(recipe, init=start), RunDirectory(place)
    else:
        name = check_value("recipe", str(recipe) if isinstance(recipe, Path) else recipe, str)
        items = check_value("overrides", overrides, tuple[str, ...])
        found, _, directory = asked_training(name, items, run=place, init=start)
    carry_out(found, directory)
    return directory.path


@places_told()
@torch.inference_mode(mode=False)  # the caller's inference mode would cut every gradient
def evaluate(
    run: str | Path, protocol: str, *overrides: str, device: str = "cpu", seed: Seed | None = None
) -> Measured:
    """Measure a finished run by a protocol, and write the result into the run.

    Args:
        run: run directory.
        protocol: as on the command line.
        *overrides: ``"key=value"``; ``"encoder.key=value"`` and ``"data.key=value"`` change options of the run's parts
            for this measurement. As on the command line they and ``seed`` name a result file of their own.
        device: where to measure.
        seed: of the measurement; None: the run's.
    """
    check_defaults()
    place, settings = _place(run, "run"), check_value("overrides", overrides, tuple[str, ...])
    seed = check_value("seed", seed, Seed | None)
    parts, rest = run_options(place, settings)
    loaded = load_protocol(check_value("protocol", protocol, str), rest)
    subject = evaluation.subject_of(
        place,
        device=usable_device(device),
        seed=seed,
        encoder_options=parts["encoder"],
        data_options=parts["data"],
        measures=[loaded.measure],
    )
    if changed := [*settings, *([] if seed is None else [f"seed={seed}"])]:
        loaded = loaded._replace(file=name_beside(loaded.file, changed))
    return written(subject, loaded)
