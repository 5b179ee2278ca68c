"""Who runs an operation where: one table, one route, and what touches torch's internals."""

from sdfast.backends.composed import compose, run_or_compose
from sdfast.backends.eager import (
    below_autograd,
    forget_compiled,
    in_backward,
    is_direct,
    is_eager,
    is_transformed,
    is_view_of_trained_leaf,
    overlaps_itself,
)
from sdfast.backends.table import (
    BackendError,
    as_forced,
    chosen,
    forced_name,
    load,
    names,
    run,
    use_backend,
)

__all__ = [
    "BackendError",
    "as_forced",
    "below_autograd",
    "chosen",
    "compose",
    "forced_name",
    "forget_compiled",
    "in_backward",
    "is_direct",
    "is_eager",
    "is_transformed",
    "is_view_of_trained_leaf",
    "load",
    "names",
    "overlaps_itself",
    "run",
    "run_or_compose",
    "use_backend",
]
