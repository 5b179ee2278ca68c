"""One check: the largest error of an operation over its variants, with every backend in turn."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.gpu.features import dtype_text
from benchmarks.gpu.race import Context, try_it, with_backend
from benchmarks.scoreboard import Judged
from benchmarks.targets import Target
from sdfast.backends import table as backends
from sdfast.bench import Spread


@dataclass(frozen=True)
class Check:
    """One operation on one dtype; each variant has a name, and returns its error when it is called.

    With a target the largest error is a figure that is judged, too.
    """

    operation: str
    dtype: torch.dtype
    tolerance: float
    variants: list[tuple[str, Callable[[], float]]]
    target: Target | None = None

    @property
    def name(self) -> str:
        return f"check {self.operation} {dtype_text(self.dtype)}"


def hold(check: Check, context: Context) -> None:
    """Run a check with every backend and write a row for each: the largest error, and in which variant it was."""
    for backend, absent in context.backends.items():
        worst, where = 0.0, ""
        why = f"absent: {absent}" if absent else context.journal.banned(check.name).get(backend)
        for variant, run in check.variants if why is None else ():
            error, why = try_it(context, check.name, backend, with_backend(run, backend))
            if error is None:
                where = variant
                break
            error = math.inf if math.isnan(error) else error
            if error >= worst:
                worst, where = error, variant
            why = None
        wrong = why is None and worst > check.tolerance
        context.journal.add(
            "check",
            stage=check.name,
            operation=check.operation,
            dtype=dtype_text(check.dtype),
            candidate=backend,
            variants=len(check.variants),
            error=None if why is not None else worst,
            tolerance=check.tolerance,
            where=where,
            status="WRONG" if wrong else "right" if why is None else "absent" if absent else "failed",
            note=why or "",
        )
        if check.target is not None and why is None and not context.device.rehearses:
            figure = Judged(check.target, backend, Spread((worst,))).to_dict()
            selected = backend == backends.chosen("channel_bias", context.device.torch.type)
            context.journal.add("judged", **figure, candidate=backend, selected=selected)
