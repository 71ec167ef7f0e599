"""Every place where the package reads a file is known here, with the hostile files that it is tried on.

A file of a stranger ends in one line that names it, or is read as what it is: no code of it runs, no memory is taken
that it only claims to need, nothing waits for a pipe. A new place fails the test until it has a case.
"""

import ast
import functools
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_boards import BOARDS
from hostile_files import CANARY, HOSTILE, KINDS
from hostile_scenes import SCENES

from sslkuramoto.attacks.ledger import Ledger
from sslkuramoto.checkpoint import load_encoder, load_head, save_weights
from sslkuramoto.data.images.files import open_files
from sslkuramoto.data.images.pixels import decode
from sslkuramoto.data.images.tar_shards import index_shards
from sslkuramoto.encoders import ENCODERS
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import load_protocol
from sslkuramoto.evaluation.corruptions.array_files import ArrayFiles
from sslkuramoto.evaluation.foreign import claim
from sslkuramoto.evaluation.representation import features
from sslkuramoto.files import read_object
from sslkuramoto.interop.export_folder import CONFIG, WEIGHTS, load_exported
from sslkuramoto.recipe import load_recipe
from sslkuramoto.report.evidence import attacked_of
from sslkuramoto.report.pictures.oscillators import PHASES_FILE, VIEWS_FILE, load_phases, load_views
from sslkuramoto.report.runs import read_part
from sslkuramoto.results import Metric, Result
from sslkuramoto.run_directory import MetricsFile, RunDirectory
from sslkuramoto.sources import PACKAGE
from sslkuramoto.study import load_study
from sslkuramoto.study.jobs import failure_file, recorded_failure
from sslkuramoto.study.keys import sampled_hash, whole_hash

READERS = {
    *("open", "read_text", "read_bytes", "content_of", "safe_open", "load_file", "load_tensors", "load_checkpoint"),
    *("ZipFile", "memmap", "fromfile", "exec_module", "check_integrity", "iterdir_files", "copyfile"),
}
"""Functions that read a file, whoever owns them."""
LOADERS = {
    **dict.fromkeys(("json", "pickle", "torch", "np", "numpy", "yaml", "tomllib", "marshal", "joblib"), "load"),
    "OmegaConf": "load",
}
"""Modules whose ``load`` reads a file."""
NO_FILE = {("attacks/hop_skip_jump.py", "open"), ("evaluation/rehearsal.py", "open")}  # a method of ours of that name
WRITES = "write or lock"
OURS = "a file that comes with the package"
CODE = "code that the user names in order to run it, or its hash"
MACHINE = "a file of this machine's system"
CHECKED = "torchvision, after its md5 sum was found right"

Case = Callable[[Path, Path], object]
CASES: dict[str, Case] = {**SCENES, **BOARDS}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def _put(path: Path, hostile: Path) -> Path:
    """Move the hostile file, or whatever stands in its place, to where the package looks for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    os.rename(hostile, path)
    return path


@case
def json_object(hostile: Path, folder: Path) -> object:
    return read_object(hostile)


@case
def result(hostile: Path, folder: Path) -> object:
    return Result.read(hostile)


@case
def checkpoint(hostile: Path, folder: Path) -> object:
    with suppress(UserError):
        load_head(hostile)
    return load_encoder(hostile)


@case
def yaml_file(hostile: Path, folder: Path) -> object:
    file = str(_put(folder / "a.yaml", hostile))
    for read in (lambda: load_protocol(file), lambda: load_study(file)):
        with suppress(UserError):
            read()
    return load_recipe(Path(file))


@case
def exported_config(hostile: Path, folder: Path) -> object:
    save_weights(folder / WEIGHTS, {"encoder.a": torch.ones(1)}, kind="encoder")
    _put(folder / CONFIG, hostile)
    return load_exported(folder)


@case
def exported_weights(hostile: Path, folder: Path) -> object:
    said = {"library_name": "sslkuramoto", "format": 1, "kind": "encoder", "seed": 0, "encoder": {"name": "akorn"}}
    (folder / CONFIG).write_text(json.dumps(said))
    _put(folder / WEIGHTS, hostile)
    return load_exported(folder)


@case
def directory_of_a_network(hostile: Path, folder: Path) -> object:
    _put(folder / "model.json", hostile)
    return claim(folder, {"model": "a"})


@case
def sessions(hostile: Path, folder: Path) -> object:
    _put(folder / "environment.json", hostile)
    return RunDirectory(folder).record_session("cpu", 1)


@case
def metrics(hostile: Path, folder: Path) -> object:
    return MetricsFile(_put(folder / "metrics.csv", hostile), 3).add({"step": 3, "new": 1.0})


@case
def reported_run(hostile: Path, folder: Path) -> object:
    content = hostile.read_bytes() if hostile.is_file() else b""
    for name in ("recipe.yaml", "metrics.csv", "environment.json"):
        other = folder / name.partition(".")[0]
        other.mkdir()
        (other / name).write_bytes(content)
        with suppress(UserError):
            read_part("pretrain", other)
    _put(folder / "run" / "results" / "knn.json", hostile)
    return read_part("pretrain", folder / "run")


@case
def recorded_pictures(hostile: Path, folder: Path) -> object:
    content = hostile.read_bytes() if hostile.is_file() else b""
    (folder / VIEWS_FILE).parent.mkdir(parents=True, exist_ok=True)
    (folder / VIEWS_FILE).write_bytes(content)
    with suppress(UserError):
        load_views(folder)
    _put(folder / PHASES_FILE, hostile)
    return load_phases(folder)


@case
def adversarial_images(hostile: Path, folder: Path) -> object:
    path = folder / "results" / "robustness.json"
    _put(folder / "results" / "images" / "robustness.safetensors", hostile)
    return attacked_of(Result({"a": Metric(0.5)}, {}, {}, "random", path=path))


@case
def cached_features(hostile: Path, folder: Path) -> object:
    return features._load(hostile, "key", 3)


@case
def ledger(hostile: Path, folder: Path) -> object:
    made = Ledger(folder / "ledger", "model", {})
    for file in list((folder / "ledger").rglob("*.json")):
        _put(file, hostile)
        return Ledger(folder / "ledger", "model", {})
    _put(made.file_of("a", 0, 0, "key"), hostile)
    return made.read("a", 0, 0, "key")


@case
def unit_of_an_attack(hostile: Path, folder: Path) -> object:
    made = Ledger(folder / "ledger", "model", {})
    _put(made.file_of("a", 0, 0, "key"), hostile)
    return made.read("a", 0, 0, "key")


@case
def failed_task(hostile: Path, folder: Path) -> object:
    _put(failure_file(folder, "key"), hostile)
    return recorded_failure(folder, "key")


@case
def image(hostile: Path, folder: Path) -> object:
    (folder / "tree" / "a").mkdir(parents=True)
    _put(folder / "tree" / "a" / "x.png", hostile)
    files = open_files(str(folder / "tree"))
    return decode(lambda: files.read(files.names[0]), "x.png")


@case
def zip_of_images(hostile: Path, folder: Path) -> object:
    files = open_files(str(hostile))
    return decode(lambda: files.read(files.names[0]), "x.png")


@case
def tar_of_images(hostile: Path, folder: Path) -> object:
    return index_shards([hostile], ["png"], None, True)


@case
def corruption_archive(hostile: Path, folder: Path) -> object:
    np.save(folder / "labels.npy", np.zeros(3))
    _put(folder / "fog.npy", hostile)
    return ArrayFiles(folder).array("fog")


@case
def corruption_tar(hostile: Path, folder: Path) -> object:
    return ArrayFiles(hostile).array("labels")


@case
def weights_of_timm(hostile: Path, folder: Path) -> object:
    arguments = {"checkpoint_path": str(hostile)}
    with torch.device("meta"):
        return ENCODERS.build("timm", {"model": "resnet10t", "arguments": arguments})


@case
def input_of_a_study(hostile: Path, folder: Path) -> object:
    return (sampled_hash(hostile), whole_hash(hostile)) if hostile.is_file() else None


PLACES: dict[tuple[str, str], str] = {
    ("attacks/pass_size.py", "_lines"): MACHINE,
    ("files.py", "content_of"): "json_object",
    ("files.py", "read_object"): "json_object",
    ("files.py", "write_atomically"): WRITES,
    ("files.py", "_flush_name"): WRITES,
    ("cli.py", "_discard_output"): WRITES,
    ("cli_list.py", "_print_details"): OURS,
    ("cli_list.py", "_first_comment"): OURS,
    ("data/glyphs/bitmaps.py", "shipped_bitmaps"): OURS,
    ("report/page.py", "_own"): OURS,
    ("checkpoint.py", "_read"): "checkpoint",
    ("recipe.py", "read_yaml"): "yaml_file",
    ("yaml_files.py", "parsed_yaml"): "yaml_file",
    ("run_directory.py", "_processor"): MACHINE,
    ("run_directory.py", "__init__"): "metrics",
    ("run_directory.py", "add"): "metrics",
    ("interop/export_folder.py", "_weights"): "exported_weights",
    ("evaluation/foreign.py", "_names_in"): CODE,
    ("evaluation/foreign.py", "_module_of"): CODE,
    ("sources.py", "code_version"): CODE,
    ("sources.py", "code_behind"): CODE,
    ("sources.py", "code_beside"): CODE,
    ("sources.py", "meaning_of"): CODE,
    ("evaluation/corruptions/array_files.py", "_loaded"): "corruption_archive",
    ("evaluation/corruptions/array_files.py", "_in_tar"): "corruption_tar",
    ("evaluation/corruptions/array_files.py", "_unpacked"): "corruption_tar",
    ("evaluation/representation/features.py", "_load"): "cached_features",
    ("training/log.py", "_wandb_id"): "an id that this run wrote; any text serves",
    ("report/tables/groups.py", "_without_seed"): "reported_run",
    ("report/runs.py", "read_text"): "reported_run",
    ("report/pictures/oscillators.py", "_load"): "recorded_pictures",
    ("report/evidence.py", "_attacked"): "adversarial_images",
    ("report/scenes.py", "scenes_of"): "stored_scenes",
    ("report/related.py", "related_of"): "stored_pairs",
    ("data/scenes/multi_object_npz.py", "read_scenes"): "npz_of_scenes",
    ("data/scenes/multi_object_npz.py", "_images"): "npz_of_scenes",
    ("data/scenes/multi_object_npz.py", "_masks"): "npz_of_scenes",
    ("attacks/ledger.py", "read"): "unit_of_an_attack",
    ("study/jobs.py", "recorded_failure"): "failed_task",
    ("study/model.py", "follows_seed"): "yaml_file",
    ("study/keys.py", "whole_hash"): "input_of_a_study",
    ("study/keys.py", "sampled_hash"): "input_of_a_study",
    ("study/keys.py", "_read"): "json_object",
    ("leaderboard/network.py", "_source"): "a result that was read before, whose bytes are hashed",
    ("study/named.py", "new_study"): OURS,
    ("data/images/tar_shards.py", "_read"): "tar_of_images",
    ("data/images/tar_shards.py", "index_shards"): "tar_of_images",
    ("data/images/files.py", "read"): "image",
    ("data/images/files.py", "_zip"): "zip_of_images",
    ("data/images/pixels.py", "decode"): "image",
    ("data/boards/sudoku_files.py", "rows_of"): "boards_of_rrn",
    ("data/boards/maze_files.py", "_array"): "arrays_of_mazes",
    ("saved_tensors.py", "read_saved"): "published_checkpoint",
    ("interop/import_run.py", "_origin"): "published_checkpoint",
    ("data/images/mnist5k.py", "_text"): "packed_digits",
    ("data/images/cifar.py", "_is_whole"): CHECKED,
    ("data/images/cifar.py", "_unpack"): CHECKED,
    ("encoders/timm.py", "_load"): "weights_of_timm",
}
"""(file, function) -> its hostile case, or why it needs none."""


def _name(function: ast.expr) -> tuple[str, str]:
    """Return what is called and whose it is."""
    if isinstance(function, ast.Attribute):
        owner = function.value
        return function.attr, owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
    return getattr(function, "id", ""), ""


def _places(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (file, function) of every call that reads a file."""
    name = file.relative_to(PACKAGE).as_posix()

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            if isinstance(child, ast.Call):
                called, owner = _name(child.func)
                own = called == "read_text" and not isinstance(child.func, ast.Attribute)  # ours
                reads = (called in READERS and not own) or LOADERS.get(owner) == called
                if reads and (name, called) not in NO_FILE:
                    yield name, inside
            yield from walk(child, inside)

    yield from walk(ast.parse(file.read_text()), "")


def test_every_place_where_a_file_is_read_is_known_and_tried():
    found = {place for file in sorted(PACKAGE.rglob("*.py")) for place in _places(file)}
    assert found - PLACES.keys() == set(), "new places: add a hostile case for each of them"
    assert PLACES.keys() - found == set(), "places that are gone"
    assert {reason for reason in PLACES.values() if reason.isidentifier()} <= CASES.keys()


def test_no_pickle_is_read_anywhere_and_weights_are_weights_only():
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, owner = _name(node.func)
            words = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            where = f"{file.name}:{node.lineno}"
            assert not (owner in ("pickle", "marshal", "joblib", "dill") and called.startswith("load")), where
            if called == "load" and owner == "torch":  # published files; checkpoints of ours are safetensors
                assert words.get("weights_only") is True, where
            assert isinstance(node.func, ast.Attribute) or called not in ("eval", "exec", "compile"), where
            assert called not in ("unsafe_load", "full_load"), where
            if called == "load" and owner in ("np", "numpy"):
                assert words.get("allow_pickle") is False, where
            if called == "load_checkpoint":
                assert words.get("weights_only") is True, where


@contextmanager
def _in_time(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError("still waiting, or at work on what the file claims to hold")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _one_line(act: Callable[[], object], folder: Path) -> None:
    said = ""
    with _in_time(60):
        try:
            act()
        except UserError as error:
            said = str(error)
    assert said == "" or said.isprintable()
    assert len(said) < 3500
    assert not list(folder.rglob(CANARY)), "code of the file was run, or it wrote outside"


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("reader", CASES)
def test_a_hostile_file_is_one_line_and_runs_nothing(reader, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile, folder = tmp_path / "hostile", tmp_path / "folder"
    folder.mkdir()
    hostile.write_bytes(HOSTILE[content](tmp_path))
    _one_line(functools.partial(CASES[reader], hostile, folder), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", CASES)
def test_what_is_no_file_keeps_nobody_waiting(reader, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hostile, folder = tmp_path / "hostile", tmp_path / "folder"
    folder.mkdir()
    KINDS[kind](hostile)
    _one_line(functools.partial(CASES[reader], hostile, folder), tmp_path)
