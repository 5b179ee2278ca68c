"""Writing: a file is the old one or the new one, whatever happens in between."""

import pytest

from sdfast.foundation.files import write_atomically


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
