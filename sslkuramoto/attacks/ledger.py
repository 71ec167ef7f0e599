"""The ledger of attacks: one file for each unit of work, whole or absent.

A unit is one attack on one chunk of the images with one restart. Its file holds the candidates, what the selection
draws predicted for them, and the key of everything that they depend on. A process that was killed goes on at the next
unit; processes or machines that share the folder share the work, each taking chunks that no other holds; attacks that
are added later find the work of the earlier ones done.

    DIR/ledger.json                           the network it belongs to
    DIR/BATTERY/battery.json                  threat model, images, mode, seed: what all units of one battery share
    DIR/BATTERY/ATTACK/CHUNK-RESTART-KEY.safetensors
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sslkuramoto.errors import UserError
from sslkuramoto.files import is_leftover, lock, read_object, write_atomically
from sslkuramoto.sources import code_behind, code_version, content_key
from sslkuramoto.threat import Threat

CODE = (
    *("dynamics", "encoders", "heads.py", "any_network.py"),
    *("classifier.py", "noise_draws.py", "threat.py", "randomness.py"),
)
BATTERY = "attacks/battery.py"
PACKAGES = ("torch", "pyautoattack", "timm")
"""What decides all units, with versions of packages; whoever attacks networks of its own making adds their code to its
battery. An attack's own code is in the keys of its units: a mended attack never meets what the old one left, and a new
one beside it changes nothing."""

ABANDONED = 3600.0
"""Seconds after which an unfinished file is a killed process's."""


class Unit(NamedTuple):
    """What one attack found on the images of a chunk that still stood.

    Attributes:
        rows: which images of the chunk were attacked.
        candidates: one an attacked image, float32.
        predictions: of the selection draws on the candidates.
        broken: whether a candidate was decided to fool the network.
        noticed: what the attack counted.
    """

    rows: Int64[Tensor, " r"]
    candidates: Float[Tensor, "r 3 y x"]
    predictions: Int64[Tensor, "k r"]
    broken: Bool[Tensor, " r"]
    noticed: Mapping[str, int] = MappingProxyType({})


class Ledger:
    """Units of one battery in a folder that other processes may share.

    Args:
        folder: shared by all batteries of one network.
        model: hash of the network's weights and options.
        battery: what all units have in common besides: threat model, images, mode, seed, chunk, decision. The code of
            the battery and of the networks and the versions of the packages under them are added to it.
        reading: nothing is written, the folder neither.

    Raises:
        UserError: the folder belongs to another network, or its files are damaged.
    """

    def __init__(self, folder: Path, model: str, battery: Mapping[str, Any], *, reading: bool = False) -> None:
        self.model = model
        made_by = {
            "code": code_version(CODE),
            "battery": code_behind(BATTERY),
            **{package: version(package) for package in PACKAGES},
        }
        self.folder = folder / content_key({"model": model, **made_by, **battery})
        if folder.exists() and not folder.is_dir():
            raise UserError(f"ledger {folder}: is a file; name a folder with ledger=")
        owner = folder / "ledger.json"
        # looked at before its owner is: another process that starts now writes the owner first
        used = folder.is_dir() and any(not item.name.startswith(".") for item in folder.iterdir())
        if owner.is_file():
            known = read_object(owner).get("model")
            if known != model:
                raise UserError(
                    f"ledger {folder}: belongs to another network (hash {str(known)[:12]} there, {model[:12]} here); "
                    "name another folder with ledger="
                )
        elif used:
            raise UserError(f"ledger {folder}: is a folder with other files; name another one with ledger=")
        elif not reading:
            write_atomically(owner, json.dumps({"model": model}) + "\n")
        if reading:
            return
        description = self.folder / "battery.json"
        if not description.is_file():
            write_atomically(description, json.dumps(dict(battery), indent=1, default=str) + "\n")
        self._sweep()

    def _sweep(self) -> None:
        """Remove what writes of killed processes left; a write takes seconds, so a fresh part may be someone's."""
        for part in filter(is_leftover, self.folder.rglob(".*")):
            with suppress(OSError):  # another process may sweep too
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()

    def file_of(self, label: str, chunk: int, restart: int, key: str) -> Path:
        """Return where a unit lies or will lie."""
        name = "".join(sign if sign.isalnum() or sign in "-_.=+" else "_" for sign in label)
        return self.folder / name / f"{chunk:05d}-{restart:02d}-{key}.safetensors"

    def read(
        self, label: str, chunk: int, restart: int, key: str, shapes: Mapping[str, Sequence[int]] | None = None
    ) -> Unit | None:
        """Return a unit, or None when it has not been written yet.

        Args:
            label, chunk, restart, key: which one.
            shapes: that its tensors must have, by name; whatever agrees with its rows when None.

        Raises:
            UserError: its file is damaged: cut off, other than it was written, or of other shapes.
        """
        path = self.file_of(label, chunk, restart, key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                known = metadata.get("model")
                if known != self.model:
                    raise UserError(f"{path}: belongs to another network (hash {str(known)[:12]}); remove it")
                tensors = {name: file.get_tensor(name) for name in Unit._fields if name != "noticed"}
            if metadata["digest"] != _digest(tensors, metadata):
                raise ValueError("its content has changed since it was written")
            _check_shapes(tensors, shapes or {})
            return Unit(**tensors, noticed=json.loads(metadata["noticed"]))
        except UserError:
            raise
        except KeyError as error:
            raise UserError(f"{path}: damaged (no {error}); remove it and its images are attacked again") from None
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: damaged ({reason}); remove it and its images are attacked again") from None

    def write(self, label: str, chunk: int, restart: int, key: str, unit: Unit, about: Mapping[str, Any]) -> None:
        """Keep a unit."""
        tensors = {name: part.cpu().contiguous() for name, part in unit._asdict().items() if isinstance(part, Tensor)}
        metadata = {"model": self.model, "key": key, "about": json.dumps(dict(about), default=str)}
        metadata["noticed"] = json.dumps(dict(unit.noticed))
        metadata["digest"] = _digest(tensors, metadata)
        write_atomically(self.file_of(label, chunk, restart, key), save(tensors, metadata=metadata))

    def shared_out(self, chunks: Sequence[int], report: Callable[[str], None]) -> Iterator[int]:
        """Yield every chunk, first those that no other process is working on; the others when they are free again.

        A process that ends, however it ends, gives its chunk back. Where a file system knows no locks between machines,
        two machines may do the same work and write the same file: nothing is lost but time.
        """
        waiting = []
        for chunk in chunks:
            with lock(self._lock_of(chunk)) as ours:
                if ours:
                    yield chunk
                else:
                    waiting.append(chunk)
        if waiting:
            report(f"{len(waiting)} chunks are with other processes; waiting for them")
        for chunk in waiting:
            with lock(self._lock_of(chunk), wait=True):
                yield chunk

    def _lock_of(self, chunk: int) -> Path:
        return self.folder / f".chunk-{chunk:05d}.lock"


def ledger_for(
    network: Mapping[str, Any],
    folder: Path,
    *,
    inside: bool = True,
    seed: int,
    device: torch.device,
    threat: Threat,
    data: Mapping[str, Any],
    index: Int64[Tensor, " n"],
    mode: Mapping[str, Any],
    reading: bool = False,
) -> Ledger:
    """Return the ledger of some images of a data set under attack.

    Args:
        network: what identifies the attacked network: hashes of its weights, changed options.
        folder: of the ledger.
        inside: whether it gets a folder for each network under ``folder``.
        seed, device: of the measurement.
        threat, data, index: the ball, the set, which images of it.
        mode: what else all units have in common.
        reading: nothing is written.
    """
    name = content_key(network)
    battery = {
        "threat": {"norm": threat.norm, "eps": threat.eps},
        "data": {**data, "index": index.tolist()},
        "seed": seed,
        "precision": f"float32/{torch.get_float32_matmul_precision()}",
        "device": device.type,
        **mode,
    }
    return Ledger(folder / name if inside else folder, name, battery, reading=reading)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the hash of everything in a unit's file but the hash itself."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for name, text in sorted(metadata.items()):
        if name != "digest":
            digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse tensors that cannot be those of one unit, or not of the one that was asked for."""
    r = tensors["rows"].numel()
    agree = {"rows": 1, "candidates": 4, "predictions": 2, "broken": 1}
    counts = {"predictions": 1}  # dimension that counts the rows
    for name, dimensions in agree.items():
        shape = tuple(tensors[name].shape)
        wanted = shapes.get(name)
        fits = len(shape) == dimensions and (name == "candidates" or shape[counts.get(name, 0)] == r)
        if not fits or (wanted is not None and shape != tuple(wanted)):
            raise ValueError(f"{name} has the shape {list(shape)}")
