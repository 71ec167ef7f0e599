"""Networks that were not trained by this package, as subjects of protocols: from a function in a file, or in memory.

``FILE.py:FUNCTION`` or ``package.module:FUNCTION`` names a function without arguments that returns a classifier: a
``torch.nn.Module`` from pixels in [0,1] to logits. Using it runs the code of the file. If the function returns an
``Encoder``, such as one made by ``as_encoder``, its features are measured; a ``Classifier`` of this package has both.
The results are written to a directory with ``model.json`` (the function, hashes of code and weights, the data) in place
of a recipe. The directory belongs to that network, and another network is refused.
"""

import ast
import importlib
import importlib.util
import json
import re
import symtable
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import inf, nan
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from sslkuramoto.any_network import (
    SOME,
    answers_of,
    as_classifier,
    check_encoder,
    identity_of_encoder,
    identity_of_head,
)
from sslkuramoto.classifier import Classifier
from sslkuramoto.data import DATA, ImageSet, batches, expected_spec, image_set
from sslkuramoto.encoders.features import Encoder
from sslkuramoto.errors import UserError, line_of, unknown
from sslkuramoto.evaluation.classification.subset import chosen_indices
from sslkuramoto.evaluation.protocol import Need, Protocol, Subject
from sslkuramoto.examples import check_reads
from sslkuramoto.files import ABOUT, is_leftover, read_object, write_atomically
from sslkuramoto.model_checks import share_apart
from sslkuramoto.randomness import borrowed_global, generator
from sslkuramoto.sources import CODE_DIGITS, PACKAGE, code_behind, code_beside, code_version, content_key

_MEND = "choose another directory (--run, folder=)"
_ANSWERS, _ROUNDED = "answers_on_", 0.1  # share of the spread of answers that other hardware or precision may change
_ANSWERING = ("data", "dynamics", "encoders", "heads.py", "any_network.py", "classifier.py")
_neighbours = set[str]()  # modules in the folder of the last file
FUNCTION = re.compile(r"(?P<place>.*[^:]):(?P<name>[A-Za-z_]\w*)", re.ASCII)


def names_function(text: str) -> bool:
    """Return whether a text names a function (``FILE.py:FUNCTION``, ``package.module:FUNCTION``), not a directory."""
    found = FUNCTION.fullmatch(text)
    if found is None or Path(text).exists():
        return False
    return found["place"].endswith(".py") or all(part.isidentifier() for part in found["place"].split("."))


def run_of_function(text: str) -> Path:
    """Return the default directory for results of a function's network."""
    place, _, name = text.rpartition(":")
    return Path("runs") / f"{Path(place).stem if place.endswith('.py') else place}-{name}"


def network_from(text: str) -> tuple[nn.Module, dict[str, str]]:
    """Call a function that returns a network; this runs the code of its file.

    Args:
        text: names the function. It is called under a fixed seed, so random weights are the same at every call.

    Returns:
        The network, and hashes of the source files that were read for it, by module.

    Raises:
        UserError: no such file or function, one that fails, or one that returns something else.
    """
    found = FUNCTION.fullmatch(text)
    assert found is not None, text
    with borrowed_global(generator("cpu", "network of a function")):
        module = _module_of(found["place"])
        function = getattr(module, found["name"], None)
        if not callable(function):
            names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise unknown(f"function of {found['place']}", found["name"], names)
        try:
            network = function()
        except (Exception, SystemExit) as error:
            raise UserError(f"{text}: the function fails: {line_of(error)}") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{text}: the function returns a {type(network).__name__}, wanted a torch.nn.Module")
    return network, _code_of(Path(str(module.__file__)), found["place"])


def code_of_function(text: str) -> dict[str, str]:
    """Return hashes of the source files of a function, by module, without running them.

    Args:
        text: names the function.

    Raises:
        UserError: it does not name a function; no such file, module or function.
    """
    found = FUNCTION.fullmatch(text)
    if found is None or not names_function(text):
        raise UserError(f"{text!r}: does not name a function: write FILE.py:FUNCTION or package.module:FUNCTION")
    place, name = found["place"], found["name"]
    file = Path(place) if place.endswith(".py") else _file_of_module(place)
    if not file.is_file():
        raise UserError(f"{place}: no such file")
    try:
        names = _names_in(file)
    except (SyntaxError, ValueError, OSError) as error:
        raise UserError(f"{place}: cannot be read: {line_of(error)}") from None
    if names is not None and name not in names:
        raise unknown(f"function of {place}", name, [each for each in names if not each.startswith("_")])
    return _code_of(file, place)


def _file_of_module(place: str) -> Path:
    """Find the file of a module without importing its parent packages, which ``importlib.util.find_spec`` would do."""
    names, path = place.split("."), None
    for number in range(1, len(names) + 1):
        name = ".".join(names[:number])
        specs = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next(filter(None, specs), None) if number == 1 or path is not None else None
        if spec is None:
            raise UserError(f"{place}: there is no module {name}")
        path = spec.submodule_search_locations
        if number == len(names) and spec.has_location and spec.origin is not None:
            return Path(spec.origin)
    raise UserError(f"{place}: has no source file")


def _names_in(file: Path) -> list[str] | None:
    """Return the names that a source defines at module level; None if that depends on running it."""
    source = file.read_text()
    stars = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    symbols = symtable.symtable(source, str(file), "exec").get_symbols()
    names = [symbol.get_name() for symbol in symbols if symbol.is_assigned() or symbol.is_imported()]
    return None if "__getattr__" in names or any(node.names[0].name == "*" for node in stars) else names


def _module_of(place: str) -> ModuleType:
    """Import a module by name, or by file; a file may import modules of its folder."""
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise UserError(f"{place}: no such file")
        folder = path.parent.resolve()
        for name in _neighbours:  # modules of another folder may have the same names, or may have changed
            sys.modules.pop(name, None)
        _neighbours.clear()
        before = {*sys.modules}
        sys.path.insert(0, str(folder))
        try:
            spec = importlib.util.spec_from_file_location(f"network_file_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
            _neighbours.update({*sys.modules} - before & _modules_beside(path))
        return module
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the file does when it is imported
        raise UserError(f"{place}: cannot be imported: {line_of(error)}") from error


def _modules_beside(file: Path) -> set[str]:
    """Return the names of the modules that a file imports from its folder, directly or not."""
    paths = (Path(name).with_suffix("") for name in _code_of(file, file.name))
    names = {".".join(path.parent.parts if path.name == "__init__" else path.parts) for path in paths}
    return {name for name in names if name.partition(".")[0] != PACKAGE.name}


def _code_of(file: Path, place: str) -> dict[str, str]:
    """Return hashes of a module's file and of what it imports from its folder, or from its package.

    Of this package count the folder of the module and the rooms that answer for a network: a module that imports a
    registry would depend on the whole package. Code that trains or measures changes no answer.
    """
    file = file.resolve()
    if place.endswith(".py"):
        return code_beside(file, root=file.parent)
    if file.is_relative_to(PACKAGE.resolve()):
        own = code_behind(file.relative_to(PACKAGE.resolve()).as_posix())
        return {place: content_key([own, code_version(_ANSWERING)])[:CODE_DIGITS]}
    parents = place.count(".") + (file.name == "__init__.py")
    return code_beside(file, root=file.parents[parents], top=place.partition(".")[0])


def foreign_subject(
    text: str,
    run_dir: Path,
    data: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    batch_size: int = 100,
    write: bool = True,
    about: Mapping[str, Any] | None = None,
    mend: str = _MEND,
    measures: Sequence[Protocol] = (),
) -> Subject:
    """Return the network of a function as the subject of protocols.

    Args:
        text: names the function.
        run_dir: directory for its results.
        data: ``name`` and options of the data source, as in a recipe.
        device: where to measure.
        seed: of every draw.
        batch_size: images per forward pass.
        write: whether to claim ``run_dir`` for this network; otherwise it is only checked.
        about: content of ``model.json`` besides function and code; None: the data.
        mend: advice in the error if ``run_dir`` belongs to another network.
        measures: protocols that will measure it; whether they read the data is checked before anything is loaded.

    Raises:
        UserError: names what is wrong with function, network, data or directory.
    """
    options = dict(data)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"{text}: say on which images: data='{{name: NAME, ...}}', NAME one of {', '.join(DATA)}")
    DATA.check(name, options)
    spec = expected_spec(name, options)
    check_reads(f"{text}: a function's network", Encoder.reads, f"data {name}", spec)
    for protocol in measures:
        protocol.check_spec(f"data {name}", spec)
    network, code = network_from(text)
    if any(each.is_meta for each in (*network.parameters(), *network.buffers())):
        raise UserError(f"{text}: the network's weights are on the device meta, so they have no values")
    network.to(device)

    @cache
    def images(split: str) -> ImageSet:
        return image_set(DATA.build(name, options, split))

    test = images("test")
    some = next(iter(batches(test, [chosen_indices(test, min(SOME, len(test)))], device="cpu")))
    if isinstance(network, Encoder):
        ready = network.eval()
        check_encoder(ready, some.inputs)
    else:
        ready = as_classifier(network, some.inputs, some.targets, seed=seed)
    said = {"model": text, "code": code, **(about or {"data": {"name": name, **options}})}
    common = {"seed": seed, "batch_size": batch_size, "device": torch.device(device)}
    return subject_from(ready, images, run_dir, said, write=write, mend=mend, **common)


def subject_from(
    network: Classifier | Encoder,
    images: Callable[[str], ImageSet],
    run_dir: Path,
    about: Mapping[str, Any],
    *,
    seed: int,
    batch_size: int,
    device: torch.device,
    write: bool = True,
    mend: str = _MEND,
) -> Subject:
    """Return a classifier or an encoder as the subject of protocols, and make ``run_dir`` the directory of its results.

    Args:
        network: on the device.
        images: split -> its images.
        run_dir: the directory.
        about: content of ``model.json`` besides the hashes of encoder and head.
        seed, batch_size, device: of the measurement.
        write: whether to create the directory.
        mend: advice in the error if it belongs to another network.

    Raises:
        UserError: the directory belongs to another network.
    """
    encoder, head = (network.encoder, network.head) if isinstance(network, Classifier) else (network, None)
    size = images("test").size
    identity = identity_of_encoder(encoder, size)
    head_identity = "" if head is None else identity_of_head(encoder, head, size)
    known: dict[str, Any] = {"network": identity} | ({"head": head_identity} if head_identity else {})
    if answers := answers_of(encoder, head, size):
        known[f"{_ANSWERS}{device.type}"] = answers  # a draw differs between kinds of devices
    claim(run_dir, {**about, **known}, write=write, mend=mend)
    return Subject(
        encoder=encoder,
        head=head,
        data=images,
        device=device,
        run_dir=run_dir,
        encoder_hash=identity,
        head_identity=head_identity,
        seed=seed,
        batch_size=batch_size,
        weights="as given",
        lacks=_lacking(str(about["model"]), encoder, head),
    )


def _lacking(name: str, encoder: Encoder, head: nn.Module | None) -> dict[Need, str]:
    """Return what such a network does not provide, with advice."""
    lacks: dict[Need, str] = {"recipe": f"a run that was trained from a recipe; {name} is a network as it was given"}
    if encoder.gives == "logits":
        lacks["features"] = features_wanted(name)
    if head is None:
        lacks["head"] = f"a classifier; {name} gives features: sk.Classifier(encoder, head) gives logits too"
    return lacks


def features_wanted(name: str) -> str:
    """Return advice for a network that returns logits where features are measured."""
    return (
        f"features; {name} gives logits (a plain network counts as a classifier): give an Encoder, such as "
        "sk.as_encoder(network, images) makes of a network that returns features, or sk.Classifier(encoder, head)"
    )


def claim(run_dir: Path, about: Mapping[str, Any], *, write: bool = True, mend: str = _MEND) -> None:
    """Claim a directory for the results of a network, or check that it already belongs to it.

    Answers may differ by a tenth of their spread, and are compared only with those of the same kind of device.
    Without ``write`` nothing is created: it is only checked whether the directory could be claimed.

    Raises:
        UserError: it belongs to another network, holds other files or cannot be written.
    """
    file = run_dir / ABOUT
    wanted = json.loads(json.dumps(dict(about), default=str))
    if file.is_file():
        known = read_object(file, f"damaged; remove it, or {mend}")
        before, now = ({key: all_.pop(key) for key in [*all_] if key.startswith(_ANSWERS)} for all_ in (known, wanted))
        differing = next(key for key in (*known, *wanted, "") if known.get(key) != wanted.get(key) or not key)
        if differing:
            there, here = (str(each.get(differing))[:60] for each in (known, wanted))
            raise UserError(
                f"{run_dir}: belongs to another network: {differing} is {there} there and {here} here; {mend}"
            )
        apart = max((_apart(before[key], now[key]) for key in before.keys() & now.keys()), default=0.0)
        if not apart <= _ROUNDED:  # also nan
            raise UserError(
                f"{run_dir}: belongs to another network: weights and options that can be read are the same, and its "
                f"answers differ by {apart:.2g} of their spread (it may read another global variable "
                f"now, or compute in another precision); {mend}"
            )
        return
    if run_dir.exists() and (not run_dir.is_dir() or not all(is_leftover(item) for item in run_dir.iterdir())):
        raise UserError(f"{run_dir}: exists and holds no results of a network; {mend}")
    if write:
        write_atomically(file, json.dumps(wanted, indent=1) + "\n")


def _apart(before: Any, now: Any) -> float:
    """Return how far two records of answers differ, see :func:`share_apart`; infinity where they cannot be compared."""

    def tensor(rows: Any) -> torch.Tensor:
        return torch.tensor([[nan if number is None else number for number in row] for row in rows])

    try:
        first, second = tensor(before), tensor(now)
        return share_apart(first, second) if first.shape == second.shape and first.ndim == 2 else inf
    except (TypeError, ValueError, RuntimeError):  # edited, or damaged
        return inf
