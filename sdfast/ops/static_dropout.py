"""StaticDropout as torch operators, functional and in place: autograd, fakes, batching and the direct route."""

import torch
from torch import Tensor

from sdfast import _backend
from sdfast.ops.checks import check_channel_weight, check_features, check_mask, check_probability, check_unit_range

GRANULARITIES = ("element", "channel", "region")


def static_dropout(
    x: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
    inplace: bool = False,
) -> Tensor:
    """Return x with elements dropped at probability p * mask * channel_weight; `inplace` writes to x itself.

    `granularity` counts in GRANULARITIES. `seed`, () int64 on the device of x, decides alone what is dropped.
    """
    args = (seed, p, mask, channel_weight, granularity, rescale, channel_dim)
    if _backend.is_eager(x, mask, channel_weight):
        if inplace:
            check_writable(x)
        if x.requires_grad and torch.is_grad_enabled():
            return _Eager.apply(x, inplace, *args)
        out = x if inplace else torch.empty_like(x)
        _run(x, out, *args)
        if inplace:
            torch.autograd.graph.increment_version(x)
        return out
    check_arguments(x, *args)
    if _backend.is_transformed():
        out = _Transformed.apply(x, *args)
        return x.copy_(out) if inplace else out
    if not inplace:
        return torch.ops.sdfast.static_dropout(x, *args)
    check_writable(x)
    torch.ops.sdfast.static_dropout_(x, *args)
    return x


def check_arguments(x, seed, p, mask, channel_weight, granularity, rescale, channel_dim, values=False) -> None:
    """Raise an error that names the first argument that does not fit; `values` reads mask and weights too."""
    check_features("x", x, channel_dim, may_be_empty=True)
    check_probability("p", p)
    if seed.dtype != torch.int64 or seed.ndim != 0 or seed.device != x.device:
        raise ValueError(
            f"seed: expected an int64 tensor of shape () on {x.device}, "
            f"got {seed.dtype} of shape {tuple(seed.shape)} on {seed.device}"
        )
    check_mask(mask, x, channel_dim)
    check_channel_weight(channel_weight, x, channel_dim)
    if values:
        check_unit_range("mask", mask)
        check_unit_range("channel_weight", channel_weight)


def check_writable(x: Tensor) -> None:
    """Raise where torch refuses to write in place: before anything is written, not after."""
    if torch.is_grad_enabled() and x.requires_grad and x.is_leaf:
        raise RuntimeError("x: expected no leaf that requires grad, as inplace=True writes to it")
    if torch.compiler.is_compiling():
        overlaps = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    else:
        overlaps = torch._debug_has_internal_overlap(x) == 1
        if x._is_view() and torch.is_grad_enabled() and x._base.requires_grad and x._base.is_leaf:
            raise RuntimeError("x: expected no view of a leaf that requires grad, as inplace=True writes to it")
        if x.is_inference() and not torch.is_inference_mode_enabled():
            raise RuntimeError("x: expected no inference tensor outside of inference mode with inplace=True")
    if overlaps:
        raise RuntimeError(
            f"x: expected memory of its own for each element, as inplace=True writes to it, "
            f"got an expanded view of shape {tuple(x.shape)} and strides {x.stride()}; clone it first"
        )


def _run(x, out, seed, p, mask, channel_weight, granularity, rescale, channel_dim) -> None:
    """Call the kernel of the backend; `out` may be x."""
    args = (seed, p, mask, channel_weight, granularity, rescale, channel_dim)
    name = _backend.chosen(x.device.type, "static_dropout")
    if name != "cpu" or mask is not None or channel_weight is not None:  # no kernel reads values to judge them
        check_arguments(x, *args, values=x.is_cpu)
    if channel_weight is not None and not (channel_weight.dtype == torch.float32 and channel_weight.is_contiguous()):
        args = (seed, p, mask, channel_weight.float().contiguous(), granularity, rescale, channel_dim)
    try:
        _backend.load(name).static_dropout(x, out, *args)
    except (ValueError, TypeError):  # the kernel says only that it refuses; the checks say why
        check_arguments(x, *args)
        if x.numel():
            raise


class _Eager(torch.autograd.Function):
    """Autograd around the kernel for eager calls; keeps the seed and what the caller holds anyway."""

    @staticmethod
    def forward(ctx, x, inplace, *args):
        ctx.args = _save(ctx, args)
        if inplace:
            ctx.mark_dirty(x)
        out = x if inplace else torch.empty_like(x)
        _run(x, out, *args)
        return out

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, static_dropout, grad), *[None] * 8


class _Transformed(torch.autograd.Function):
    """Autograd for torch.func and forward mode, which know no autograd formula of an operator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, *args):
        return torch.ops.sdfast.static_dropout(x, *args)

    @staticmethod
    def setup_context(ctx, inputs, output):
        seed, _, mask, channel_weight, *_ = inputs[1:]
        ctx.save_for_forward(seed, mask, channel_weight)
        ctx.args = _save(ctx, inputs[1:])

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, static_dropout, grad), *[None] * 7

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _again(ctx, static_dropout, tangent)


def _save(ctx, args) -> tuple:
    seed, p, mask, channel_weight, *rest = args
    ctx.save_for_backward(seed, mask, channel_weight)
    return _backend.forced_name(), p, rest


def _again(ctx, drop, x: Tensor) -> Tensor:
    """Drop the same elements of x, on the backend of forward: on GPUs autograd has threads of its own."""
    (seed, mask, channel_weight), (forced, p, rest) = ctx.saved_tensors, ctx.args
    with _backend.as_forced(forced):
        return drop(x, seed, p, mask, channel_weight, *rest)


@torch.library.custom_op("sdfast::static_dropout", mutates_args=())
def _static_dropout(
    x: Tensor,
    seed: Tensor,
    p: float,
    mask: Tensor | None,
    channel_weight: Tensor | None,
    granularity: int,
    rescale: bool,
    channel_dim: int,
) -> Tensor:
    out = torch.empty_like(x)
    _run(x, out, seed, p, mask, channel_weight, granularity, rescale, channel_dim)
    return out


@_static_dropout.register_fake
def _(x, *_):
    return torch.empty_like(x)


def _setup_context(ctx, inputs, output) -> None:
    ctx.args = _save(ctx, inputs[1:])


def _backward(ctx, grad: Tensor):
    return _again(ctx, torch.ops.sdfast.static_dropout, grad), *[None] * 7


_static_dropout.register_autograd(_backward, setup_context=_setup_context)


@_static_dropout.register_vmap
def _(info, in_dims, *inputs):
    """Run once an example, as nothing else draws each example's own numbers."""

    def example(i: int) -> list:
        return [v if d is None else v.select(d, i) for v, d in zip(inputs, in_dims, strict=True)]

    return torch.stack([torch.ops.sdfast.static_dropout(*example(i)) for i in range(info.batch_size)]), 0


# In place by the dispatcher's own keys: a custom_op that writes to an argument takes no autograd formula.
_SCHEMA = (
    "static_dropout_(Tensor(a!) x, Tensor seed, float p, Tensor? mask, Tensor? channel_weight, "
    "SymInt granularity, bool rescale, SymInt channel_dim) -> ()"
)
_library = torch.library.Library("sdfast", "FRAGMENT")
_library.define(_SCHEMA, tags=torch.Tag.pt2_compliant_tag)


@torch.library.impl(_library, "static_dropout_", "CompositeExplicitAutograd")
def _write(x, *args) -> None:
    check_writable(x)
    _run(x, x, *args)


@torch.library.register_fake("sdfast::static_dropout_", lib=_library)
def _(x, *_):
    return None


class _InPlace(torch.autograd.Function):
    """Autograd of the in-place operator, above the dispatcher's other keys."""

    @staticmethod
    def forward(ctx, x, *args):
        ctx.args = _save(ctx, args)
        ctx.mark_dirty(x)
        with torch._C._AutoDispatchBelowAutograd():
            torch.ops.sdfast.static_dropout_(x, *args)
        return x

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, torch.ops.sdfast.static_dropout, grad), *[None] * 7


@torch.library.impl(_library, "static_dropout_", "Autograd")
def _differentiable(x, *args) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        check_writable(x)
        _InPlace.apply(x, *args)
        return
    with torch._C._AutoDispatchBelowAutograd():
        torch.ops.sdfast.static_dropout_(x, *args)
    torch.autograd.graph.increment_version(x)
