"""StaticDropout against torch's multiplication by a number, which moves as much memory, and beside its peers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks import targets
from benchmarks.allocator import compete_warm
from benchmarks.contest import Lineup, hold
from benchmarks.dropout_peers import F_DROPOUT, composed, unguided
from benchmarks.dropouts import PLAIN, Activations, Guidance, P, by_rate, rate_tolerance
from benchmarks.scoreboard import Beside, Judged
from sdfast.bench import QUICK, Spread

MUL = "mul_"
MUL_OUT = "mul(out=)"
FACTOR = 1.25  # any number; torch does not look at it


@dataclass(frozen=True)
class Layer:
    """What comes out of a layer of a network, with T, H, W where its shape has only tokens."""

    shape: tuple[int, ...]
    channel_dim: int = 1
    sizes: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return str(self.shape).replace(", ", ",")

    def feats(self, guidance: Guidance = PLAIN, dtype: torch.dtype = torch.float32) -> Activations:
        return Activations(self.shape, dtype, self.channel_dim, guidance, self.sizes)


# At least 200 MB: larger than any cache.
LARGE = Layer((32, 64, 8, 56, 56))
LARGE_LAYERS = (LARGE, Layer((64, 128, 8, 28, 28)), Layer((96, 1568, 384), -1, (8, 14, 14)))
# A batch of training.
TRAINING_LAYERS = (Layer((8, 64, 8, 56, 56)), Layer((32, 128, 8, 28, 28)), Layer((32, 1568, 384), -1, (8, 14, 14)))


def _first_quick(values: Iterable, ids: Callable = str) -> list:
    """Leave all but the first to a thorough run."""
    return [
        pytest.param(value, id=ids(value), marks=[pytest.mark.thorough] if number else [])
        for number, value in enumerate(values)
    ]


SHARES = {"dense": 1.0, "half": 0.5, "a tenth": 0.1}


def _in_place(case: str, feats: Activations, peers: dict | None = None) -> Lineup:
    ours = feats.ours(partial(feats.drop, feats.x, inplace=True))
    return Lineup(case, feats.shape, ours, peers or {}, {MUL: lambda: feats.x.mul_(FACTOR)}, feats.refill)


@pytest.mark.parametrize("rescale", [False, True], ids=["plain", "rescaled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_in_place(dtype, rescale, benchmark, scoreboard):
    layer = LARGE if dtype.itemsize == 4 else Layer((2 * LARGE.shape[0], *LARGE.shape[1:]))
    feats = layer.feats(Guidance(rescale=rescale), dtype)
    peers = {}
    if rescale and not (QUICK and dtype == torch.bfloat16):  # seconds a call
        run = partial(torch.nn.functional.dropout, feats.x, P, inplace=True)
        peers = {f"{F_DROPOUT}, in place": by_rate(run, P, rate_tolerance(feats.x.numel()))}
    case = f"dropout in place {feats.shape}{' rescaled' if rescale else ''}"
    contest = hold(benchmark, _in_place(case, feats, peers))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.IN_PLACE["rescaled" if rescale else "plain"], MUL)
    contest.check()


def _times_a_number(feats: Activations) -> dict:
    out = torch.empty_like(feats.x)
    return {MUL_OUT: lambda: torch.mul(feats.x, FACTOR, out=out)}


def forward_lineup() -> Lineup:
    """Line up the way there, into a new tensor."""
    feats = LARGE.feats()
    peers = {F_DROPOUT: by_rate(partial(torch.nn.functional.dropout, feats.x, P), P, rate_tolerance(feats.x.numel()))}
    ours = feats.ours(partial(feats.drop, feats.x))
    return Lineup(f"dropout forward {feats.shape}", feats.shape, ours, peers, _times_a_number(feats))


def backward_lineup() -> Lineup:
    """Line up the way back alone; what is dropped from are the gradients."""
    feats = LARGE.feats()
    grads = feats.x

    def way_back(drop) -> Callable[[], Tensor]:
        with torch.enable_grad():
            leaf = torch.ones_like(grads, requires_grad=True)
            output = drop(leaf)
        return lambda: torch.autograd.grad(output, leaf, grads, retain_graph=True)[0]

    peers = {F_DROPOUT: by_rate(way_back(torch.nn.functional.dropout), P, rate_tolerance(grads.numel()))}
    ours = feats.ours(way_back(feats.drop))
    return Lineup(f"dropout backward {feats.shape}", feats.shape, ours, peers, _times_a_number(feats))


WAYS = {"forward": forward_lineup, "backward": backward_lineup}


@pytest.mark.parametrize("way", WAYS)
def test_out_of_place(way, scoreboard):
    """In a process that keeps its memory, as the result is a new tensor and that of `mul(out=)` is not."""
    contest = compete_warm(WAYS[way])
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.OUT_OF_PLACE[way], MUL_OUT)
    contest.check()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("layer", _first_quick(LARGE_LAYERS))
def test_guided_in_place(layer, share, benchmark, scoreboard):
    feats = layer.feats(Guidance(SHARES[share]))
    peers = {}
    if layer is LARGE and share == "half":
        peers = composed(feats, lambda drop: drop(feats.x))
    contest = hold(benchmark, _in_place(f"guided dropout in place {layer} {share} static", feats, peers))
    contest.compare(scoreboard)
    contest.judge(scoreboard, targets.GUIDED[share], MUL)
    contest.check()


# The defaults, a mask of another size, and one in which few rows of a frame are free of static positions.
OTHERS = {
    "half by region": Guidance(0.5, granularity="region", rescale=False),
    "half by channel": Guidance(0.5, granularity="channel"),
    "half by a mask (16,112,112)": Guidance(0.5, grid=(16, 112, 112)),
    "a tenth in 8 pieces": Guidance(0.1, pieces=8),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", OTHERS)
def test_other_guidance_in_place(name, benchmark, scoreboard):
    feats = LARGE.feats(OTHERS[name])
    contest = hold(benchmark, _in_place(f"guided dropout in place {LARGE}, {name}", feats))
    contest.compare(scoreboard)
    contest.check()


def training_lineup(layer: int, static: float | None) -> Lineup:
    """Line up forward and backward together; what is judged is the gradient that reaches the layer before."""
    layer = TRAINING_LAYERS[layer]
    feats = layer.feats(Guidance(static))
    leaf = feats.x.detach().requires_grad_()
    grads = feats.source

    def step(drop) -> Tensor:
        with torch.enable_grad():
            output = drop(leaf)
            (gradient,) = torch.autograd.grad(output, leaf, grads)
        return gradient

    peers = {**unguided(feats, step), **composed(feats, step)}
    how = "dropout" if static is None else "guided dropout"
    return Lineup(
        f"{how} forward + backward {layer}", feats.shape, feats.ours(partial(step, feats.drop)), peers, {}, feats.read
    )


@pytest.mark.parametrize("static", _first_quick([None, 0.5], lambda static: "half static" if static else "plain"))
@pytest.mark.parametrize(
    "number", _first_quick(range(len(TRAINING_LAYERS)), lambda number: str(TRAINING_LAYERS[number]))
)
def test_forward_and_backward(number, static, scoreboard):
    contest = compete_warm(training_lineup, layer=number, static=static)
    contest.compare(scoreboard)
    if static is None:
        contest.judge(scoreboard, targets.OVER_DROPOUT, F_DROPOUT)
    contest.check()


def bytes_kept(run: Callable[[], Tensor], held: tuple[Tensor | None, ...]) -> int:
    """Return the bytes that autograd keeps for backward, without the memory of tensors that the caller holds."""
    kept = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        output = run()
    assert output.requires_grad
    own = {tensor.untyped_storage().data_ptr() for tensor in held if tensor is not None}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for address, size in storages.items() if address not in own)


@pytest.mark.parametrize("static", [None, 0.5], ids=["plain", "half static"])
def test_bytes_kept_for_backward(static, scoreboard):
    """Besides the seed, and the mask and weights that the caller holds anyway. Nothing here is timed."""
    feats = Layer((2, 64, 8, 14, 14)).feats(Guidance(static))
    held = (feats.mask, feats.weight, feats.seed)
    leaf = feats.x.requires_grad_()
    calls = {"sdfast": feats.drop, "sdfast, in place": lambda x: feats.drop(x.clone(), inplace=True)}
    for settings in (unguided(feats, lambda drop: drop), composed(feats, lambda drop: drop)):
        calls.update({name: candidate.run() for name, candidate in settings.items()})
    case = f"bytes kept for backward an element, {'plain' if static is None else 'guided'}"
    kept = {name: bytes_kept(partial(drop, leaf), held) / leaf.numel() for name, drop in calls.items()}
    for name, each in kept.items():
        scoreboard.beside.append(Beside(case, name, None, note=f"{each:.2f} B"))
    worst = max(kept["sdfast"], kept["sdfast, in place"])
    scoreboard.judged.append(Judged(targets.KEPT, "guided" if static else "plain", Spread((worst,))))
    assert worst == 0
