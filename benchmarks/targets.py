"""What is to be reached, and what is aimed at: for each case on each kind of device, and beside whom."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdfast.bench import Spread

# How far the quartiles may lie apart, against the median: at all, and on both sides of what is to be reached.
_NOISE, _UNDECIDED = 0.25, 0.10
_BEYOND_LIMIT = 1.10  # nothing reads faster than the read probe: where the median says so, something else was running

# Beside whom figures are taken: what the machine can do, rivals, and what is no ratio.
PROBE, COPY, MUL, MUL_OUT, MM = "read probe", "device copy", "mul_", "mul(out=)", "torch.mm"
ONE_PASS, CENTRED, EAGER, TORCHMETRICS = "compiled one-pass", "compiled centred", "eager", "torchmetrics"
F_DROPOUT, COMPILED = "F.dropout", "compiled composition"
SCIKIT_LEARN, SCIPY_SCORES, NORMAL = "scikit-learn", "SciPy rankdata and ndtri", "normal samples"
PLAIN, CHANNEL_BIAS, LOOP = "plain update", "channel_bias", "loop over samples"
DECODING, OPENCV = "decoding and restyling", "OpenCV's photo module"
TIME, LAUNCHES, ITSELF = "microseconds", "launches", "itself"


@dataclass(frozen=True)
class Target:
    """One line of the table: what counts as reached, and what is hoped for, in a unit.

    Args:
        limit: the figure is a fraction of what the machine can do at most.
        less: the figure should be small rather than large.
        widest: how far the quartiles may lie apart, where that is not a matter of the median.
        remark: what is known where it falls short.
    """

    label: str
    reach: float
    aim: float
    unit: str = ""
    limit: bool = False
    less: bool = False
    widest: float | None = None
    remark: str = ""

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
        width, scale = high - low, abs(measured.median)
        wide = width > (_NOISE * scale if self.widest is None else self.widest)
        undecided = self.meets(low, self.reach) != self.meets(high, self.reach) and width > _UNDECIDED * scale
        if wide or undecided or (self.limit and measured.median > _BEYOND_LIMIT):
            return "noise"
        if self.meets(measured.median, self.aim):
            return "aim"
        return "reached" if self.meets(measured.median, self.reach) else "missed"


_TIMES = ONE_PASS, EAGER, F_DROPOUT, COMPILED, MM, SCIKIT_LEARN, SCIPY_SCORES, NORMAL, PLAIN, CHANNEL_BIAS, LOOP
_TIMES += DECODING, OPENCV
Aims = Mapping[str, Target]  # by the name of whom a figure is taken beside


def _table(*rows: tuple) -> Mapping[str, Aims]:
    """Return {case: {beside whom: target}} of rows: both, a label, reach, aim, and perhaps what is special."""
    aims: dict[str, dict[str, Target]] = {}
    for case, beside, label, reach, aim, *special in rows:
        unit = "x" if beside in _TIMES else ""
        settings = {"unit": unit, "limit": beside == PROBE, **(special[0] if special else {})}
        aims.setdefault(case, {})[beside] = Target(label, reach, aim, **settings)
    return aims


_SHORT_RUNS = (
    "Short runs, each in another page of memory: translation of addresses decides. On a shared machine, five "
    "processes with pages of 4 KB took 0.25 to 0.28 ns an element and thread on (64,128,8,28,28), and five with huge "
    "pages (`THP_MEM_ALLOC_ENABLE=1`, a setting of torch), in turn with them, 0.11 to 0.13 in four and 0.20 in one, "
    "while `mul_` took the same in both. At other times processes with pages of 4 KB took 0.11 to 0.13, too, so the "
    "host of the machine has its part in it. Fetching 24 or 48 KB ahead instead of 12, and touching each run's page "
    "when it is put in the queue, did not help reliably."
)
_LESS = {"less": True}
_FAR, _ERROR = "co-moments, far from zero float32", "largest error of the correlation at mean/std = 1e4, float32"
_DTYPES, _LONG = ("float32", "bfloat16", "float16"), ", P >= 392: of the read probe"
_KEPT = "dropout: bytes kept for backward an element, besides the seed"
_OVER_BARE = "measure on TransNetV2, three blocks: over bare forward passes"
_OVER_STEPS = "monitor, 32 pairs at one measurement in 200 steps: over the steps"
_OVER_MM = "pairwise correlation, float32: its time over torch.mm"
_OVER_DROPOUT = "dropout forward + backward: over F.dropout, warm allocator"
_KRASKOV = "Kraskov's estimator"
_TENTH = "guided dropout in place, a tenth static: of mul_"

_MOVED = [f"{layout} float32" for layout in ("contiguous", "channels-last", "rows", "labelled", "pooled")]
_MOVED += ["contiguous bfloat16", "contiguous float16", "channels-last bfloat16", "pooled bfloat16"]
_MOVED += [f"pooled, {factors} factors, {dtype}" for dtype in _DTYPES[:2] for factors in (2, 10)]
_OF_COPY = {name: 0.90 if name.startswith(("contiguous", "pooled")) else 0.85 for name in _MOVED}

# By kind of device and name of the case, in the order in which they are printed.
AIMS: Mapping[str, Mapping[str, Aims]] = {
    "cpu": _table(
        *((f"co-moments, contiguous {each}", PROBE, f"contiguous, {each}{_LONG}", 0.90, 1.0) for each in _DTYPES),
        ("co-moments, many positions float32", PROBE, f"contiguous, float32{_LONG}", 0.90, 1.0),
        ("co-moments, short float32", PROBE, "contiguous, float32, P = 49: of the read probe", 0.65, 0.85),
        ("co-moments, short bfloat16", PROBE, "contiguous, bfloat16, P = 49: of the read probe", 0.55, 0.80),
        ("co-moments, channels-last float32", PROBE, "channels-last, float32: of the read probe", 0.50, 0.80),
        ("co-moments, channels-last bfloat16", PROBE, "channels-last, bfloat16: of the read probe", 0.40, 0.70),
        ("co-moments, pooled float32", PROBE, "pooled, float32: of the read probe", 0.80, 0.95),
        ("co-moments, contiguous float32", ONE_PASS, "over compiled one-pass: contiguous, float32", 1.4, 2.5),
        ("co-moments, contiguous bfloat16", ONE_PASS, "over compiled one-pass: contiguous, bfloat16", 2.8, 4.0),
        ("co-moments, contiguous float16", ONE_PASS, "over compiled one-pass: contiguous, float16", 2.8, 4.0),
        ("co-moments, rows float32", ONE_PASS, "over compiled one-pass: (N, C), float32", 1.3, 4.0),
        ("co-moments, small", EAGER, "over eager: (8, 64), float32", 6.0, 10.0),
        (_FAR, ITSELF, _ERROR, 1e-6, 1e-9, _LESS),
        ("co-moments, each call", TIME, "a call on (2, 4), eager, no grad", 3.0, 2.0, {"unit": " us", **_LESS}),
        ("measure", ITSELF, _OVER_BARE, 3.0, 3.0, {"unit": " %", "widest": 5.0, **_LESS}),
        ("monitor", ITSELF, _OVER_STEPS, 1.0, 0.8, {"unit": " %", **_LESS}),
        *((f"dropout in place, plain {each}", MUL, "dropout in place: of mul_", 0.80, 1.0) for each in _DTYPES[:2]),
        *(
            (f"dropout in place, rescaled {each}", MUL, "dropout in place, rescaled: of mul_", 0.80, 1.0)
            for each in _DTYPES[:2]
        ),
        ("dropout forward, rescaled float32", MUL_OUT, "dropout forward, warm allocator: of mul(out=)", 0.90, 1.0),
        ("dropout backward, rescaled float32", MUL_OUT, "dropout backward, warm allocator: of mul(out=)", 0.90, 1.0),
        ("dropout in place, dense", MUL, "guided dropout in place, dense: of mul_", 0.80, 0.95),
        ("dropout in place, half static", MUL, "guided dropout in place, half static: of mul_", 0.65, 1.1),
        ("dropout in place, a tenth static", MUL, _TENTH, 1.0, 2.0, {"remark": _SHORT_RUNS}),
        ("dropout forward and backward, unguided", F_DROPOUT, _OVER_DROPOUT, 12.0, 25.0),
        ("dropout, kept for backward", ITSELF, _KEPT, 0.0, 0.0, {"unit": " B", **_LESS}),
        ("pairwise correlation, float32", MM, _OVER_MM, 1.15, 1.15, _LESS),
        *(
            (f"Kraskov, N = {size}", SCIKIT_LEARN, f"{_KRASKOV}, one thread: over scikit-learn, N = {size}", *wanted)
            for size, wanted in {200: (25.0, 60.0), 1000: (10.0, 30.0), 10_000: (5.0, 20.0)}.items()
        ),
        ("Kraskov, ReLU", NORMAL, f"{_KRASKOV}, ReLU: its time over normal samples", 2.0, 1.2, _LESS),
        ("grouped update", PLAIN, "update of 64 groups: its time over a plain one", 2.0, 1.2, _LESS),
        ("plain update", CHANNEL_BIAS, "update of co-moments: its time over channel_bias", 2.0, 1.2, _LESS),
        ("jackknife", LOOP, "intervals by jackknife, one thread: over a loop", 50.0, 300.0),
        ("bootstrap", LOOP, "intervals by bootstrap, one thread: over a loop", 50.0, 150.0),
        ("sign flips", LOOP, "p by sign flips, one thread: over a loop", 80.0, 200.0),
        ("max-T", LOOP, "p by max-T, one thread: over a loop", 80.0, 200.0),
        ("copula", SCIPY_SCORES, "copula, one thread: over SciPy's ranks and quantiles", 4.0, 8.0),
        ("probe set", DECODING, "pairs from a probe set, one thread: over decoding and restyling", 50.0, 100.0),
        ("restyling", OPENCV, "four styles, one thread: over OpenCV's", 3.0, 5.0),
    ),
    "cuda": _table(
        *(
            (f"co-moments, {name}", COPY, f"co-moments, {name}: of the copy bandwidth", reach, 0.93)
            for name, reach in _OF_COPY.items()
        ),
        *(
            (f"dropout in place, {name}", COPY, f"StaticDropout in place, {name}: of the copy bandwidth", 0.90, 0.93)
            for name in ("plain float32", "rescaled float32", "rescaled bfloat16", "guided float32")
        ),
        *(
            (f"co-moments, {name}", ONE_PASS, f"co-moments, {name}: over torch.compile", 1.5, 1.5)
            for name in (*_MOVED[:3], "pooled float32", "contiguous bfloat16")
        ),
        ("dropout in place, guided float32", COMPILED, "StaticDropout, guided float32: over torch.compile", 1.5, 1.5),
        ("co-moments, each call", EAGER, "a call on (32, 512), by the host: over eager", 2.0, 4.0),
        ("co-moments, each call, (8, 64)", EAGER, "a call on (8, 64), by the host: over eager", 2.0, 4.0),
        ("pairwise correlation, float32", MM, _OVER_MM, 1.2, 1.15, _LESS),
        ("co-moments, in a graph", LAUNCHES, "channel_bias on (32, 512): launches", 1, 1, _LESS),
        (_FAR, ITSELF, _ERROR, 1e-6, 1e-9, _LESS),
    ),
}


def targets_of(kind: str) -> tuple[Target, ...]:
    """Return the targets of a kind of device, each once."""
    return tuple(dict.fromkeys(target for aims in AIMS[kind].values() for target in aims.values()))
