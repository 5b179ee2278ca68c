"""What plain torch does where there is no kernel: for autograd and torch.func, and for backends that have none."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from sdfast.backends.table import Composed, load, run


def run_or_compose(operation: Composed, check: Callable[..., None], args: tuple[Any, ...]) -> Tensor:
    """Run an operation, in plain torch where the backend has no kernel of it. The arguments are those of `run`."""
    found = run(operation, check, args)
    return compose(operation, *args) if found is None else found


def compose(operation: Composed, *args: Any) -> Tensor:
    """Run an operation in plain torch, on any device."""
    result: Tensor = getattr(load("reference"), operation)(*args)
    return result
