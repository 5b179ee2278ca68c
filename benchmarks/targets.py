"""What is to be reached, and what is aimed at: ratios taken within one run, and a few figures in units of their own."""

from dataclasses import dataclass

from sdfast.bench import Spread

# How far the quartiles may lie apart, against the median: at all, and where they are on both sides of what is to be
# reached.
_NOISE = 0.25
_UNDECIDED = 0.10
# Nothing reads faster than the read probe: where the median says so, something else was running.
_BEYOND_LIMIT = 1.10


@dataclass(frozen=True)
class Target:
    """One line of the table.

    Args:
        label: what is measured.
        reach, aim: what counts as reached, and what is hoped for.
        unit: printed after the figures.
        limit: the figure is a fraction of what the machine can do.
        less: the figure should be small rather than large.
        widest: how far the quartiles may lie apart, where that is not a matter of the median.
    """

    label: str
    reach: float
    aim: float
    unit: str = ""
    limit: bool = False
    less: bool = False
    widest: float | None = None

    def show(self, value: float) -> str:
        """Return a figure as text."""
        digits = f"{value:.1e}" if abs(value) < 1e-3 and self.unit == "" else f"{value:.2f}"
        return digits + self.unit

    def meets(self, value: float, wanted: float) -> bool:
        """Tell whether a figure is as good as wanted."""
        return value <= wanted if self.less else value >= wanted

    def verdict(self, measured: Spread) -> str:
        """Return "aim", "reached", "missed", or "noise" where the rounds do not agree and cannot tell."""
        low, high = measured.quartiles
        scale = abs(measured.median)
        undecided = self.meets(low, self.reach) != self.meets(high, self.reach)
        if (
            high - low > (_NOISE * scale if self.widest is None else self.widest)
            or (undecided and high - low > _UNDECIDED * scale)
            or (self.limit and measured.median > _BEYOND_LIMIT)
        ):
            return "noise"
        if self.meets(measured.median, self.aim):
            return "aim"
        return "reached" if self.meets(measured.median, self.reach) else "missed"


def _of_probe(label: str, reach: float, aim: float) -> Target:
    return Target(f"{label}: of the read probe", reach, aim, limit=True)


def _of_product(label: str, reach: float, aim: float, inplace: bool = True) -> Target:
    return Target(f"{label}: of {'mul_' if inplace else 'mul(out=)'}", reach, aim)


def _over(label: str, reach: float, aim: float) -> Target:
    return Target(label, reach, aim, unit="x")


CONTIGUOUS = {
    name: _of_probe(f"contiguous, {name}, P >= 392", 0.90, 1.0) for name in ("float32", "bfloat16", "float16")
}
SHORT = {
    "float32": _of_probe("contiguous, float32, P = 49", 0.65, 0.85),
    "bfloat16": _of_probe("contiguous, bfloat16, P = 49", 0.55, 0.80),
}
CHANNELS_LAST = {
    "float32": _of_probe("channels-last, float32", 0.50, 0.80),
    "bfloat16": _of_probe("channels-last, bfloat16", 0.40, 0.70),
}
POOLED = _of_probe("pooled, float32", 0.80, 0.95)
OVER_ONE_PASS = {
    "float32": _over("over compiled one-pass: contiguous, float32", 1.4, 2.5),
    "bfloat16": _over("over compiled one-pass: contiguous, bfloat16", 2.8, 4.0),
    "float16": _over("over compiled one-pass: contiguous, float16", 2.8, 4.0),
}
ROWS_OVER_ONE_PASS = _over("over compiled one-pass: (N, C), float32", 1.3, 4.0)
OVER_EAGER = _over("over eager: (8, 64), float32", 6.0, 10.0)
ERROR = Target("largest error of the correlation at mean/std = 1e4, float32", 1e-6, 1e-9, less=True)
CALL = Target("a call on (2, 4), eager, no grad", 3.0, 2.0, unit=" us", less=True)
MEASURE = Target(
    "measure on TransNetV2, three blocks: over bare forward passes", 3.0, 3.0, unit=" %", less=True, widest=5.0
)

IN_PLACE = {
    "plain": _of_product("dropout in place", 0.80, 1.0),
    "rescaled": _of_product("dropout in place, rescaled", 0.80, 1.0),
}
OUT_OF_PLACE = {
    way: _of_product(f"dropout {way}, warm allocator", 0.90, 1.0, inplace=False) for way in ("forward", "backward")
}
GUIDED = {
    "dense": _of_product("guided dropout in place, dense", 0.80, 0.95),
    "half": _of_product("guided dropout in place, half static", 0.65, 1.1),
    "a tenth": _of_product("guided dropout in place, a tenth static", 1.0, 2.0),
}
OVER_DROPOUT = _over("dropout forward + backward: over F.dropout, warm allocator", 12.0, 25.0)
KEPT = Target("dropout: bytes kept for backward an element, besides the seed", 0.0, 0.0, unit=" B", less=True)
PAIRWISE = Target("pairwise correlation, float32: its time over torch.mm", 1.15, 1.15, unit="x", less=True)
KRASKOV = {
    200: _over("Kraskov's estimator, one thread: over scikit-learn, N = 200", 25.0, 60.0),
    1000: _over("Kraskov's estimator, one thread: over scikit-learn, N = 1000", 10.0, 30.0),
    10_000: _over("Kraskov's estimator, one thread: over scikit-learn, N = 10000", 5.0, 20.0),
}
KRASKOV_RELU = Target("Kraskov's estimator, ReLU: its time over normal samples", 2.0, 1.2, unit="x", less=True)
COPULA = _over("copula, one thread: over SciPy's ranks and quantiles", 4.0, 8.0)

# In the order in which they are printed.
TARGETS = (
    *CONTIGUOUS.values(),
    *SHORT.values(),
    *CHANNELS_LAST.values(),
    POOLED,
    *OVER_ONE_PASS.values(),
    ROWS_OVER_ONE_PASS,
    OVER_EAGER,
    ERROR,
    CALL,
    MEASURE,
    *IN_PLACE.values(),
    *OUT_OF_PLACE.values(),
    *GUIDED.values(),
    OVER_DROPOUT,
    KEPT,
    PAIRWISE,
    *KRASKOV.values(),
    KRASKOV_RELU,
    COPULA,
)
