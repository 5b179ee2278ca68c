"""What tells one model from another: its weights, and the code that runs on them."""

import functools
import hashlib
import inspect
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from sdfast.measurement.sharded import plain_parts

_OF_THE_FILE = ("__doc__", "__module__", "__firstlineno__")  # what a class has and does not do


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of all parameters and buffers: other weights are another job."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        for part in plain_parts(name, tensor) if isinstance(tensor, Tensor) else ():
            flat = part.reshape(-1).contiguous().cpu()
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def code_digest(what: Any) -> str:
    """Return a SHA-256 of how a model, or a function of clips, is made: its settings, and what its code does.

    Of a model that is the code of the classes of all modules, without that of torch. Comments and line numbers do not
    count; another version of Python does.

    >>> code_digest(nn.Linear(2, 3)) == code_digest(nn.Linear(2, 3)), code_digest(nn.ReLU()) == code_digest(nn.GELU())
    (True, False)
    """
    makers = {type(part) for part in what.modules()} if isinstance(what, nn.Module) else {_maker(what)}
    # Compiled code, not source: that need not exist, and Python 3.11 fails now and then when it parses a class.
    codes = sorted(text for maker in makers for text in _codes(maker))
    settings = re.sub(r" at 0x[0-9a-f]+", "", repr(what))  # where an object lies in memory is no setting
    return hashlib.sha256("\n".join([settings, *codes]).encode()).hexdigest()


def _maker(what: Any) -> Any:
    if isinstance(what, functools.partial):
        return _maker(what.func)  # its arguments are in what it prints
    return what if inspect.isroutine(what) or inspect.isclass(what) else type(what)


def _codes(maker: Any, inside: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the names of a function, or of the classes that a class is made of, each with its code."""
    if not inspect.isclass(maker):
        inner = inspect.unwrap(maker)
        yield f"{_name(maker)} {_meaning(inner)}"
        for value in _held(inner):
            if not inspect.isfunction(value):
                yield repr(value) if _is_plain(value) else _name(type(value))
            elif value not in (*inside, inner):  # one may hold itself
                yield from _codes(value, (*inside, inner))
        return
    for base in maker.__mro__:
        yield _name(base)
        if not _name(base).startswith(("torch.", "builtins.")):
            own = {name: member for name, member in vars(base).items() if name not in _OF_THE_FILE}
            yield from (f"{_name(base)}.{name} {_meaning(member)}" for name, member in own.items())


def _held(function: Any) -> Iterator[Any]:
    """Yield what a function has besides its code: defaults of arguments, and variables from around it."""
    yield from getattr(function, "__defaults__", None) or ()
    yield from (getattr(function, "__kwdefaults__", None) or {}).values()
    for cell in getattr(function, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # it has no value yet
            continue


def _name(maker: Any) -> str:
    return f"{getattr(maker, '__module__', '')}.{getattr(maker, '__qualname__', '')}"


def _meaning(member: Any) -> str:
    """Return what a function, method or property does, or a plain value is: text that is the same in every process."""
    if isinstance(member, bool | int | float | str):
        return repr(member)
    parts = [getattr(member, name, None) for name in ("fget", "fset", "__func__", "__wrapped__")]
    codes = [part.__code__ for part in (member, *parts) if hasattr(part, "__code__")]
    return " ".join(map(_text, codes))


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str) or (type(value) is tuple and all(map(_is_plain, value)))


def _text(constant: Any) -> str:
    if isinstance(constant, CodeType):
        return f"({constant.co_code.hex()} {constant.co_names} {' '.join(map(_text, constant.co_consts))})"
    if isinstance(constant, frozenset):
        return str(sorted(map(repr, constant)))
    return repr(constant)
