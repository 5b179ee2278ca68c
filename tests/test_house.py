"""The rules of the house that a machine can check: who imports whom, file lengths, what files may not say."""

import ast
import doctest
import graphlib
import importlib
import inspect
import re
import subprocess
from pathlib import Path

import pytest

import sdfast
from tests.support.paths import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# The plan, a floor a line from top to bottom, as CONTRIBUTING draws it.
FLOORS = [set(line.split()) for line in re.search(r"```rooms\n(.*?)```", CONTRIBUTING, re.DOTALL)[1].splitlines()]
FLOOR = {name: len(FLOORS) - level for level, names in enumerate(FLOORS) for name in names}

PACKAGE = ROOT / "sdfast"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PYTHON = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "kernels"))
INSIDE = [path for path in PYTHON if path.parent != PACKAGE]
KERNELS = sorted((ROOT / "kernels").rglob("*.py"))


def tracked() -> list[Path]:
    """Return the files of the repository, or of an unpacked source distribution."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.split("\0")
    else:
        rooms = ("sdfast", "kernels", "csrc", "tests", "benchmarks")
        names = [str(path.relative_to(ROOT)) for room in rooms for path in (ROOT / room).rglob("*")]
    paths = (ROOT / name for name in names if name and "__pycache__" not in name)
    return [path for path in paths if path.is_file()]


def texts(*endings: str) -> dict[str, str]:
    """Return {name: content} of the tracked text files, those with one of the endings."""
    binary = {".npz", ".png", ".so"}
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in tracked()
        if path.suffix not in binary and (not endings or path.suffix in endings)
    }


def imports(source: str) -> set[str]:
    """Return the dotted names that a module imports; `from a import b` gives a.b. Also those for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def own_imports(path: Path) -> set[str]:
    """Return what a file imports of this package, without the leading `sdfast.`."""
    found = imports(path.read_text(encoding="utf-8"))
    return {name.removeprefix("sdfast.") for name in found if name.startswith("sdfast.")} - {"__version__"}


def module_name(path: Path) -> str:
    """Return sdfast/ops/comoments.py as ops.comoments."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def file_of(name: str) -> str:
    """Return the module that a dotted name is in: ops.comoments.comoments is in ops.comoments."""
    modules = {module_name(path) for path in PYTHON}
    parts = name.split(".")
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts)


def exported(room: str) -> set[str]:
    """Return what the `__init__` of a room says that others may use."""
    return set(importlib.import_module(f"sdfast.{room}").__all__)


def test_every_room_is_in_the_plan_and_says_what_it_holds():
    assert set(ROOMS) <= FLOOR.keys(), "draw them into the plan in CONTRIBUTING.md"
    table = dict(re.findall(r"^\| `(?:sdfast/)?([\w/]+)/` \| (.+) \|$", CONTRIBUTING, re.MULTILINE))
    for room in ROOMS:
        sentence = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8")))
        assert sentence and sentence.endswith(".") and "\n" not in sentence, f"{room} does not say what it holds"
        assert room in table, f"CONTRIBUTING does not say what {room} holds"


@pytest.mark.parametrize("path", INSIDE, ids=module_name)
def test_a_room_imports_from_rooms_below_and_through_their_door(path):
    here = module_name(path).split(".")[0]
    for name in own_imports(path):
        there, *inside = name.split(".")
        if there == here:
            assert inside[0] not in exported(here) or file_of(name) != here, f"{name}: import it from its file"
            continue
        if there not in FLOOR:  # a name that users know: only those who use the package as users do
            assert here == "bench", f"{path.name} imports sdfast.{name}, which is above it"
            continue
        assert FLOOR[there] < FLOOR[here], f"{path.name} imports sdfast.{name}, which is not below it"
        if there in ROOMS and inside:
            assert len(inside) == 1 and inside[0] in exported(there), f"{path.name}: sdfast.{there} exports no {name}"


def test_no_circles_between_files():
    graph = {module_name(path): {file_of(name) for name in own_imports(path)} for path in PYTHON}
    for name, others in graph.items():
        others.discard(name)
        if name.startswith("bench"):
            others.discard("")  # uses the package as users do, who come from outside
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_no_test_imports_from_a_test():
    for path in (ROOT / "tests").rglob("*.py"):
        wrong = {name for name in imports(path.read_text(encoding="utf-8")) if re.match(r"tests\..*\btest_", name)}
        assert not wrong, f"{path.name}: move what is shared to tests/support: {sorted(wrong)}"


def test_tests_mirror_the_rooms():
    assert set(ROOMS) <= {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}


def test_operations_do_not_import_each_other():
    """But for the sums and means that others are composed of."""
    shared = {"ops", "ops.arrays", "ops.checks", "ops.comoments", "ops.pair_means"}
    for path in (PACKAGE / "ops").glob("*.py"):
        if path.name != "__init__.py":
            others = {file_of(name) for name in own_imports(path) if name.startswith("ops.")} - shared
            assert not others, f"{module_name(path)} imports {sorted(others)}"


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernels_import_triton_and_torch_only(path):
    roots = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
    own = {name for name in imports(path.read_text(encoding="utf-8")) if name.startswith("sdfast.kernels")}
    assert roots <= {"triton", "torch", "typing"} | ({"sdfast"} if own else set()), path.name


def test_the_tables_of_this_test_can_fail():
    source = "from sdfast.cli import main\nif TYPE_CHECKING:\n    import numpy\ndef f():\n    import torch"
    assert imports(source) == {"sdfast.cli.main", "numpy", "torch"}
    assert file_of("ops.comoments.comoments") == "ops.comoments" and file_of("channel_bias") == ""
    assert "comoments" in exported("ops") and "check_arguments" not in exported("ops")
    assert FLOOR["commands"] > FLOOR["measurement"] > FLOOR["report"] > FLOOR["statistics"] > FLOOR["ops"]
    assert FLOOR["ops"] > FLOOR["backends"] > FLOOR["_C"] > FLOOR["foundation"]


def test_no_file_is_over_400_lines():
    sources = texts(".py", ".pyi", ".cpp", ".h", ".cu", ".cuh", ".cmake")
    lengths = {name: text.count("\n") for name, text in sources.items()}
    assert len(lengths) > 20
    assert not {name: length for name, length in lengths.items() if length > 400}


# Spelled apart, so that this file does not match itself.
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.])/(?:wor" + r"k|hom" + r"e|roo" + r"t|Use" + r"rs|op" + r"t)/\w",
    "a package registry": r"https?://[a-z0-9.-]*(?:py" + r"pi|pythonho" + r"sted|deb" + r"ian|npm" + r"js)",
    "an issue's number": r"(?:[Ii]ss"
    + r"ue|[Pp]ull req"
    + r"uest|(?<![\w#&'\"(])PR) ?#?\d+|(?<![\w#&'\"`])#[1-9]\d{0,3}\b",
    "unfinished work": r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_files_do_not_mention(what):
    pattern = re.compile(FORBIDDEN[what])
    found = {name: match.group() for name, text in texts().items() if (match := pattern.search(text))}
    assert not found, f"{what}: {found}"


@pytest.mark.parametrize(
    ("what", "example"),
    [
        ("a path of one machine", 'open("/wor' + 'k/data")'),
        ("a package registry", "https://py" + "pi.org/simple"),
        ("an issue's number", "see iss" + "ue 7"),
        ("an issue's number", "fixes #" + "12"),
        ("unfinished work", "# TO" + "DO later"),
    ],
)
def test_forbidden_patterns_match_their_examples(what, example):
    assert re.search(FORBIDDEN[what], example)


def public_objects() -> list[str]:
    return [name for name in sdfast.__all__ if callable(getattr(sdfast, name))]


def is_plain_result(thing) -> bool:
    """Exceptions and named tuples are only raised and returned: others' examples show them."""
    return inspect.isclass(thing) and issubclass(thing, (Exception, tuple))


@pytest.mark.parametrize("name", public_objects())
def test_public_objects_have_a_docstring_with_an_example(name):
    thing = getattr(sdfast, name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    if not is_plain_result(thing):
        found = doctest.DocTestFinder(recurse=inspect.isclass(thing)).find(thing, name, module=False)
        assert any(test.examples for test in found), f"{name} has no doctest"


@pytest.mark.parametrize("path", PYTHON, ids=module_name)
def test_modules_and_their_public_functions_have_docstrings(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{module_name(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                continue  # a signature of the function below it
            assert ast.get_docstring(node), f"{module_name(path)}.{node.name} has no docstring"


def test_all_names_exist_and_are_sorted():
    assert len(set(sdfast.__all__)) == len(sdfast.__all__)
    for name in sdfast.__all__:
        assert getattr(sdfast, name) is not None
        assert name in dir(sdfast), "where notebooks look for completions"
    assert importlib.import_module("sdfast") is sdfast
