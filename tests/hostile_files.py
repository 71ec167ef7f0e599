"""What a stranger's file may hold, and what may lie in the place of a file."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CANARY = "canary"


class _Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder / CANARY)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def _zipped(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, member in members.items():
            file.writestr(name, member)
    return content.getvalue()


def _saved_by_torch(folder: Path) -> bytes:
    content = io.BytesIO()
    torch.save({"a": _Canary(folder)}, content)
    return content.getvalue()


def _npy(shape: str, kind: str = "<f8") -> bytes:
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def _safetensors(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 60))
HUGE = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
AKORN = json.dumps({"kind": "encoder", "encoder": {"name": "akorn", "channels": 2**15}})
LOADING = {"name": "timm", "model": "resnet10t", "arguments": {"checkpoint_path": "/nowhere"}}

HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda _: b"",
    "a pickle": lambda folder: pickle.dumps(_Canary(folder)),
    "a pickle in a mapping": lambda folder: pickle.dumps({"state_dict": _Canary(folder)}),
    "saved by torch": _saved_by_torch,
    "an array of objects": lambda folder: _npy("(1,)", "|O") + pickle.dumps([_Canary(folder)]),
    "an npz of objects": lambda f: _zipped(**{"images.npy": _npy("(1,)", "|O") + pickle.dumps([_Canary(f)])}),
    "no UTF-8": lambda _: b"\xff\xfe{\x00}\x00",
    "null bytes": lambda _: b"\0" * 100,
    "step,\0": lambda _: b"step,a\0\n\0,1\n\xb2,2\n1,\0",
    "superscript digits": lambda _: "step,a\n²,1\n".encode(),
    "a huge field": lambda _: b"step,a\n1," + b"1" * 200_000 + b"\n",
    "brackets": lambda _: b"[" * 30_000,
    "braces": lambda _: b'{"a":' * 100_000,
    "flow mappings": lambda _: b"a: " + b"{a: " * 20_000,
    "a YAML bomb": lambda _: BOMB.encode(),
    "an alias of itself": lambda _: b"a: &a [*a]\n",
    "a YAML object": lambda _: b"a: !!python/object/apply:os.mkdir [canary]\n",
    "not a number": lambda _: b'{"metrics": {"a": {"value": NaN}}, "sessions": NaN, "reason": Infinity}',
    "a number of 5,000 digits": lambda _: b'{"metrics": {"a": {"value": ' + b"9" * 5000 + b"}}}",
    "a list": lambda _: b"[1, 2]",
    "a text": lambda _: b'"text"',
    "odd types": lambda _: b'{"sessions": 3, "metrics": 3, "results": [], "places": 1, "splits": []}',
    "a huge header": lambda _: (2**62).to_bytes(8, "little") + b"{}",
    "a huge tensor": lambda _: _safetensors({"a": HUGE, "__metadata__": {"sslkuramoto": AKORN}}),
    "a huge encoder": lambda _: _safetensors({"__metadata__": {"sslkuramoto": AKORN}}),
    "an encoder that loads a file": lambda _: _safetensors(
        {"__metadata__": {"sslkuramoto": json.dumps({"kind": "encoder", "encoder": LOADING})}}
    ),
    "a huge config": lambda _: json.dumps(
        {
            **{"library_name": "sslkuramoto", "format": 1, "kind": "classifier", "seed": 0},
            **{"encoder": {"name": "akorn", "channels": 2**30}, "head": {"name": "linear"}},
            "head_size": {"in_features": 2**30, "out_features": 2**30},
        }
    ).encode(),
    "a huge array": lambda _: _npy("(1000000000000,)"),
    "an array of no shape": lambda _: _npy("(-1,)"),
    "a huge array in an npz": lambda _: _zipped(**{"images.npy": _npy("(1000000000000,)")}),
    "a zip that leads out": lambda _: _zipped(**{"../../canary": b"", "../../train/a/x.png": b"", "/canary": b""}),
    "a broken zip": lambda _: _zipped(**{"a/x.png": b"text"})[:-30],
    "an image of nothing": lambda _: b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    "escapes": lambda _: b"\x1b[2J\x1b]0;title\x07: [",
}
"""What a stranger's file may hold."""

KINDS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
"""What may lie in the place of a file."""
