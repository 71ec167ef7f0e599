"""Loader processes need shared memory; where a container has none, images are decoded without them."""

import multiprocessing
import os
from collections import namedtuple

import pytest

from sslkuramoto.data import DATA, batches, in_order
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


def test_a_signal_to_the_processes_of_a_run_does_not_reach_its_workers(tree):
    """torchrun, SLURM and a terminal send SIGTERM and SIGINT to the whole group of processes."""
    before = set(multiprocessing.active_children())
    data = DATA.build("image_folder", {"root": str(tree), "size": 8, "device_resident": False}, "train")
    stream = batches(data, in_order(len(data), 3), device="cpu", workers=2)
    for _ in range(2):  # workers take batches in turn: each is at work
        next(stream)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    assert os.getpgrp() not in {os.getpgid(worker.pid) for worker in workers}
