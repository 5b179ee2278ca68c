"""What tests of several rooms are handed: videos, the command line on a toy model, and instruction sets."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.support")  # so that what they find says what it was

from sdfast.backends import load, use_backend  # noqa: E402
from tests.support.command import TOY_MODEL, Command  # noqa: E402
from tests.support.videos import numbered_frames, write_video  # noqa: E402

_C = load("cpu")
# What runs kernels for GPUs: on a GPU where there is one, else dry, interpreted or emulated.
_FOR_GPUS = ("tests/test_gpu.py", "tests/kernels/", "tests/csrc/")


def pytest_collection_modifyitems(items) -> None:
    """Mark each test that is not slow as quick, and what runs kernels for GPUs as gpu: the parts of the suite."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker("quick")
        if item.nodeid.startswith(_FOR_GPUS):
            item.add_marker("gpu")


@contextlib.contextmanager
def _using(isa: str) -> Iterator[None]:
    before = _C.isa()
    _C.set_isa(isa)
    yield
    _C.set_isa(before)


@pytest.fixture(params=_C.available_isas())
def isa(request) -> Iterator[str]:
    """An instruction set that this machine runs, and that the kernels of the CPU use during the test."""
    with _using(request.param):
        yield request.param


@pytest.fixture(params=[*_C.available_isas(), "reference"])
def runs_on(request) -> Iterator[None]:
    """An instruction set of this machine, or the reference backend."""
    with use_backend("reference") if request.param == "reference" else _using(request.param):
        yield


@pytest.fixture
def video(tmp_path) -> Path:
    """A video of 100 numbered frames with a keyframe every 12 and frames between that refer to later ones."""
    return write_video(tmp_path / "numbers.mp4", numbered_frames(100))


@pytest.fixture
def video_folder(tmp_path) -> Path:
    """A folder with three sound videos of 40 frames, one of them a folder deeper."""
    folder = tmp_path / "videos"
    (folder / "deeper").mkdir(parents=True)
    for i, name in enumerate(("a.mp4", "b.mkv", "deeper/c.avi")):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        write_video(folder / name, numbered_frames(40, tint=20 * i), codec)
    return folder


@pytest.fixture
def command(tmp_path) -> Command:
    """The command line, in a folder of its own with the module `toy`."""
    (tmp_path / "toy.py").write_text(TOY_MODEL)
    return Command(tmp_path)
