"""What the command says where its output cannot be taken, and which of many processes says it."""

import errno
import io
import os
import runpy
import sys

import pytest

from sslkuramoto.cli import FIRST_SPEAKS, main
from sslkuramoto.files import LONGEST_NAME, name_beside


class Full(io.StringIO):
    """Output that a full disk, or a reader that has gone, takes no more of."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 2), (errno.EPIPE, 0)])
@pytest.mark.parametrize("command", ["list", "--help"])
def test_output_that_nobody_can_take_is_no_traceback(number, code, command, monkeypatch, capsys, tmp_path):
    full = Full(number)
    with (tmp_path / "output").open("w") as file:
        monkeypatch.setattr(full, "fileno", file.fileno)
        monkeypatch.setattr("sys.stdout", full)
        assert main([command, "encoders"] if command == "list" else [command]) == code
        os.write(file.fileno(), b"later output")
    assert (tmp_path / "output").read_bytes() == b"", "what the interpreter flushes at its end goes nowhere"
    said = capsys.readouterr().err
    assert said == ("sslkuramoto: the output: no space left on the disk\n" if code else "")


def test_work_whose_reader_goes_away_is_no_success(monkeypatch, tmp_path, recipe, capsys):
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("sslkuramoto.carry_out.train", gone)
    with (tmp_path / "output").open("w") as file:
        full = Full(errno.EPIPE)
        monkeypatch.setattr(full, "fileno", file.fileno)
        monkeypatch.setattr(full, "flush", lambda: None)
        monkeypatch.setattr("sys.stdout", full)
        assert main(["train", recipe, "--run", str(tmp_path / "run")]) == 130
    assert "the reader of the output went away; the same command continues" in capsys.readouterr().err


def test_a_working_directory_that_was_removed_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["list", "encoders"]) == 2
    assert capsys.readouterr().err == "sslkuramoto: the working directory no longer exists; change to another folder\n"


def test_a_size_beyond_64_bits_is_one_line(tmp_path, recipe, capsys):
    assert main(["train", recipe, f"data.size={10**23}", "--run", str(tmp_path / "run")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_closed_output_is_no_traceback(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert main(["list", "encoders"]) == 0


@pytest.fixture
def second_process(monkeypatch) -> list[float]:
    """Be the second of two processes under torchrun; what is returned records how long it waited."""
    waited: list[float] = []
    monkeypatch.setattr("sslkuramoto.cli.time.sleep", waited.append)
    for name, value in (("TORCHELASTIC_RUN_ID", "x"), ("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    return waited


def test_another_process_than_the_first_waits_before_it_speaks(second_process, capsys, monkeypatch):
    assert main(["train", "nowhere.yaml"]) == 2
    assert second_process == [FIRST_SPEAKS]
    assert capsys.readouterr().err == "sslkuramoto (process 1): nowhere.yaml: no such file\n"
    monkeypatch.setenv("RANK", "0")
    assert main(["train", "nowhere.yaml"]) == 2
    assert second_process == [FIRST_SPEAKS], "the first does not wait"


def test_a_process_that_lost_another_says_so_in_one_line_after_a_wait(second_process, recipe, capsys, monkeypatch):
    def lost(*_):
        raise RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer")

    monkeypatch.setattr("sslkuramoto.training.check", lost)
    monkeypatch.setenv("RANK", "0")
    assert main(["train", recipe, "--check"]) == 1
    assert second_process == [FIRST_SPEAKS]
    ended = "another process of this run has ended; its message, if it left one, says why"
    assert capsys.readouterr().err == f"sslkuramoto: {ended}\n"
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(RuntimeError):
        main(["train", recipe, "--check"])


def test_other_overrides_are_another_file_whatever_their_signs():
    sets = [
        ["sources=[a/b]"],
        ["sources=[a b]"],
        ["sources=[a_b]"],
        ["sources=_a_b_"],
        ["label=a+eps=0.1"],
        ["label=a", "eps=0.1"],
        ["label=a+eps=0.1", "x=1"],
        ["label=" + 200 * "a" + "/"],
        ["label=" + 200 * "a" + " "],
    ]
    names = [name_beside("audit", changed) for changed in sets]
    assert len(set(names)) == len(sets)
    assert names == [name_beside("audit", changed) for changed in sets], "the same overrides, the same file"
    assert name_beside("knn", ["neighbours=3", "data.limit_test=20"]) == "knn+neighbours=3+data.limit_test=20"
    assert all(len(name) <= LONGEST_NAME and "/" not in name for name in names)


def test_the_module_is_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def ended(*words: str) -> object:
        monkeypatch.setattr(sys, "argv", ["python -m", *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_module("sslkuramoto", run_name="__main__", alter_sys=True)  # what python -m does
        return end.value.code

    assert ended("list", "encoders") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert any(line.startswith("akorn ") for line in said.out.splitlines())
    assert ended("train", "nothing.yaml") == 2
    assert capsys.readouterr().err == "sslkuramoto: nothing.yaml: no such file\n"
