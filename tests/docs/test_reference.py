"""Every public name is in the reference, once."""

import importlib
import inspect
import pkgutil
import zlib
from collections import Counter

import pytest

from tests.support.paths import ROOT

PRIVATE = {"foundation", "bench", "commands", "kernels"}  # nobody outside of the package calls what they have


@pytest.fixture(scope="module")
def described(site) -> set[str]:
    """The names that the pages' inventory has of Python: after four lines of head, a compressed line for each."""
    lines = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith("py:")}


def public_modules() -> dict[str, object]:
    """Return the modules whose names users call: the package, its rooms, and the names that stand above them."""
    rooms = {x.name for x in pkgutil.iter_modules([str(ROOT / "sdfast")]) if not x.name.startswith("_")} - PRIVATE
    paths = ["sdfast", *(f"sdfast.{x}" for x in sorted(rooms)), "sdfast.pairs.ood"]
    return {path: importlib.import_module(path) for path in paths}


def test_every_public_name_is_described(described):
    missing, number = [], 0
    for path, module in public_modules().items():
        for name in module.__all__:
            thing = getattr(module, name)
            number += 1
            # Where it is another module's, too, one of them describes it.
            homes = [other for other, x in public_modules().items() if getattr(x, name, None) is thing]
            wanted = [thing.__name__] if inspect.ismodule(thing) else [f"{home}.{name}" for home in homes]
            if not set(wanted) & set(described):
                missing.append(f"{path}.{name}")
    assert number > 200
    assert not missing, f"{1 - len(missing) / number:.1%} of {number} names"


def test_no_name_is_described_twice(described):
    objects = {}
    for path, module in public_modules().items():
        for name in module.__all__:
            thing = getattr(module, name)
            if f"{path}.{name}" in described and (inspect.isclass(thing) or inspect.isroutine(thing)):
                objects[f"{path}.{name}"] = thing
    twice = [name for name, thing in objects.items() if Counter(map(id, objects.values()))[id(thing)] > 1]
    assert not twice


def test_private_rooms_are_named_on_the_page():
    page = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert all(f"`{room}`" in page for room in PRIVATE)


def test_public_classes_are_described_with_what_they_inherit(described):
    for name in ("BiasReport.share_interval", "BiasReport.test", "BiasReport.plot", "StaticDropout.guide"):
        assert f"sdfast.{name}" in described, name
