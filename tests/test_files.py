import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from sslkuramoto.errors import UserError, printable
from sslkuramoto.files import at_home, is_leftover, lock, read_object, remove_leftovers, write_atomically


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_text_and_bytes_are_written_whole_into_new_folders(tmp_path):
    write_atomically(tmp_path / "a" / "b" / "text", "grün")
    write_atomically(tmp_path / "bytes", b"\0\1")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "grün".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\0\1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "bytes"]


@pytest.mark.parametrize("place", ["fsync", "replace"])
@pytest.mark.parametrize(("number", "words"), [(28, "no space left on the disk"), (30, "Read-only file system")])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(place, number, words, tmp_path, monkeypatch):
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(os, place, failing(number))
        with pytest.raises(UserError, match=f"file: {words}; nothing was written"):
            write_atomically(path, "new")
        path.write_text("old")
        with pytest.raises(UserError, match=f"file: {words}; the previous file is kept"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_disk_that_is_really_full_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_hex", lambda length: "0" * 2 * length)
    (tmp_path / f".file.{os.getpid()}-00000000.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left on the disk; nothing was written"):
        write_atomically(tmp_path / "file", b"x" * 10**6)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"Not a directory|File exists") as caught:
        write_atomically(tmp_path / "file" / "below", "new")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied; nothing was written"):
        write_atomically(tmp_path / "file", "new")


def test_ctrl_c_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' appears twice"),
        (r'{"a": "half \ud800"}', "surrogates not allowed"),
        (r'{"half \uDFFF": 1}', "surrogates not allowed"),
    ],
)
def test_json_that_readers_take_in_two_ways_or_that_no_file_can_hold_is_one_line(text, reason, tmp_path):
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(UserError, match=f"^{tmp_path}/card.json: truncated or not JSON: .*{reason}") as caught:
        read_object(tmp_path / "card.json")
    assert printable(str(caught.value)).encode()


def test_json_with_both_halves_of_a_character_is_read(tmp_path):
    (tmp_path / "card.json").write_text(r'{"a": "\ud83d\ude00", "b": "\\ud800", "c": "caf\udce9"}')
    assert read_object(tmp_path / "card.json") == {"a": "\U0001f600", "b": "\\ud800", "c": os.fsdecode(b"caf\xe9")}


def test_a_reader_never_sees_a_part(tmp_path):
    path, texts = tmp_path / "file", ["a" * 100_000, "b" * 100_000]
    write_atomically(path, texts[0])
    writer = threading.Thread(target=lambda: [write_atomically(path, texts[k % 2]) for k in range(30)])
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(path.read_text())
    writer.join()
    assert seen <= set(texts)


def test_leftovers_of_a_killed_write_are_known_and_removed(tmp_path):
    left = tmp_path / ".last.safetensors.4711.part"
    for path in (left, tmp_path / "kept.part", tmp_path / ".hidden"):
        path.write_text("")
    assert is_leftover(left)
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "kept.part"]


def test_a_lock_is_held_by_one_and_free_again_afterwards(tmp_path):
    path = tmp_path / "new" / ".lock"
    with lock(path) as mine, lock(path) as other:
        assert mine
        assert not other
    with lock(path) as mine:
        assert mine


def test_a_lock_is_waited_for_when_asked(tmp_path, monkeypatch):
    path, order = tmp_path / ".lock", []

    def second():
        with lock(path, wait=True) as mine:
            order.append(("second", mine))

    tried = threading.Event()
    acquire = FileLock.acquire

    def trying(*arguments, **options):
        tried.set()
        return acquire(*arguments, **options)

    thread = threading.Thread(target=second)
    with lock(path):
        monkeypatch.setattr(FileLock, "acquire", trying)
        thread.start()
        assert tried.wait(300), "the second never asked for the lock"
        order.append(("first", True))
    thread.join()
    assert order == [("first", True), ("second", True)]


HOLDER = """
import os, signal, sys
from pathlib import Path
from sslkuramoto.files import lock
with lock(Path(sys.argv[1])):
    if os.fork() == 0:
        print(os.getpid(), flush=True)  # by the child, once it runs: until then it holds what its parent holds
    signal.pause()
"""


def test_a_child_does_not_keep_the_lock_of_a_killed_process(tmp_path):
    path = tmp_path / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with lock(path) as mine:
            assert not mine, "the parent holds it, and its child has not given it away"
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # lives
        with lock(path) as mine:
            assert mine
    finally:
        holder.kill()
        holder.wait()
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_lock_that_is_a_link_is_refused_and_its_target_untouched(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("all my work")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(UserError, match=r"\.lock: is a symbolic link; remove it$"), lock(tmp_path / ".lock"):
        pass
    assert precious.read_text() == "all my work"


def test_a_lock_that_is_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with lock(tmp_path / ".lock") as mine:
        assert mine


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_the_work_is_done_unless_it_needs_one(number, tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    for _ in range(2):
        with lock(tmp_path / ".lock") as first, lock(tmp_path / ".lock") as second:
            assert first
            assert second
    words = f"cannot be locked: {os.strerror(number)}; go elsewhere"
    with pytest.raises(UserError, match=words), lock(tmp_path / ".lock", advice="go elsewhere"):
        pass


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/\.lock: cannot be written: "), lock(tmp_path / "file" / ".lock"):
        pass


def test_a_tilde_is_the_home_folder_and_an_unknown_user_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home("~/runs") == at_home(Path("~/runs")) == tmp_path / "runs"
    assert at_home("a/~b") == Path("a/~b")
    assert at_home("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
