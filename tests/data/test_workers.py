"""Loader processes need shared memory; where a container has none, images are decoded without them."""

import multiprocessing
import os
from collections import namedtuple

import pytest

from sslkuramoto.data.images.image_set import workers_with_room

Space = namedtuple("Space", ["f_bavail", "f_frsize"])
BATCH = 1000


@pytest.mark.parametrize(
    ("free", "wanted", "found"), [(64 * 2**20, 4, 4), (7 * BATCH, 4, 2), (2 * BATCH, 4, 0), (0, 1, 0)]
)
def test_each_worker_has_room_for_three_batches(free, wanted, found, monkeypatch, capsys):
    monkeypatch.setattr(os, "statvfs", lambda _: Space(free, 1))
    assert workers_with_room(wanted, BATCH) == found
    said = capsys.readouterr().err
    assert ("shared memory (/dev/shm) has room for" in said) == (found < wanted)


def test_no_process_is_started_where_shared_memory_cannot_be_written(monkeypatch, capsys):
    class ReadOnly:
        def Semaphore(self):
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(multiprocessing, "get_context", ReadOnly)
    assert workers_with_room(3, BATCH) == 0
    assert "images are decoded in this process" in capsys.readouterr().err


def test_nothing_is_asked_where_no_process_is_wanted(monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: pytest.fail("asked"))
    assert workers_with_room(0, BATCH) == 0
