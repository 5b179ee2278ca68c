"""How far a job is: a bar where a terminal redraws it, lines where nothing does."""

import io
import sys

import pytest

from sdfast.foundation import progress, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(monkeypatch, stream, total=4, **settings):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(total, "pairs", **settings) as bar:
        for _ in range(4):
            bar.set_postfix_str("widest share 3 %", refresh=False)
            bar.update(1)
    return stream.getvalue()


def test_a_terminal_has_a_bar(monkeypatch):
    said = run(monkeypatch, Terminal(), progress="title")
    assert "\r" in said and "4/4" in said and said.count("\n") == 1


def test_a_log_has_whole_lines(monkeypatch):
    said = run(monkeypatch, io.StringIO(), progress="title")
    assert "\r" not in said and said.endswith("\n")
    last = said.splitlines()[-1]
    assert last.startswith("title: 100%") and "4/4 pairs" in last and "pairs/s" in last and "widest share 3 %" in last
    assert len(said.splitlines()) <= 2, "at most one line every ten seconds, and the last"


def test_a_line_every_so_often(monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    lines = run(monkeypatch, io.StringIO()).splitlines()
    assert [line.partition("/")[0].split()[-1] for line in lines] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_nothing_where_nobody_asked(monkeypatch, stream):
    assert run(monkeypatch, stream(), progress=False) == ""


def test_an_unknown_total_is_counted(monkeypatch):
    last = run(monkeypatch, io.StringIO(), total=None).splitlines()[-1]
    assert "4" in last and "pairs" in last
