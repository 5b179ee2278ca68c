"""One case after the other: which operation it tries, and what becomes of it."""

import traceback
from collections.abc import Iterator

import numpy as np

from sdfast.backends import load
from tests.fuzz.drawing import Draw
from tests.fuzz.dropout import dropped
from tests.fuzz.moments import at_once, from_numpy, in_batches
from tests.fuzz.refusals import refused
from tests.fuzz.samples import neighbours, pairwise, ranks, without_groups

# Out of a hundred.
OPERATIONS = (
    [at_once] * 36
    + [in_batches] * 16
    + [from_numpy] * 4
    + [dropped] * 30
    + [pairwise] * 5
    + [ranks] * 2
    + [neighbours] * 2
    + [without_groups] * 2
    + [refused] * 3
)
_C = load("cpu")


def each(isas: list[str]) -> Iterator[str]:
    """Go through instruction sets, the one at hand in use."""
    for isa in isas:
        _C.set_isa(isa)
        yield isa


def run(seed: int, number: int, isas: list[str]) -> str | None:
    """Try one case on each instruction set; return what is wrong."""
    draw = Draw(seed, number)
    operation = draw.one(*OPERATIONS)
    try:
        with np.errstate(all="ignore"):
            wrong = operation(draw, each(isas))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        wrong = f"{type(error).__name__} at {where.name}:{where.lineno}: {error}"
    return wrong and f"{operation.__name__} on {_C.isa()}: {wrong}"
