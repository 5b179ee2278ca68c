"""StaticDropout against what moves as much memory: in place, forward and backward, guided or not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from benchmarks.activations import BACKWARD, BOTH, FORWARD, IN_PLACE, PLAIN, Activations, Guidance
from benchmarks.contest import Case, Run
from benchmarks.device import Call, Device, read, run_all
from benchmarks.plan import Plan, Stage, stages_of
from benchmarks.rivals import COMPILED_F_DROPOUT, DROPBLOCK, F_DROPOUT3D, NAIVE, dropout_rivals
from benchmarks.targets import AIMS, COMPILED, COPY, F_DROPOUT, ITSELF, MUL, MUL_OUT
from sdfast.bench import Spread, dtype_text, shape_text

_FACTOR = 1.25  # any number; torch does not look at it
_MOVES = {IN_PLACE: 2, FORWARD: 2, BACKWARD: 2, BOTH: 4}  # each read and each write of all features
_COMPOSED = NAIVE, COMPILED
_ALL = F_DROPOUT, F_DROPOUT3D, DROPBLOCK, *_COMPOSED
# Of a sample: two early layers of a network, a smaller one, and tokens with their T, H, W.
EARLY, LATER, FEW, TOKENS, _SIZES = (64, 8, 56, 56), (128, 8, 28, 28), (64, 8, 14, 14), (1568, 384), (8, 14, 14)


@dataclass(frozen=True, kw_only=True)
class Dropout(Plan):
    """One of `static_dropout`; `way` is what of it is timed."""

    tensors = 1
    sample: tuple[int, ...] = EARLY
    way: str = IN_PLACE
    guidance: Guidance = PLAIN

    @property
    def kind(self) -> str:
        return f"dropout {self.way}"

    def case(self, run: Run) -> Case:
        """Draw the features and return what is compared on them."""
        guidance, channel_dim = self.guidance, 1
        if self.sample == TOKENS:
            guidance, channel_dim = replace(guidance, grid=_SIZES), -1
        if run.device.rehearses and guidance.grid is not None:
            guidance = replace(guidance, grid=(2, 2, 2))
        shape, seed = self.shape_on(run.device), run.seed_of(self.key)
        feats = Activations(run.device, shape, self.dtype, guidance, channel_dim, self.way, seed)
        settle = feats.refill if self.way == IN_PLACE else None
        if self.way == BOTH and run.device.kind == "cpu":
            settle = partial(read, [feats.source])  # all find the same of them in the caches
        name = self.key, "static_dropout", shape_text(feats.source.shape), dtype_text(self.dtype)
        moved, grad = _MOVES[self.way] * feats.source.nbytes, self.way in (BACKWARD, BOTH)
        return Case(*name, feats.ours, dropout_rivals(self.rivals, feats), _limits(feats), moved, settle, grad)


def _limits(feats: Activations) -> dict[str, list[Call]]:
    """Return what moves as many bytes as dropout must: multiplication, and copies on a GPU."""
    out, times = torch.empty_like(feats.source), _MOVES[feats.way] // 2
    limits = {}
    if feats.device.kind == "cuda":
        limits[COPY] = [partial(run_all, times * [partial(out.copy_, x)]) for x in feats.xs]
    if feats.way == IN_PLACE:
        limits[MUL] = [partial(x.mul_, _FACTOR) for x in feats.xs]
    elif feats.way != BOTH:
        limits[MUL_OUT] = [partial(torch.mul, x, _FACTOR, out=out) for x in feats.xs]
    return limits


_BFLOAT, _KEPT = torch.bfloat16, Guidance(rescale=False)
_GRID = (8, 28, 28)  # of a mask: half of that of the features, as a segmentation of the frames gives it
_COARSE = Guidance(1.0, grid=_GRID, rescale=False)  # all static: less would leave bytes where they are
_SHARES = {"dense": 1.0, "half static": 0.5, "a tenth static": 0.1}
PLANS = (
    Dropout(label="plain float32", guidance=_KEPT),
    Dropout(label="rescaled float32", rivals=(F_DROPOUT,)),
    Dropout(label="plain bfloat16", guidance=_KEPT, dtype=_BFLOAT),
    Dropout(label="rescaled bfloat16", dtype=_BFLOAT, rivals=(F_DROPOUT,)),
    Dropout(label="guided float32", guidance=_COARSE, rivals=_COMPOSED),
    # A result is a new tensor, and that of `mul(out=)` is not: page faults would be all that shows.
    Dropout(label="rescaled float32", way=FORWARD, rivals=(F_DROPOUT, COMPILED_F_DROPOUT), warm=True),
    Dropout(label="rescaled float32", way=BACKWARD, rivals=(F_DROPOUT,), warm=True),
    Dropout(label="regions of a coarse mask", guidance=replace(_COARSE, static=0.5, granularity="region")),
)
ON_CPU = (
    *(
        Dropout(label=share, guidance=Guidance(_SHARES[share]), rivals=rivals, sample=sample, size=size)
        for sample, size, composed in ((EARLY, None, _COMPOSED), (LATER, None, ()), (TOKENS, 231_211_008, ()))
        for share, rivals in (("dense", ()), ("half static", composed), ("a tenth static", ()))
    ),
    # The defaults, a mask of another size, and one in which few rows of a frame are free of static positions.
    Dropout(label="half by region", guidance=Guidance(0.5, granularity="region", rescale=False)),
    Dropout(label="half by channel", guidance=Guidance(0.5, granularity="channel")),
    Dropout(label="half by a mask (16,112,112)", guidance=Guidance(0.5, grid=(16, 112, 112))),
    Dropout(label="a tenth in 8 pieces", guidance=Guidance(0.1, pieces=8)),
    *(  # batches of training
        Dropout(label=label, way=BOTH, guidance=Guidance(static), rivals=_ALL, sample=sample, size=size, warm=True)
        for sample, size in ((EARLY, 51_380_224), (LATER, 102_760_448), (TOKENS, 77_070_336))
        for label, static in (("unguided", None), ("guided", 0.5))
    ),
)
ON_GPU = (
    Dropout(label="rescaled float32", size=4_000_000_000),
    *(Dropout(label="of a size", size=size, sample=FEW, rivals=(F_DROPOUT,)) for size in (1_000_000, 16_000_000)),
    Dropout(label="of a size", size=256_000_000, rivals=(F_DROPOUT,)),
    Dropout(label="rescaled float32", way=BOTH, rivals=(F_DROPOUT,)),
    Dropout(label="rescaled bfloat16", way=BOTH, dtype=_BFLOAT, rivals=(F_DROPOUT,)),
    *(Dropout(label=f"guided, {each}", guidance=replace(_COARSE, static=_SHARES[each])) for each in list(_SHARES)[1:]),
    Dropout(label="regions", way=BOTH, guidance=replace(_COARSE, static=0.5, granularity="region"), rivals=(NAIVE,)),
)


def stages(device: Device) -> Iterator[Stage]:
    """Yield what is compared on a device, and what autograd keeps."""
    yield from stages_of([*PLANS, *(ON_CPU if device.kind == "cpu" else ON_GPU)], device)
    for how, static in (("plain", None), ("guided", 0.5)) if device.kind == "cpu" else ():
        yield Stage(f"dropout, kept for backward, {how}", partial(_kept_for_backward, how, static))


def bytes_kept(run: Callable[[], Tensor], held: tuple[Tensor | None, ...]) -> int:
    """Return the bytes that autograd keeps for backward, without the memory of tensors that the caller holds."""
    kept = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        output = run()
    assert output.requires_grad
    own = {tensor.untyped_storage().data_ptr() for tensor in held if tensor is not None}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for address, size in storages.items() if address not in own)


def _kept_for_backward(how: str, static: float | None, run: Run) -> None:
    """Count what is kept besides the seed, and the mask and weights that the caller holds anyway."""
    feats = Activations(run.device, (2, 64, 8, 14, 14), guidance=Guidance(static), way=FORWARD)
    held = (feats.mask, feats.weight, feats.seed)
    (leaf,) = feats.xs
    leaf.requires_grad_()
    calls = {"sdfast": partial(feats.drop, leaf), "sdfast, in place": lambda: feats.drop(leaf.clone(), inplace=True)}
    rivals = dropout_rivals(_ALL, feats)
    calls |= {name: candidate.calls[0] for name, candidate in rivals.items()}
    kept = {name: bytes_kept(call, held) / leaf.numel() for name, call in calls.items()}
    for name, each in kept.items():
        run.log.add_row(f"bytes kept for backward an element, {how}", name, note=f"{each:.2f} B", status="counted")
    worst = max(kept["sdfast"], kept["sdfast, in place"])
    run.log.judge(AIMS["cpu"]["dropout, kept for backward"][ITSELF], how, Spread((worst,)))
