"""The ledger of attacks: one file per unit of work, either complete or absent.

A unit is one restart of one attack on one chunk of the images. Its file holds the candidates, the predictions of the
selection draws for them, and a key of everything that they depend on. A command that was killed resumes at the next
unit. Processes and machines that share the folder share the work: each takes chunks that no other process works on.
Attacks that are added later reuse the units of the earlier ones.

    DIR/ledger.json                           the network it belongs to
    DIR/BATTERY/battery.json                  threat model, images, mode, seed: what all units of one battery share
    DIR/BATTERY/ATTACK/CHUNK-RESTART-KEY.safetensors
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
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
from sslkuramoto.sources import Plugins, code_behind, code_version, content_key
from sslkuramoto.threat import Threat

CODE = (
    *("dynamics", "encoders", "heads.py", "any_network.py"),
    *("classifier.py", "noise_draws.py", "threat.py", "randomness.py"),
)
BATTERY = "attacks/battery.py"
PACKAGES = ("torch", "pyautoattack", "timm")
"""Sources, and packages with their versions, that the result of every unit depends on. A protocol that modifies the
network adds the code for that to its battery. The code of an attack is in the keys of its own units: after a change its
units are computed again, and those of other attacks stay valid."""

version = cache(metadata.version)  # each call parses a file; the code in use stays that of the start

ABANDONED = 3600.0
"""Seconds after which an unfinished file is taken for that of a killed process."""


class Unit(NamedTuple):
    """The outcome of one unit of work, for the images of a chunk that were not broken before.

    Attributes:
        rows: which images of the chunk were attacked.
        candidates: one per attacked image, float32.
        predictions: of the selection draws for the candidates.
        broken: whether each candidate counts as adversarial.
        noticed: events that the attack counted.
    """

    rows: Int64[Tensor, " r"]
    candidates: Float[Tensor, "r 3 y x"]
    predictions: Int64[Tensor, "k r"]
    broken: Bool[Tensor, " r"]
    noticed: Mapping[str, int] = MappingProxyType({})


class Ledger:
    """The units of one battery, in a folder that other processes may share.

    Args:
        folder: shared by all batteries of one network.
        model: hash of the network's weights and options.
        battery: what else all units have in common: threat model, images, mode, seed, chunk, decision. The code of
            batteries and networks and the versions of packages are added to it.
        reading: whether the ledger is only read: nothing is written, and no folder is made.

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
        # checked before the owner's file: another process that starts now writes that file first
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
        """Remove unfinished files of killed processes; recent ones may belong to a process that is writing now."""
        for part in filter(is_leftover, self.folder.rglob(".*")):
            with suppress(OSError):  # another process may sweep too
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()

    def file_of(self, label: str, chunk: int, restart: int, key: str) -> Path:
        """Return the path of a unit's file, whether it exists or not."""
        name = "".join(sign if sign.isalnum() or sign in "-_.=+" else "_" for sign in label)
        return self.folder / name / f"{chunk:05d}-{restart:02d}-{key}.safetensors"

    def read(
        self, label: str, chunk: int, restart: int, key: str, shapes: Mapping[str, Sequence[int]] | None = None
    ) -> Unit | None:
        """Return a unit, or None when it has not been written yet.

        Args:
            label, chunk, restart, key: which one.
            shapes: required shapes of its tensors, by name; None: any that agree with its rows.

        Raises:
            UserError: its file is damaged: cut off, changed since it was written, or of other shapes.
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
            raise UserError(f"{path}: damaged (no {error}); remove it, and its images are attacked again") from None
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path}: damaged ({reason}); remove it, and its images are attacked again") from None

    def write(self, label: str, chunk: int, restart: int, key: str, unit: Unit, about: Mapping[str, Any]) -> None:
        """Write a unit."""
        tensors = {name: part.cpu().contiguous() for name, part in unit._asdict().items() if isinstance(part, Tensor)}
        metadata = {"model": self.model, "key": key, "about": json.dumps(dict(about), default=str)}
        metadata["noticed"] = json.dumps(dict(unit.noticed))
        metadata["digest"] = _digest(tensors, metadata)
        write_atomically(self.file_of(label, chunk, restart, key), save(tensors, metadata=metadata))

    def shared_out(self, chunks: Sequence[int], report: Callable[[str], None]) -> Iterator[int]:
        """Yield every chunk: first those that no other process works on, then the others when they are free again.

        A chunk becomes free when the process that works on it ends, even if it is killed. On file systems without locks
        between machines, two machines may compute the same unit and write the same file; only time is lost.
        """
        waiting = []
        for chunk in chunks:
            with lock(self._lock_of(chunk)) as ours:
                if ours:
                    yield chunk
                else:
                    waiting.append(chunk)
        if waiting:
            report(f"other processes are working on {len(waiting)} of the chunks; waiting for them")
        for chunk in waiting:
            with lock(self._lock_of(chunk), wait=True):
                yield chunk

    def _lock_of(self, chunk: int) -> Path:
        return self.folder / f".chunk-{chunk:05d}.lock"


def ledger_for(
    network: Mapping[str, Any],
    plugins: Plugins,
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
        network: identity of the attacked network: hashes of its weights, changed options.
        plugins: packages of others whose code decides the result, with their hashes. After a change of one of them
            the units are computed again, in the same folder.
        folder: of the ledger.
        inside: whether each network gets its own folder under ``folder``.
        seed, device: of the measurement.
        threat, data, index: norm and radius, data set, indices of the attacked images.
        mode: what else all units have in common.
        reading: whether nothing is written.
    """
    name = content_key(network)
    battery = {
        "threat": {"norm": threat.norm, "eps": threat.eps},
        "data": {**data, "index": index.tolist()},
        "seed": seed,
        "precision": f"float32/{torch.get_float32_matmul_precision()}",
        "device": device.type,
        **({"plugins": plugins} if plugins else {}),
        **mode,
    }
    return Ledger(folder / name if inside else folder, name, battery, reading=reading)


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the hash of everything in a unit's file except the hash itself."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    for name, text in sorted(metadata.items()):
        if name != "digest":
            digest.update(f"{name}\0{text}\0".encode())
    return digest.hexdigest()


def _check_shapes(tensors: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse tensors whose shapes do not fit together, or not those that were required."""
    r = tensors["rows"].numel()
    agree = {"rows": 1, "candidates": 4, "predictions": 2, "broken": 1}
    counts = {"predictions": 1}  # dimension that counts the rows
    for name, dimensions in agree.items():
        shape = tuple(tensors[name].shape)
        wanted = shapes.get(name)
        fits = len(shape) == dimensions and (name == "candidates" or shape[counts.get(name, 0)] == r)
        if not fits or (wanted is not None and shape != tuple(wanted)):
            raise ValueError(f"{name} has the shape {list(shape)}")
