"""StaticDropout as torch operators, functional and in place: autograd, fakes, batching and the direct route."""

from typing import NamedTuple

import torch
from torch import Tensor

from sdfast.backends import (
    as_forced,
    below_autograd,
    forced_name,
    is_eager,
    is_transformed,
    is_view_of_trained_leaf,
    overlaps_itself,
    run,
)
from sdfast.ops.checks import check_channel_weight, check_features, check_mask, check_probability, check_unit_range

GRANULARITIES = ("element", "channel", "region")


class Dropping(NamedTuple):
    """Which elements go: with probability p * mask * channel_weight, decided by the seed alone.

    The seed is () int64 on the device of the features; `granularity` counts in GRANULARITIES. Torch's schemas and the
    kernels take these one by one, after the features, in this order.
    """

    seed: Tensor
    p: float
    mask: Tensor | None
    channel_weight: Tensor | None
    granularity: int
    rescale: bool
    channel_dim: int


_NO_GRADS = (None,) * len(Dropping._fields)


def static_dropout(x: Tensor, dropping: Dropping, inplace: bool = False) -> Tensor:
    """Return x without the elements that go; `inplace` writes to x itself."""
    if is_eager(x, dropping.mask, dropping.channel_weight):
        if inplace:
            check_writable(x)
        if x.requires_grad and torch.is_grad_enabled():
            return _Eager.apply(x, inplace, *dropping)
        out = x if inplace else torch.empty_like(x)
        _run(x, out, dropping)
        if inplace:
            torch.autograd.graph.increment_version(x)
        return out
    check_arguments(x, dropping)
    if is_transformed():
        out = _Transformed.apply(x, *dropping)
        return x.copy_(out) if inplace else out
    if not inplace:
        return torch.ops.sdfast.static_dropout(x, *dropping)
    check_writable(x)
    torch.ops.sdfast.static_dropout_(x, *dropping)
    return x


def check_arguments(x: Tensor, dropping: Dropping, values: bool = False) -> None:
    """Raise an error that names the first argument that does not fit; `values` reads mask and weights too."""
    seed = dropping.seed
    check_features("x", x, dropping.channel_dim, may_be_empty=True)
    check_probability("p", dropping.p)
    if seed.dtype != torch.int64 or seed.ndim != 0 or seed.device != x.device:
        raise ValueError(
            f"seed: expected an int64 tensor of shape () on {x.device}, "
            f"got {seed.dtype} of shape {tuple(seed.shape)} on {seed.device}"
        )
    check_mask(dropping.mask, x, dropping.channel_dim)
    check_channel_weight(dropping.channel_weight, x, dropping.channel_dim)
    if values:
        check_unit_range("mask", dropping.mask)
        check_unit_range("channel_weight", dropping.channel_weight)


def check_writable(x: Tensor) -> None:
    """Raise where torch refuses to write in place: before anything is written, not after."""
    if torch.is_grad_enabled() and x.requires_grad and x.is_leaf:
        raise RuntimeError("x: expected no leaf that requires grad, as inplace=True writes to it")
    if not torch.compiler.is_compiling():
        if torch.is_grad_enabled() and is_view_of_trained_leaf(x):
            raise RuntimeError("x: expected no view of a leaf that requires grad, as inplace=True writes to it")
        if x.is_inference() and not torch.is_inference_mode_enabled():
            raise RuntimeError("x: expected no inference tensor outside of inference mode with inplace=True")
    if overlaps_itself(x):
        raise RuntimeError(
            f"x: expected memory of its own for each element, as inplace=True writes to it, "
            f"got an expanded view of shape {tuple(x.shape)} and strides {x.stride()}; clone it first"
        )


def _run(x: Tensor, out: Tensor, dropping: Dropping) -> None:
    """Call the kernel of the backend; `out` may be x."""
    weight = dropping.channel_weight
    if dropping.mask is not None or weight is not None:  # no kernel reads values to judge them
        check_arguments(x, dropping, values=x.is_cpu)
    if weight is not None and not (weight.dtype == torch.float32 and weight.is_contiguous()):
        dropping = dropping._replace(channel_weight=weight.float().contiguous())
    if x.numel():
        run("static_dropout", _check_kernel_arguments, (x, out, *dropping))
    else:
        check_arguments(x, dropping)


def _check_kernel_arguments(x: Tensor, _: Tensor, *dropping) -> None:
    check_arguments(x, Dropping(*dropping))


class _Eager(torch.autograd.Function):
    """Autograd around the kernel for eager calls; keeps the seed and what the caller holds anyway."""

    @staticmethod
    def forward(ctx, x, inplace, *dropping):
        dropping = _save(ctx, dropping)
        if inplace:
            ctx.mark_dirty(x)
        out = x if inplace else torch.empty_like(x)
        _run(x, out, dropping)
        return out

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, static_dropout, grad), None, *_NO_GRADS


class _Transformed(torch.autograd.Function):
    """Autograd for torch.func and forward mode, which know no autograd formula of an operator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, *dropping):
        return torch.ops.sdfast.static_dropout(x, *dropping)

    @staticmethod
    def setup_context(ctx, inputs, output):
        dropping = _save(ctx, inputs[1:])
        ctx.save_for_forward(dropping.seed, dropping.mask, dropping.channel_weight)

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, static_dropout, grad), *_NO_GRADS

    @staticmethod
    def jvp(ctx, tangent, *_):
        return _again(ctx, static_dropout, tangent)


def _save(ctx, dropping) -> Dropping:
    """Keep for backward what decides; the tensors where autograd looks after them."""
    dropping = Dropping(*dropping)
    ctx.save_for_backward(dropping.seed, dropping.mask, dropping.channel_weight)
    ctx.dropping = dropping._replace(seed=None, mask=None, channel_weight=None)
    ctx.backend = forced_name()
    return dropping


def _again(ctx, drop, x: Tensor) -> Tensor:
    """Drop the same elements of x, on the backend of forward: on GPUs autograd has threads of its own."""
    seed, mask, channel_weight = ctx.saved_tensors
    dropping = ctx.dropping._replace(seed=seed, mask=mask, channel_weight=channel_weight)
    with as_forced(ctx.backend):
        return drop(x, dropping)


def _operator(x: Tensor, dropping: Dropping) -> Tensor:
    return torch.ops.sdfast.static_dropout(x, *dropping)


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
    _run(x, out, Dropping(seed, p, mask, channel_weight, granularity, rescale, channel_dim))
    return out


@_static_dropout.register_fake
def _(x, *_):
    return torch.empty_like(x)


def _setup_context(ctx, inputs, output) -> None:
    _save(ctx, inputs[1:])


def _backward(ctx, grad: Tensor):
    return _again(ctx, _operator, grad), *_NO_GRADS


_static_dropout.register_autograd(_backward, setup_context=_setup_context)


@_static_dropout.register_vmap
def _(info, in_dims, *inputs):
    """Run once an example, as nothing else draws each example's own numbers."""

    def example(i: int) -> list:
        return [v if d is None else v.select(d, i) for v, d in zip(inputs, in_dims, strict=True)]

    return torch.stack([torch.ops.sdfast.static_dropout(*example(i)) for i in range(info.batch_size)]), 0


# In place by the dispatcher's own keys: a custom_op that writes to an argument takes no autograd formula.
_library = torch.library.Library("sdfast", "FRAGMENT")
_ARGUMENTS = str(torch.ops.sdfast.static_dropout.default._schema).partition("(Tensor x, ")[2].partition(") -> ")[0]
_library.define(f"static_dropout_(Tensor(a!) x, {_ARGUMENTS}) -> ()", tags=torch.Tag.pt2_compliant_tag)


@torch.library.impl(_library, "static_dropout_", "CompositeExplicitAutograd")
def _write(x, *dropping) -> None:
    check_writable(x)
    _run(x, x, Dropping(*dropping))


@torch.library.register_fake("sdfast::static_dropout_", lib=_library)
def _(x, *_):
    return None


class _InPlace(torch.autograd.Function):
    """Autograd of the in-place operator, above the dispatcher's other keys."""

    @staticmethod
    def forward(ctx, x, *dropping):
        _save(ctx, dropping)
        ctx.mark_dirty(x)
        with below_autograd():
            torch.ops.sdfast.static_dropout_(x, *dropping)
        return x

    @staticmethod
    def backward(ctx, grad):
        return _again(ctx, _operator, grad), *_NO_GRADS


@torch.library.impl(_library, "static_dropout_", "Autograd")
def _differentiable(x, *dropping) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        check_writable(x)
        _InPlace.apply(x, *dropping)
        return
    with below_autograd():
        torch.ops.sdfast.static_dropout_(x, *dropping)
    torch.autograd.graph.increment_version(x)
