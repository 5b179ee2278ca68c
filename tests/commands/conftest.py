"""The command line inside the process of the test, and a folder with a user's model."""

import sys

import pytest

from tests.support.command import run


@pytest.fixture
def toy(command, monkeypatch):
    """The folder of `command`, for runs inside this process."""
    monkeypatch.chdir(command.folder)
    monkeypatch.syspath_prepend(str(command.folder))
    monkeypatch.delenv("SDFAST_DEBUG", raising=False)
    yield command.folder
    sys.modules.pop("toy", None)


@pytest.fixture
def main(capsys):
    """Runs a command in this process; returns exit code, stdout and stderr."""
    return lambda *args: run(capsys, *args)
