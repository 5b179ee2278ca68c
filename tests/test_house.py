"""The rules of the house that a machine can check: who imports whom, file lengths, what files may not say."""

import ast
import doctest
import graphlib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sdfast

ROOT = Path(__file__).parents[1]

# From top to bottom. A module imports from its own floor or from below, never from above and never in a circle.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"measure", "debias", "bench"},
    {"batches", "hooks", "journal", "insertion"},
    {"metric", "pairs", "video", "models", "styles", "stylised", "flow"},
    {"state", "report", "checkpoint", "processes", "plots", "tables", "scores"},
    {"functional", "nn", "dropout", "context", "masks"},
    {"ops"},
    {"_backend"},
    {"_C", "kernels", "reference", "reference_dropout", "torch_reference", "torch_reference_dropout"},
    {"extras", "files", "layers"},
]
FLOOR = {name: len(FLOORS) - level for level, names in enumerate(FLOORS) for name in names}

PYTHON = sorted(path for path in (ROOT / "sdfast").rglob("*.py") if path != ROOT / "sdfast" / "__init__.py")
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
    """Return the dotted names that a module imports; `from a import b` gives a.b."""
    found, ahead = set(), [ast.parse(source)]
    while ahead:
        node = ahead.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "_TYPE_CHECKING"):
            continue  # never runs
        ahead.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def module_name(path: Path) -> str:
    """Return sdfast/ops/comoments.py as ops.comoments."""
    return ".".join(path.relative_to(ROOT / "sdfast").with_suffix("").parts).removesuffix(".__init__")


def own_imports(path: Path) -> set[str]:
    """Return the modules of this package that a file imports, without the leading `sdfast.`."""
    names = {module_name(other) for other in PYTHON} | {"_C", "kernels"}
    found = set()
    for name in imports(path.read_text(encoding="utf-8")):
        if name.split(".")[0] != "sdfast" or name == "sdfast.__version__":
            continue
        parts = name.split(".")[1:]
        while parts and ".".join(parts) not in names:
            parts.pop()  # the name inside a module
        found.add(".".join(parts))
    return found - {module_name(path)}


def test_every_module_has_a_floor():
    unplaced = {module_name(path).split(".")[0] for path in PYTHON} - FLOOR.keys()
    assert not unplaced, f"say in FLOORS where these belong: {sorted(unplaced)}"


@pytest.mark.parametrize("path", PYTHON, ids=module_name)
def test_nothing_imports_upward(path):
    here = module_name(path)
    floor = FLOOR[here.split(".")[0]]
    for name in own_imports(path):
        if not name:  # `from sdfast import x` for a name, not a module: the package itself is above all its modules
            assert here.split(".")[0] in FLOORS[0] | FLOORS[1], f"{here} imports from the package itself"
            continue
        assert FLOOR[name.split(".")[0]] <= floor, f"{here} imports sdfast.{name}, which is above it"


def test_no_import_cycles():
    graph = {module_name(path): own_imports(path) for path in PYTHON}
    assert list(graphlib.TopologicalSorter(graph).static_order())


def test_operations_do_not_import_each_other():
    shared = {"ops", "ops.checks"}
    for path in (ROOT / "sdfast" / "ops").glob("*.py"):
        others = {name for name in own_imports(path) if name.startswith("ops")} - shared
        assert not others, f"{module_name(path)} imports {sorted(others)}"


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernels_import_triton_and_torch_only(path):
    roots = {name.split(".")[0] for name in imports(path.read_text(encoding="utf-8"))}
    own = {name for name in imports(path.read_text(encoding="utf-8")) if name.startswith("sdfast.kernels")}
    assert roots <= {"triton", "torch", "typing"} | ({"sdfast"} if own else set()), path.name


def test_the_tables_of_this_test_can_fail():
    source = (
        "from sdfast.cli import main\nif TYPE_CHECKING:\n    import numpy\nelse:\n    pass\ndef f():\n    import torch"
    )
    assert imports(source) == {"sdfast.cli.main", "torch"}
    assert FLOOR["cli"] > FLOOR["measure"] > FLOOR["metric"] > FLOOR["state"] > FLOOR["functional"] > FLOOR["ops"]


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
            assert ast.get_docstring(node), f"{module_name(path)}.{node.name} has no docstring"


def test_all_names_exist_and_are_sorted():
    assert len(set(sdfast.__all__)) == len(sdfast.__all__)
    for name in sdfast.__all__:
        assert getattr(sdfast, name) is not None
        assert name in dir(sdfast), "where notebooks look for completions"
    assert importlib.import_module("sdfast") is sdfast


def test_doctests_of_a_module_run_alone():
    """The function `sdfast.measure` has the name of its module, which an import by path would put in its place."""
    command = [sys.executable, "-m", "pytest", "-q", "sdfast/measure.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
