"""Writing: a file is the old one or the new one, whatever happens in between."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdfast.foundation.files import remove_parts, write_atomically, write_together


def test_failed_writing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(part):
        part.write_text("half of the n")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, lambda part: part.write_text("new"))
    assert path.read_text() == "new"


def test_links_are_replaced_and_never_followed(tmp_path):
    target, path = tmp_path / "target.txt", tmp_path / "file.txt"
    target.write_text("mine")
    for name in ("file.txt", ".part.file.txt"):
        (tmp_path / name).symlink_to(target)
    write_atomically(path, lambda part: part.write_text("new"))
    assert target.read_text() == "mine" and path.read_text() == "new" and not path.is_symlink()


def test_nobody_else_can_enter_where_a_file_is_written(tmp_path):
    seen = []
    for _ in range(2):
        write_atomically(tmp_path / "file.txt", lambda part: (seen.append(part.parent), part.write_text("x")))
        assert not seen[-1].exists()
    assert seen[0] != seen[1]
    write_atomically(tmp_path / "file.txt", lambda part: (seen.append(part.parent.stat().st_mode), part.touch()))
    assert seen[-1] & 0o077 == 0


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path, content = tmp_path / "file.bin", [bytes([n]) * 100_000 for n in range(4)]

    def write(own):
        for _ in range(20):
            write_atomically(path, lambda part: part.write_bytes(own))
            assert path.read_bytes() in content

    with ThreadPoolExecutor(len(content)) as pool:
        list(pool.map(write, content))
    assert os.listdir(tmp_path) == ["file.bin"]


def test_the_last_of_several_files_is_there_only_with_all_others(tmp_path, monkeypatch):
    def writers(text):
        return {name: lambda part: part.write_text(text) for name in ("a", "b", "last")}

    write_together(tmp_path, writers("old"))
    with pytest.raises(ZeroDivisionError):
        write_together(tmp_path, {**writers("half"), "last": lambda part: 1 / 0})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == dict.fromkeys(("a", "b", "last"), "old")
    move, seen = os.replace, []

    def moved(source, target):
        move(source, target)
        found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
        seen.append(found)
        assert "last" not in found or set(found.values()) == {"new"}

    monkeypatch.setattr(os, "replace", moved)
    write_together(tmp_path, writers("new"))
    assert len(seen) == 3 and set(seen[-1]) == {"a", "b", "last"}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / ".part.xyz").mkdir()
    (tmp_path / ".part.xyz" / "half").touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / ".part.link").symlink_to(tmp_path / "kept")
    remove_parts(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".part.link", "kept"]
