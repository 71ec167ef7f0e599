"""One attack: whole, killed and resumed, shared by processes, extended. The same candidates break the same images."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import another_process
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sslkuramoto.attacks import Ledger, battery, ledger
from sslkuramoto.attacks.counting import counted
from sslkuramoto.attacks.ledger import Unit
from sslkuramoto.attacks.pgd import Pgd
from sslkuramoto.attacks.square import SquareEot
from sslkuramoto.errors import UserError
from sslkuramoto.evaluation import PROTOCOLS

CE = {"name": "autoattack", "member": "apgd-ce", "iterations": 4, "eot_iter": 2}
SQUARE = {"name": "autoattack", "member": "square", "queries": 8}
PGD = {"name": "pgd", "iterations": 3, "k": 2, "restarts": 2}
HELD = {"name": "held_noise", "k": 2, "max_k": 4, "iterations": 3, "draws": 20}
OPTIONS = {"eps": 0.05, "images": 12, "chunk": 4, "select_draws": 20, "control": 0, "attacks": [CE, PGD, HELD]}


def measure(subject, units=None, **changed):
    """Measure and, where asked, write down the units that were begun."""
    if units is not None:
        subject.report = lambda line: units.append(line) if ": chunk " in line else None
    return PROTOCOLS.build("robustness", {**OPTIONS, **changed})(subject)


def place(line):
    """Return attack, chunk and restart of a line of progress."""
    return re.sub(r", \d+ images$", "", line)


@pytest.fixture
def parts(noisy, digits):
    return {
        "encoder": noisy[0].state_dict(),
        "head": noisy[1].state_dict(),
        "images": digits["test"].images[:40].clone(),
        "labels": digits["test"].labels[:40].clone(),
        "options": OPTIONS,
    }


@pytest.fixture
def subject(parts, tmp_path):
    return another_process.subject_from(parts, tmp_path / "whole")


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    """What APGD found once, and its ledger; for :func:`attacked`."""
    return {}


@pytest.fixture
def attacked(subject, kept, tmp_path_factory):
    """The subject with a copy of a ledger that holds all the work of APGD: measured again, it attacks nothing."""
    if not kept:
        kept["per_image"] = measure(subject, attacks=[CE]).per_image
        kept["ledger"] = shutil.copytree(subject.run_dir / "ledger", tmp_path_factory.mktemp("kept") / "ledger")
    else:
        shutil.copytree(kept["ledger"], subject.run_dir / "ledger")
    return subject


def contents(ledger: Path) -> dict:
    return {file.name: {k: v.tolist() for k, v in load_file(file).items()} for file in ledger.rglob("*.safetensors")}


def test_whole_killed_and_resumed_and_split_over_two_processes_are_identical(parts, subject, tmp_path):
    """A real process and a real SIGKILL; the two that share a ledger wait until each has begun a unit."""
    torch.save(parts, tmp_path / "parts")
    command = [sys.executable, another_process.__file__, str(tmp_path), "4"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        whole_units = []
        whole = another_process.written(measure(subject, whole_units))
        assert len(set(map(place, whole_units))) == len(whole_units)
        result = another_process.measure_shared(subject, parts["options"], tmp_path, "test", "shared")
        assert another_process.written(result) == whole
        errors = process.communicate(timeout=another_process.PATIENCE)[1]
    assert process.returncode == -signal.SIGKILL, errors

    assert json.loads((tmp_path / "shared.json").read_text()) == json.loads(json.dumps(whole))
    units = {name: (tmp_path / f"{name}.units").read_text().splitlines() for name in ("test", "shared", "killed")}
    assert min(len(units["test"]), len(units["shared"])) >= 3, "both did at least a chunk"
    assert sorted(units["test"] + units["shared"]) == sorted(whole_units), "together every unit once"

    assert units["killed"] == whole_units[:5]
    resumed_units = []
    resumed = measure(subject, resumed_units, ledger=str(tmp_path / "killed"))
    assert resumed_units == whole_units[4:], "only the unit that was under way is done again"
    assert another_process.written(resumed) == whole
    assert contents(tmp_path / "killed") == contents(tmp_path / "shared") != {}


def test_a_finished_attack_is_read_and_not_run_again(subject):
    units = []
    first = measure(subject, units)
    n = len(units)
    with counted(subject.encoder) as count:
        again = measure(subject, units)
    assert len(units) == n
    assert count.backward == 0
    scored, looked_at_once_more = 12 * 3 * 20, 12 * 20
    assert count.all == 4 + scored + looked_at_once_more, "and the first chunk is checked for logits"
    assert again.per_image == first.per_image
    assert again.metrics == first.metrics


@pytest.mark.parametrize("kill_at", [0, 7])
def test_wherever_it_is_interrupted_it_continues_from_there(subject, tmp_path, kill_at):
    class Stop(BaseException):
        pass

    def stop(line):
        begun.append(line)
        if len(begun) > kill_at:
            raise Stop

    begun, rest, whole = [], [], []
    options = {"ledger": str(tmp_path / "ledger"), "attacks": [CE, PGD]}
    subject.report = stop
    with pytest.raises(Stop):
        PROTOCOLS.build("robustness", {**OPTIONS, **options})(subject)
    resumed = measure(subject, rest, **options)
    assert resumed.per_image == measure(subject, whole, ledger=str(tmp_path / "other"), attacks=[CE, PGD]).per_image
    assert begun[:-1] + rest == whole


@pytest.mark.parametrize("network", ["fixed", "random"])
def test_an_attack_added_later_does_not_run_the_earlier_ones_again(subject, network):
    options = {"initial": network}
    with counted(subject.encoder) as alone:
        first = measure(subject, [], attacks=[CE, PGD], **options)
    units = []
    with counted(subject.encoder) as count:
        both = measure(subject, units, attacks=[CE, PGD, SQUARE], **options)
    assert {line.split(":")[0] for line in units} == {"square"}
    assert alone.backward > 0
    assert count.backward == 0, "Square asks for no gradients: nothing was attacked again"
    standing = [{i for i, by in enumerate(run.per_image["broken_by"]) if by is None} for run in (first, both)]
    assert standing[1] <= standing[0], "the union never rises"
    kept = list(zip(first.per_image["broken_by"], both.per_image["broken_by"], strict=True))
    assert all(was == now or (was is None and now == "square") for was, now in kept)
    if network == "fixed":
        assert both.metrics["robust_accuracy"].value <= first.metrics["robust_accuracy"].value


def test_an_attack_put_before_the_others_is_another_battery_of_work(subject):
    first = measure(subject, [], attacks=[PGD], initial="fixed")
    units = []
    both = measure(subject, units, attacks=[CE, PGD], initial="fixed")
    assert {line.split(":")[0] for line in units} == {"apgd-ce", "pgd-3-ce-fresh"}
    assert both.metrics["robust_accuracy"].value <= first.metrics["robust_accuracy"].value


@pytest.mark.parametrize(
    "changed",
    [
        {"eps": 0.0500001},
        {"norm": "l2"},
        {"chunk": 5},
        {"images": 11},
        {"initial": "averaged", "average": 2},
        {"decided_by": "one draw"},
        {"chained": False},
        {"select_draws": 21},
        {"attacks": [CE | {"iterations": 5}]},
    ],
    ids=str,
)
def test_whatever_the_candidates_depend_on_makes_another_unit(attacked, changed):
    units = []
    measure(attacked, units, attacks=[CE])
    assert units == []
    measure(attacked, units, **{"attacks": [CE], **changed})
    assert len(units) == 3


def test_every_unit_is_a_file_that_says_what_it_is(subject):
    measure(subject, attacks=[CE, PGD])
    (model,) = (subject.run_dir / "ledger").iterdir()
    (battery,) = (folder for folder in model.iterdir() if folder.is_dir())
    described = json.loads((battery / "battery.json").read_text())
    assert described["threat"] == {"norm": "linf", "eps": 0.05}
    assert len(described["data"]["index"]) == 12
    files = sorted(file.relative_to(battery).as_posix() for file in battery.rglob("*.safetensors"))
    assert len(files) == 3 * (1 + 1 + 2)
    assert {file.split("/")[0] for file in files} == {"clean", "apgd-ce", "pgd-3-ce-fresh"}
    with safe_open(battery / files[0], framework="pt") as file:
        assert json.loads(file.metadata()["about"])["options"]["member"] == "apgd-ce"
        assert file.get_tensor("candidates").dtype == torch.float32
        assert len(file.get_tensor("rows")) == len(file.get_tensor("candidates")) == len(file.get_tensor("broken"))
    assert not list(battery.rglob("*.part")), "nothing half written is left"


def test_a_ledger_of_another_network_is_refused(subject, tmp_path):
    folder = str(tmp_path / "ledger")
    measure(subject, attacks=[CE], ledger=folder)
    subject.encoder_hash = "2" * 64
    with pytest.raises(UserError, match=r"ledger .*belongs to another network \(hash \w+ there, \w+ here\).*ledger="):
        measure(subject, attacks=[CE], ledger=folder)
    subject.encoder_hash = "1" * 64
    torch.nn.init.zeros_(subject.head.bias)
    with pytest.raises(UserError, match="another network"):
        measure(subject, attacks=[CE], ledger=folder)


def test_other_options_of_the_encoder_are_another_network(subject, tmp_path):
    measure(subject, attacks=[CE], ledger=str(tmp_path / "ledger"))
    subject.encoder_options = {"num_steps": 8}
    with pytest.raises(UserError, match="another network"):
        measure(subject, attacks=[CE], ledger=str(tmp_path / "ledger"))


def test_a_folder_with_other_files_is_refused(subject, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"ledger .*photos: is a folder with other files; name another"):
        measure(subject, attacks=[CE], ledger=str(tmp_path / "photos"))
    assert [file.name for file in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_a_file_in_place_of_the_folder_is_one_line(subject, tmp_path):
    (tmp_path / "ledger").write_text("no folder")
    with pytest.raises(UserError, match=r"ledger .*: is a file; name a folder with ledger=") as caught:
        measure(subject, attacks=[CE], ledger=str(tmp_path / "ledger"))
    assert "\n" not in str(caught.value)
    assert (tmp_path / "ledger").read_text() == "no folder"


@pytest.mark.parametrize(
    "damage",
    ["cut", "empty", "text", "pixels", "verdict", "noticed", "shape", "another network", "other tensors"],
)
def test_a_damaged_unit_is_named_and_its_removal_mends_the_ledger(attacked, kept, damage):
    subject, expected = attacked, kept["per_image"]
    file = sorted(subject.run_dir.rglob("apgd-ce/*.safetensors"))[1]
    whole, tensors = file.read_bytes(), load_file(file)
    with safe_open(file, framework="pt") as unit:
        about = unit.metadata()
    if damage == "pixels":
        save_file(tensors | {"candidates": tensors["candidates"] + 0.5}, file, metadata=about)
    elif damage == "verdict":
        save_file(tensors | {"broken": ~tensors["broken"]}, file, metadata=about)
    elif damage == "noticed":
        save_file(tensors, file, metadata=about | {"noticed": '{"a zero gradient": 1}'})
    elif damage == "shape":
        changed = tensors | {"broken": tensors["broken"][:1]}
        save_file(changed, file, metadata=about | {"digest": ledger._digest(changed, about)})
    elif damage == "another network":
        save_file(tensors, file, metadata=about | {"model": "x"})
    elif damage == "other tensors":
        save_file({"candidates": tensors["candidates"]}, file, metadata=about)
    else:
        file.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"x" * 999}[damage])
    with pytest.raises(UserError, match=re.escape(str(file))) as caught:
        measure(subject, attacks=[CE])
    assert "\n" not in str(caught.value)
    assert "remove it" in str(caught.value)
    file.unlink()
    units = []
    assert measure(subject, units, attacks=[CE]).per_image == expected
    assert len(units) == 1


@pytest.mark.parametrize("shapes", [{"candidates": (2, 3, 8, 8)}, {"predictions": (20, 2)}, {"rows": (1,)}], ids=str)
def test_a_unit_of_other_shapes_than_asked_for_is_damaged(tmp_path, shapes):
    ours = Ledger(tmp_path, "model", {})
    unit = Unit(torch.arange(2), torch.rand(2, 3, 4, 4), torch.ones(5, 2).long(), torch.tensor([True, False]))
    ours.write("attack", 0, 0, "key", unit, {})
    assert ours.read("attack", 0, 0, "key", {"candidates": (2, 3, 4, 4), "predictions": (5, 2)}) is not None
    with pytest.raises(UserError, match=rf"key\.safetensors: damaged \({next(iter(shapes))} has the shape .*remove it"):
        ours.read("attack", 0, 0, "key", shapes)


def test_what_a_killed_write_left_is_ignored_and_swept_once_it_is_old(tmp_path):
    folder = Ledger(tmp_path, "model", {}).folder / "attack"
    folder.mkdir()
    young, old = (folder / f".00001-00-key.safetensors.{turn}-abcd.part" for turn in (1, 2))
    for part in (young, old):
        part.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * ledger.ABANDONED,) * 2)
    assert Ledger(tmp_path, "model", {}).read("attack", 1, 0, "key") is None
    assert young.is_file(), "somebody may be writing it"
    assert not old.exists()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_owner_is_named(subject, tmp_path, content):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "ledger.json").write_text(content)
    with pytest.raises(UserError, match=r"ledger\.json: .*damaged; remove it") as caught:
        measure(subject, attacks=[CE], ledger=str(tmp_path / "ledger"))
    assert "\n" not in str(caught.value)


def test_a_folder_that_another_process_is_just_filling_is_no_folder_with_other_files(tmp_path, monkeypatch):
    """The other one writes its owner and its battery between our two looks at the folder."""
    folder, listed = tmp_path / "ledger", Path.iterdir
    folder.mkdir()

    def filled(path):
        monkeypatch.setattr(Path, "iterdir", listed)
        Ledger(folder, "model", {"turn": 1})
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", filled)
    assert Ledger(folder, "model", {"turn": 1}).folder.is_dir()
    assert len(list(folder.iterdir())) == 2


def test_units_written_at_the_same_moment_under_one_name_are_whole(tmp_path):
    """Two machines without locks between them may do the same unit; in containers their process numbers agree, too."""
    ledger, errors = Ledger(tmp_path, "model", {}), []
    unit = Unit(torch.arange(2), torch.rand(2, 3, 4, 4), torch.ones(5, 2).long(), torch.tensor([True, False]))
    gate = threading.Barrier(4)

    def write():
        for turn in range(20):
            gate.wait()
            try:
                ledger.write("attack", turn, 0, "key", unit, {})
            except UserError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert all(torch.equal(ledger.read("attack", turn, 0, "key").candidates, unit.candidates) for turn in range(20))
    assert not list(tmp_path.rglob("*.part"))


def test_chunks_that_another_process_holds_come_last_and_are_waited_for(tmp_path):
    ours, theirs = (Ledger(tmp_path, "model", {}) for _ in range(2))
    lines, order = [], []
    held = theirs.shared_out(range(4), lines.append)
    assert next(held) == 0
    done = ours.shared_out(range(4), lines.append)
    order += [next(done) for _ in range(3)]
    assert order == [1, 2, 3]
    timer = threading.Timer(0.05, held.close)  # as if the other process ended
    timer.start()
    order += list(done)
    assert order == [1, 2, 3, 0]
    assert lines == ["other processes are working on 1 of the chunks; waiting for them"]


def test_a_unit_comes_back_as_it_went(tmp_path):
    ledger = Ledger(tmp_path, "model", {"threat": 1})
    found = torch.tensor([1, 3]), torch.rand(2, 3, 4, 4), torch.ones(5, 2).long(), torch.tensor([True, False])
    unit = Unit(*found, noticed={"64 settled": 1})
    assert ledger.read("a/b c", 1, 2, "key") is None
    ledger.write("a/b c", 1, 2, "key", unit, {"options": {"path": Path("x")}})
    back = Ledger(tmp_path, "model", {"threat": 1}).read("a/b c", 1, 2, "key")
    assert all(torch.equal(one, other) for one, other in zip(found, back, strict=False))
    assert back.noticed == {"64 settled": 1}
    file = ledger.file_of("a/b c", 1, 2, "key").relative_to(ledger.folder)
    assert file.as_posix() == "a_b_c/00001-02-key.safetensors"
    assert Ledger(tmp_path, "model", {"threat": 2}).read("a/b c", 1, 2, "key") is None
    assert ledger.read("a/b c", 1, 3, "key") is None


def test_units_belong_to_a_version_of_the_packages_and_of_the_code_of_plugins(tmp_path, subject, monkeypatch):
    first = Ledger(tmp_path, "model", {"threat": 1}).folder
    monkeypatch.setattr("sslkuramoto.attacks.ledger.version", lambda package: "0.0")
    assert Ledger(tmp_path, "model", {"threat": 1}).folder != first
    units: list[str] = []
    measure(subject, [], attacks=[PGD])
    monkeypatch.setattr("sslkuramoto.attacks.battery.plugins_behind", lambda *parts: {"mine": "changed"})
    measure(subject, units, attacks=[PGD])
    assert units, "an attack of another package that changed is made again"


def test_a_changed_attack_is_made_again_and_the_others_are_not(subject, monkeypatch):
    measure(subject, [], attacks=[PGD, SQUARE], chained=False)
    known = battery._code_of
    monkeypatch.setattr(battery, "_code_of", lambda attack: "new" if isinstance(attack, Pgd) else known(attack))
    units: list[str] = []
    measure(subject, units, attacks=[PGD, SQUARE], chained=False)
    assert {unit.partition(":")[0] for unit in units} == {"pgd-3-ce-fresh"}
    assert known(Pgd()) != known(SquareEot())
