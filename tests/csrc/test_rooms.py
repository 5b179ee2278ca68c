"""The rooms of csrc: bindings know all others; the CPU's and CUDA's share core and know nothing of each other."""

import re

import pytest

from tests.support.paths import ROOT

SEEN_FROM = {
    "core": {"core"},
    "cpu": {"core", "cpu"},
    "cuda": {"core", "cuda"},
    "bind": {"bind", "core", "cpu", "cuda"},
}


@pytest.mark.parametrize("room", SEEN_FROM)
def test_a_room_includes_from_rooms_below(room):
    sources = list((ROOT / "csrc" / room).iterdir())
    assert sources
    for path in sources:
        included = re.findall(r'#include "(\w+)/', path.read_text())
        assert set(included) <= SEEN_FROM[room], path.name


def test_modules_link_only_the_rooms_of_their_device():
    cpu, cuda = ((ROOT / name).read_text() for name in ("CMakeLists.txt", "cmake/cuda.cmake"))
    assert "csrc/cuda" not in cpu and "csrc/cpu" not in cuda
