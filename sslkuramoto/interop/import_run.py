"""A checkpoint that other people published as a finished run directory, which every protocol and report accept.

What the checkpoint does not say (the data, how it was trained) comes from the recipe of the published run.
"""

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from torch import Tensor

from sslkuramoto.checkpoint import export_encoder, export_head
from sslkuramoto.errors import UserError
from sslkuramoto.files import content_of, is_free, odd_number, write_atomically
from sslkuramoto.interop.published import KINDS, Published, kind_of, published
from sslkuramoto.recipe import dump_recipe, key_and_text, load_recipe, recipe_file
from sslkuramoto.run_directory import RunDirectory
from sslkuramoto.saved_tensors import check_finite, check_plain, read_saved
from sslkuramoto.training import check

FAMILIES = tuple(dict.fromkeys(kind.family for kind in KINDS.values()))
"""Published codes whose checkpoints are read."""

_AVERAGES = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema")
_LASTS = ("model_state_dict", "state_dict", "model", "net", "network")
"""Usual names of averaged weights and of those after the last step; the first of each is read."""
_NESTED = 3  # mappings around a state dict at most
_AVERAGED, _ONLINE = "ema_model.", "online_model."  # as the package ema_pytorch names them
_WRAPPED = ("module.", "_orig_mod.")  # by torch: parallel training and averages; compiled modules


class Weights(NamedTuple):
    """The state dicts in a checkpoint.

    Attributes:
        last: weights after the last step, or all there are.
        averaged: their moving average; None if the file holds none beside ``last``.
        not_read: names under which the file holds further weights.
    """

    last: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    not_read: tuple[str, ...] = ()


def weights_of(path: Path) -> Weights:
    """Read the weights in a checkpoint of torch.save. No code in it is run: only tensors and plain values are read.

    Raises:
        UserError: no such file, a damaged one, one that needs code to be read, or one without weights or with weights
            that are complex or not finite.
    """
    content, names = read_saved(path), dict[int, str]()
    found = _found(content, _NESTED, names)
    if found is None:
        raise UserError(f"{path}: holds no state dict (a mapping from names to tensors)")
    for value in [*found.last.values(), *(found.averaged or {}).values()]:
        check_plain(f"{path}: {names[id(value)]}", value)
        if value.is_complex():
            raise UserError(f"{path}: weight {names[id(value)]!r}: holds complex numbers")
        check_finite(f"{path}: weight {names[id(value)]!r}", value)
    return found


def _found(content: Any, nested: int, names: dict[int, str]) -> Weights | None:
    """Return the weights in a mapping, its own or those under usual names in it, whichever are more tensors.

    Averaged weights have the names of the last ones. The depth ``nested`` is limited because a file may hold a mapping
    within itself; ``names`` gets the name in the file of each tensor, by its id. None: there are no tensors.
    """
    if not isinstance(content, Mapping):
        return None
    own = _own(content, names)
    usual = [name for name in (*_AVERAGES, *_LASTS) if nested and isinstance(content.get(name), Mapping | list | tuple)]
    below = {name: found for name in usual if (found := _found(content[name], nested - 1, names)) is not None}
    if own is not None and all(len(found.last) <= len(own.last) for found in below.values()):
        return own._replace(not_read=tuple(usual))
    if not below:
        return None
    chosen = [name for name in _LASTS if name in below][:1]
    last = below[chosen[0]] if chosen else None
    averages = [name for name in _AVERAGES if name in below and (last is None or _alike(below[name], last))][:1]
    found = last or below[averages[0]]
    if last is not None and averages:
        found = Weights(last.last, below[averages[0]].averaged or below[averages[0]].last, last.not_read)
    not_read = tuple(name for name in usual if name not in (*chosen, *averages))
    return found._replace(not_read=(*not_read, *found.not_read))


def _alike(average: Weights, last: Weights) -> bool:
    return (average.averaged or average.last).keys() == last.last.keys()


def _own(content: Mapping[Any, Any], names: dict[int, str]) -> Weights | None:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    names |= {id(value): name for name, value in tensors.items()}
    tensors = _bare(tensors)
    averaged, last = (_bare(_under(prefix, tensors)) for prefix in (_AVERAGED, _ONLINE))
    if averaged:
        return Weights(last, averaged) if last else Weights(averaged, None)
    return Weights(tensors, None) if tensors else None


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a wrapped module by their own names; single numbers beside them, such as a count, go."""
    for prefix in _WRAPPED:
        inside = _under(prefix, tensors)
        if inside and all(name.startswith(prefix) or value.ndim == 0 for name, value in tensors.items()):
            return _bare(inside)
    return tensors


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def import_run(
    path: Path,
    run: RunDirectory,
    arguments: Sequence[str] = (),
    items: Sequence[str] = (),
    recipe: str | None = None,
    family: str | None = None,
) -> list[str]:
    """Write a published checkpoint as a finished run.

    Args:
        path: a checkpoint of torch.save: a state dict, one under a usual name, or one of ema_pytorch. Averaged weights
            are those of the run, and the last ones beside them are its raw weights.
        run: a new directory; it is written whole, or not at all.
        arguments: ``"key=value"``, arguments of the published constructor that differ from its defaults. A key with a
            dot, such as ``data.root``, is none of them: it changes the recipe, like ``items``.
        items: ``"key=value"``, changes of the recipe, above all the data.
        recipe: name or file of the recipe that says on which data and how it was trained; None: of the published run.
        family: whose code wrote the file, one of :data:`FAMILIES`; None: any.

    Returns:
        What was done and what of the file is not used, one sentence each.

    Raises:
        UserError: the file is no such checkpoint, weights do not fit, the directory exists, or the recipe is wrong.
    """
    if not is_free(run.path):
        raise UserError(f"--run={run.path}: exists; an import needs a new directory")
    own = [word for word in arguments if "." not in word.partition("=")[0]]
    items = [*items, *(word for word in arguments if word not in own)]
    config = dict(map(_argument, own))
    weights = weights_of(path)
    try:
        chosen = kind_of(config, weights.last)
        networks = [published(config, state) for state in (weights.last, weights.averaged) if state is not None]
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    kind, network = KINDS[chosen], networks[-1]
    if family not in (None, kind.family):
        raise UserError(
            f"{path}: is a {kind.networks}, not of the family {family}; write: sslkuramoto import {kind.family} FILE"
        )
    base = load_recipe(recipe_file(recipe or kind.recipe), items)
    trained = check(replace(base, encoder=network.built.encoder_part, init=None))

    lines = [f"{kind.networks}: {len(weights.last)} tensors"]
    if weights.averaged is not None:
        lines.append(
            "averaged weights are those of the run (--weights ema), the last ones its raw weights (--weights raw)"
        )
    lines += [f"not read: what the file holds under {name!r}" for name in weights.not_read]
    with _whole(run.path) as folder:
        part = RunDirectory(folder)
        write_atomically(part.recipe_file, dump_recipe(trained))
        write_atomically(part.environment_file, json.dumps(_origin(path, chosen, config), indent=1, default=str))
        if weights.averaged is not None:
            _export(part, "raw", networks[0], kind.answers)
        _export(part, "ema", network, kind.answers)
    if network.built.head is not None and not kind.answers:
        lines.append("left out: the projection head out.*, which the published network uses in training only")
    lines += [f"left out: {name}, which the published network holds and does not use" for name in network.not_used]
    lines += [f"not read: the argument {name}" for name in network.not_read]
    lines += network.assumed
    return lines


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a new folder; what it holds when the block ends is in ``folder``, new or empty; after an error, nothing is.

    Raises:
        UserError: a folder cannot be made or moved.
    """
    name, empty = f".{folder.name}.{secrets.token_hex(4)}.part", folder.is_dir()
    part = folder / name if empty else folder.with_name(name)
    try:
        part.mkdir(parents=True)
        yield part
        for each in part.iterdir() if empty else ():
            each.replace(folder / each.name)
        if not empty:
            part.replace(folder)
    except OSError as error:
        raise UserError(f"--run={folder}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _argument(word: str) -> tuple[str, Any]:
    """Return name and value of ``key=value``; the value is a number, truth value, list or word of YAML."""
    key, text = key_and_text(word, f"--config {word}: is written KEY=VALUE, for example --config n=2 T=3")
    if odd := odd_number(text):
        raise UserError(f"--config {word}: {odd}")
    try:
        return key, yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: what looks like a date and is none
        raise UserError(f"--config {word}: the value is no number, truth value, word or list") from None


def _export(run: RunDirectory, weights: Any, network: Published, answers: bool) -> None:
    built = network.built
    if built.head is not None and built.head_part is not None and answers:
        export_head(run.head_file(weights), built.head, built.head_part)
    export_encoder(run.encoder_file(weights), built.encoder, built.encoder_part)


def _origin(path: Path, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what environment.json says of an imported run: no session trained it here."""
    digest = hashlib.sha256(content_of(path)).hexdigest()
    return {"sessions": [], "imported": {"file": path.name, "sha256": digest, "kind": kind, "arguments": dict(config)}}
