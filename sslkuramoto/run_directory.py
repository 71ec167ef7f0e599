"""A run directory: everything one run leaves behind, and whether a command may continue it.

recipe.yaml          resolved      metrics.csv             one line a logged step
environment.json     one entry a session                 checkpoints/last.safetensors
                                                         checkpoints/epoch-N/  encoder and head, where N was to be kept
encoder.safetensors  head.safetensors (where the objective trains one); *-raw.* beside them when weights were averaged
results/*.json       one a protocol                       cache/
data.json            what it knows of its data (run_data.py)
model.json           in place of a recipe, where a network was measured that was not trained here
"""

import csv
import io
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from getpass import getuser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch

from sslkuramoto.data import DATA
from sslkuramoto.errors import LONGEST_WORD, UserError, shortened
from sslkuramoto.files import check_writable, is_leftover, lock, read_object, remove_leftovers, write_atomically
from sslkuramoto.masking import MASK, masked, names_secret
from sslkuramoto.recipe import Recipe, dump_recipe, load_recipe
from sslkuramoto.version import __version__

_LOCK = ".lock"  # held while a process trains here
Weights = Literal["ema", "raw"]
_PACKAGES = ("torch", "torchvision", "lightly", "timm", "kornia", "pyautoattack", "pytorch-lightning")


def _as_it_is(recipe: Recipe) -> Recipe:
    return recipe


class RunDirectory:
    """Paths and records of one run.

    Args:
        path: the directory; need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.environment_file = path / "environment.json"
        self.data_file = path / "data.json"
        self.metrics_file = path / "metrics.csv"
        self.last_checkpoint = path / "checkpoints" / "last.safetensors"
        self.results = path / "results"
        self.cache = path / "cache"

    def encoder_file(self, weights: Weights = "ema") -> Path:
        """Return the file of the exported encoder; ``"raw"`` exists beside it only when weights were averaged."""
        return self.path / ("encoder.safetensors" if weights == "ema" else "encoder-raw.safetensors")

    def head_file(self, weights: Weights = "ema") -> Path:
        """Return the file of the exported head: its older name, ``classifier.safetensors``, if only that exists."""
        ending = "" if weights == "ema" else "-raw"
        file, older = (self.path / f"{name}{ending}.safetensors" for name in ("head", "classifier"))
        return older if older.is_file() and not file.is_file() else file

    def at_epoch(self, epoch: int) -> "RunDirectory":
        """Return the directory that keeps encoder and head as they were after an epoch."""
        return RunDirectory(self.path / "checkpoints" / f"epoch-{epoch}")

    def kept_epochs(self) -> list[int]:
        """Return the epochs whose encoder is kept here (:meth:`at_epoch`), in order."""
        names = (path.name.removeprefix("epoch-") for path in self.path.glob("checkpoints/epoch-*"))
        return sorted({int(name) for name in names if name.isdecimal() and self.at_epoch(int(name)).finished})

    @property
    def owner(self) -> "RunDirectory":
        """The run whose weights lie here: itself, or that of a kept epoch (:meth:`at_epoch`)."""
        kept = self.path.parent.name == "checkpoints" and not self.recipe_file.is_file()
        return RunDirectory(self.path.parent.parent) if kept else self

    @property
    def finished(self) -> bool:
        """Whether training ended and left its encoder."""
        return self.encoder_file().is_file()

    @property
    def begun(self) -> bool:
        """Whether the directory holds any training: a first start that failed leaves none."""
        return self.last_checkpoint.is_file() or self.finished

    def recipe(self) -> Recipe:
        """Read the resolved recipe.

        Raises:
            UserError: this is no run directory.
        """
        if not self.recipe_file.is_file():
            raise UserError(f"{self.path}: no run directory (it holds no recipe.yaml)")
        return load_recipe(self.recipe_file)

    def check(self, recipe: Recipe, complete: Callable[[Recipe], Recipe] = _as_it_is) -> None:
        """Check that this can be, or is, the directory of ``recipe``; writes nothing.

        Args:
            recipe: what shall be carried out here.
            complete: fills in what the recipe stored here leaves at its defaults, as was done with ``recipe``.

        Raises:
            UserError: it belongs to another recipe (the first difference is named) or holds other files.
        """
        if self.recipe_file.is_file():
            difference = _first_difference(self._method(complete(self.recipe())), self._method(recipe))
            if difference and self.begun:
                longer = f"; to train longer, {self._longer()}" if difference.startswith("epochs is ") else ""
                raise UserError(
                    f"{self.path}: belongs to another recipe: {difference}; choose another run directory{longer}"
                )
            there, here = self.recipe().engine.precision, recipe.engine.precision
            if there != here and self.begun:
                raise UserError(
                    f"{self.path}: engine.precision is {there!r} there and {here!r} here; a run that has begun keeps "
                    "the precision of its weights; choose another run directory"
                )
        elif self.path.exists() and (
            not self.path.is_dir() or not all(is_leftover(item) or item.name == _LOCK for item in self.path.iterdir())
        ):
            raise UserError(f"{self.path}: exists and is no run directory; choose another one")

    def start(self) -> str | None:
        """Return the hash of the weights that training began from; None where it has not begun or did not record them.

        Raises:
            UserError: environment.json is damaged.
        """
        known = [session["start"] for session in self._sessions() if session.get("start")] if self.begun else []
        return known[-1] if known else None

    def _longer(self) -> str:
        """Return how a run of more epochs is begun, as it can be typed."""
        run, recipe = (shlex.quote(str(path)) for path in (self.path, self.recipe_file))
        if not self.finished:
            return f"finish it first: sslkuramoto train {run}"
        return f"start another run from its encoder: sslkuramoto train {recipe} --init {run} --run {run}-longer"

    def _method(self, recipe: Recipe) -> dict[str, Any]:
        """Return what identifies a recipe here: not the path of its data, once their content is known (run_data.py)."""
        method = recipe.method()
        for key in DATA.places(recipe.data.name, recipe.data.options) if self.data_file.is_file() else ():
            del method["data"][key]
        return method

    def claim(self, recipe: Recipe, complete: Callable[[Recipe], Recipe] = _as_it_is) -> None:
        """Make this the directory of ``recipe``, or recognise that it already is.

        A run that has begun keeps its recipe.yaml, but for the path of data that were moved and for what is measured
        now (``measure``), which is no part of what identifies it.

        Raises:
            UserError: as :meth:`check`; or it cannot be written.
        """
        self.check(recipe, complete)
        stored = complete(self.recipe()) if self.begun else None
        if stored is None or stored.method() != recipe.method():  # a first start, or data were moved
            write_atomically(self.recipe_file, dump_recipe(recipe))
        elif stored.measure != recipe.measure:
            write_atomically(self.recipe_file, dump_recipe(replace(stored, measure=recipe.measure)))
        remove_leftovers(self.path)
        remove_leftovers(self.last_checkpoint.parent)

    def check_results(self) -> None:
        """Check, before anything is measured, that results can be written here.

        Raises:
            UserError: they cannot.
        """
        check_writable(self.results, str(self.results))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training here meanwhile; the lock ends with the process, however it ends.

        Raises:
            UserError: another process is training here; the directory cannot be written.
        """
        with lock(self.path / _LOCK) as alone:
            if not alone:
                raise UserError(f"{self.path}: another process is training here; wait for it or end it")
            yield

    def _sessions(self) -> list[dict[str, Any]]:
        """Return the sessions of environment.json; none where there is no such file."""
        if not self.environment_file.is_file():
            return []
        advice = "damaged; remove it to continue"
        sessions = read_object(self.environment_file, advice).get("sessions")
        if not isinstance(sessions, list) or not all(isinstance(session, dict) for session in sessions):
            raise UserError(f"{self.environment_file}: holds no list of sessions ({advice})")
        return sessions

    def record_session(self, device: str, processes: int, start: str | None = None) -> list[str]:
        """Append this session's versions and hardware to environment.json.

        Args:
            device: that the run is trained on.
            processes: that train it.
            start: hash of the weights that the run begins from; None: it begins from random ones, or continues.

        Returns:
            What of hardware and processes is not as in the session before, such as "processes=2 (before: 1)".
        """
        sessions = self._sessions()
        before = sessions[-1] if sessions else {}
        session = describe_environment(device) | {"processes": processes}
        if start is not None:
            session["start"] = start
        write_atomically(self.environment_file, json.dumps({"sessions": [*sessions, session]}, indent=1))
        differ = [key for key in ("hardware", "processes") if key in before and before[key] != session[key]]
        return [f"{key}={session[key]} (before: {shortened(str(before[key]), LONGEST_WORD)})" for key in differ]


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, hardware and code revision of this process."""
    versions: dict[str, str | None] = {"sslkuramoto": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "device": device,
        "hardware": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "revision": _revision(),
        "command": [Path(sys.argv[0]).name, *map(impersonal, sys.argv[1:])],
    }


_OPTION = re.compile(r"-{0,2}[\w.-]+")
_TOKENS = re.compile(r"\b(hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abp]-|AKIA)[\w-]{12,}")


def impersonal(text: str) -> str:
    """Return text as it may be shown to others: without home folders, the user's name in paths, and secrets.

    A secret is the value of a key (also within mappings) or an environment variable that is named so, the part before
    the ``@`` of a URL, and a word that begins like the tokens of well-known services.
    """
    key, sign, _ = text.partition("=")
    if sign and "\n" not in text and _OPTION.fullmatch(key) and names_secret(key):
        return f"{key}={MASK}"
    text = masked(text)
    for name, value in os.environ.items():
        if len(value) >= 8 and (names_secret(name) or name.upper().endswith("_KEY")):
            text = text.replace(value, MASK)
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)
    text = _TOKENS.sub(MASK, text)
    for home in {str(Path.home()), str(Path.home().resolve())} - {"/"}:
        text = re.sub(rf"{re.escape(home)}(?=[/\s'\"]|$)", "~", text)
    text = re.sub(r"(?<![\w.~])/(home|Users)/[^/\s'\"]+", "~", text)
    with suppress(OSError, KeyError):  # a user without a name, as in a container
        text = re.sub(rf"(?<=/){re.escape(getuser())}(?=/|$)", "USER", text)
    return text


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _revision() -> str | None:
    """Return the git revision of the source tree, with ``-dirty`` when it was edited; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _first_difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> str | None:
    for key in [*old, *(key for key in new if key not in old)]:
        a, b = old.get(key), new.get(key)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            return _first_difference(a, b, f"{prefix}{key}.")
        return f"{prefix}{key} is {a!r} there and {b!r} here"
    return None


class MetricsFile:
    """metrics.csv: grows line by line, each closed with the file; new columns rewrite it whole.

    Args:
        path: the file.
        start: first step that will be written; later lines of an interrupted session are dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.columns: list[str] = []
        rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="", errors="replace") as file:
                reader = csv.DictReader(line.replace("\0", "") for line in file)
                try:
                    self.columns = list(reader.fieldnames or [])
                    rows = [row for row in reader if _is_whole(row) and int(row["step"]) < start]
                except csv.Error as error:  # a field of 128 KiB
                    raise UserError(f"{path}: damaged ({error}); remove it to continue") from None
        self._rewrite(rows)

    def add(self, row: Mapping[str, float | int | str]) -> None:
        """Append one line; columns it lacks are left empty."""
        new = [key for key in row if key not in self.columns]
        if new:
            with self.path.open(newline="", errors="replace") as file:
                rows = list(csv.DictReader(file))
            self.columns += new
            self._rewrite(rows)
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns, restval="").writerow(row)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}; the last checkpoint is kept") from None

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="")
        if self.columns:
            writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.path, text.getvalue())


def _is_whole(row: Mapping[str, str | None]) -> bool:
    return (row.get("step") or "").isdecimal() and None not in row and None not in row.values()
