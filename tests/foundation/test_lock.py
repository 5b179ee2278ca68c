"""One run at a time in a folder: who has it, who is refused, and what happens to those that are gone."""

import json
import multiprocessing
import os
import threading
import time

import pytest

from sdfast.foundation import FolderLock, LockedError, lock


def held(folder, has_it, end):
    with FolderLock(folder):
        has_it.set()
        end.wait(30)


def killed(folder):
    FolderLock(folder).__enter__()
    os._exit(0)


def left_by(folder, **told):
    """A lock as another process has left it."""
    with FolderLock(folder):
        owner = json.loads((folder / lock.LOCK).read_text())
    (folder / lock.LOCK).write_text(json.dumps({**owner, **told}))


def test_the_second_run_is_refused_and_told_who_has_the_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    has_it, end = context.Event(), context.Event()
    other = context.Process(target=held, args=(tmp_path, has_it, end))
    other.start()
    has_it.wait(30)
    with pytest.raises(LockedError, match=rf"another run writes to it: process {other.pid} on .*, since 20"):
        FolderLock(tmp_path).__enter__()
    end.set()
    other.join(30)
    with FolderLock(tmp_path):
        assert os.listdir(tmp_path) == [lock.LOCK]
    assert os.listdir(tmp_path) == []


def test_a_run_that_is_gone_is_taken_over_with_a_word(tmp_path, capsys):
    other = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    other.start()
    other.join(30)
    with FolderLock(tmp_path):
        assert f"taken over from a run that is gone: process {other.pid} on " in capsys.readouterr().err
    left_by(tmp_path, start="1")  # another process has its number now
    with FolderLock(tmp_path):
        assert "taken over" in capsys.readouterr().err


def test_a_run_on_another_machine_is_gone_when_it_touches_its_lock_no_more(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    monkeypatch.setattr(lock, "TOUCH", 0.05)
    left_by(tmp_path, machine=["elsewhere"], host="elsewhere")
    over = threading.Event()

    def touch():
        while not over.wait(0.02):
            os.utime(tmp_path / lock.LOCK)

    alive = threading.Thread(target=touch)
    alive.start()
    with pytest.raises(LockedError, match="on elsewhere"):
        FolderLock(tmp_path).__enter__()
    over.set()
    alive.join()
    with FolderLock(tmp_path):
        assert "on elsewhere" in capsys.readouterr().err


def test_a_lock_that_another_run_has_taken_over_is_noticed_and_left_alone(tmp_path):
    with FolderLock(tmp_path) as mine:
        mine.check()
        (tmp_path / lock.LOCK).write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
        with pytest.raises(LockedError, match="another run has taken it over: process 7 on elsewhere"):
            mine.check()
    assert os.listdir(tmp_path) == [lock.LOCK]


def test_a_planted_link_is_neither_followed_nor_taken_for_a_lock(tmp_path):
    target = tmp_path / "mine.txt"
    target.write_text("mine")
    (tmp_path / lock.LOCK).symlink_to(target)
    with pytest.raises(LockedError, match="expected a lock of sdfast, got what is none"):
        FolderLock(tmp_path).__enter__()
    assert target.read_text() == "mine"


def test_of_many_that_find_a_lock_of_a_run_that_is_gone_one_gets_it(tmp_path):
    left_by(tmp_path, start="1")
    context = multiprocessing.get_context("fork")
    got = context.SimpleQueue()

    def tries():
        try:
            FolderLock(tmp_path).__enter__()
            got.put(True)
            time.sleep(1)  # the others shall not find that this one is gone, too
        except LockedError:
            got.put(False)
        os._exit(0)

    several = [context.Process(target=tries) for _ in range(8)]
    for process in several:
        process.start()
    assert sorted(got.get() for _ in several) == [False] * 7 + [True]
    for process in several:
        process.join(30)
