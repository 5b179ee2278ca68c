"""Types: of the compiled modules as their stubs have them, and of what launches the kernels that Triton compiles."""

import ast
import importlib

import numpy as np
import pytest
import torch
from torch import Tensor

from sdfast import _C
from tests.support.paths import ROOT

# What pybind11 says of an argument or a result, and what a stub may say of it.
MEANT = {
    "object": {"Tensor", "Tensor | None"},
    "bool": {"bool"},
    "str": {"str"},
    "int": {"int"},
    "None": {"None"},
    "list[str]": {"list[str]"},
    "tuple": {"tuple[Tensor, Tensor]", "tuple[Tensor, Tensor, Tensor]"},
    "typing.SupportsInt | typing.SupportsIndex": {"int"},
    "typing.SupportsFloat | typing.SupportsIndex": {"float"},
    "typing.Annotated[numpy.typing.ArrayLike, numpy.uint8]": {"NDArray[np.uint8]"},
    "numpy.typing.NDArray[numpy.float32]": {"NDArray[np.float32]"},
}


def stubs(name: str) -> dict[str, ast.FunctionDef]:
    """Return the functions that the stub of a module declares, those that it takes from another stub among them."""
    found = {}
    for node in ast.parse((ROOT / "sdfast" / f"{name}.pyi").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("sdfast."):
            found |= {alias.name: stubs(node.module.removeprefix("sdfast."))[alias.name] for alias in node.names}
    return found


def signature(function: ast.FunctionDef) -> tuple[dict[str, str], str]:
    """Return {argument: type} and the type of the result."""
    assert not (function.args.defaults or function.args.kwonlyargs or function.args.posonlyargs)
    return {x.arg: ast.unparse(x.annotation) for x in function.args.args}, ast.unparse(function.returns)


@pytest.mark.parametrize("name", ["_C", "_cuda"])
def test_stubs_declare_what_the_compiled_modules_have(name):
    if name == "_cuda":
        pytest.importorskip("sdfast._cuda", exc_type=ImportError)
    module = importlib.import_module(f"sdfast.{name}")
    declared = stubs(name)
    compiled = {key: value for key, value in vars(module).items() if not key.startswith("_")}
    assert declared.keys() == compiled.keys()
    for key, function in compiled.items():
        line = function.__doc__.splitlines()[0]
        arguments, result = signature(ast.parse(f"def {line}: ...").body[0])
        typed, returned = signature(declared[key])
        assert list(typed) == list(arguments), f"{name}.{key}"
        for argument, said in arguments.items():
            assert typed[argument] in MEANT[said], f"{name}.{key}: {argument}"
        assert returned in MEANT[result], f"{name}.{key}: what it returns"


def matches(value: object, annotation: str) -> bool:
    """Tell whether a value is what a stub says."""
    if annotation.startswith("tuple["):
        parts = annotation.removeprefix("tuple[").removesuffix("]").split(", ")
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(matches, value, parts))
    if annotation == "list[str]":
        return isinstance(value, list) and all(isinstance(x, str) for x in value)
    if annotation.startswith("NDArray"):
        return isinstance(value, np.ndarray) and f"NDArray[np.{value.dtype}]" == annotation
    return type(value) is {"Tensor": Tensor, "int": int, "str": str, "None": type(None)}[annotation]


def test_the_extension_returns_what_its_stub_says():
    x = torch.rand(8, 3, dtype=torch.float64)
    labels, moments = torch.arange(8) % 2, torch.zeros(6, 2, 3, dtype=torch.float64)
    grouped = torch.rand(6, 4, 3, dtype=torch.float64) + 1
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    calls = {
        "comoments": (x, x, labels, 2, 1, True),
        "channel_bias": (x, x, None, 1, 1, True, True),
        "update_comoments": (moments, x, x, labels, None, 1, True),
        "static_dropout": (x, x.clone(), torch.tensor(0), 0.5, None, None, 0, True, 1),
        "normal_scores": (x,),
        "kraskov": (x, x, 3, 0),
        "leave_one_out": (grouped,),
        "correlations_without": (grouped, True),
        "deviation_sums": (x,),
        "standard_scores": (x, x[0], x[0], x[0]),
        "resampled_correlations": (torch.rand(5, 6, 3, dtype=torch.float64), x[:2], 4, True),
        "edge_preserving": (frames, 4.0, 0.5, True),
        "alike_widths": (frames, 4.0, 0.5),
        "read_probe": (x,),
        "max_threads": (),
        "isa": (),
        "available_isas": (),
        "set_isa": (_C.isa(),),
    }
    declared = stubs("_C")
    assert calls.keys() == declared.keys()
    for name, arguments in calls.items():
        _, returned = signature(declared[name])
        assert matches(getattr(_C, name)(*arguments), returned), f"{name}: expected {returned}"


def is_kernel(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).startswith("triton.jit") for decorator in function.decorator_list)


@pytest.mark.parametrize("path", sorted((ROOT / "kernels").glob("*.py")), ids=lambda path: path.name)
def test_what_launches_kernels_has_types(path):
    """The type checker is told to pass over functions without types there, as kernels are such functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not is_kernel(node):
            given = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            untyped = [x.arg for x in given if x is not None and x.annotation is None and x.arg != "self"]
            assert not untyped, f"{node.name}: {untyped}"
            assert node.returns is not None or node.name == "__init__", f"{node.name}: what it returns"
