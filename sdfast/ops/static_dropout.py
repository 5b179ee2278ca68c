"""StaticDropout as torch operators, functional and in place: autograd, fakes, batching and the direct route."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

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
            dropped: Tensor = _Eager.apply(x, inplace, *dropping)  # type: ignore[no-untyped-call]
            return dropped
        out = x if inplace else torch.empty_like(x)
        _run(x, out, dropping)
        if inplace:
            torch.autograd.graph.increment_version(x)
        return out
    check_arguments(x, dropping)
    if is_transformed():
        dropped = _Transformed.apply(x, *dropping)  # type: ignore[no-untyped-call]
        return x.copy_(dropped) if inplace else dropped
    if not inplace:
        return _operator(x, dropping)
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


def _check_kernel_arguments(x: Tensor, _: Tensor, *dropping: Any) -> None:
    check_arguments(x, Dropping(*dropping))


class _Eager(torch.autograd.Function):
    """Autograd around the kernel for eager calls; keeps the seed and what the caller holds anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inplace: bool, *dropping: Any) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        out = x if inplace else torch.empty_like(x)
        _run(x, out, _save(ctx, dropping))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _again(ctx, static_dropout, grad), None, *_NO_GRADS


class _Transformed(torch.autograd.Function):
    """Autograd for torch.func and forward mode, which know no autograd formula of an operator."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, *dropping: Any) -> Tensor:
        return _operator(x, Dropping(*dropping))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dropping = _save(ctx, inputs[1:])
        ctx.save_for_forward(dropping.seed, dropping.mask, dropping.channel_weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _again(ctx, static_dropout, grad), *_NO_GRADS

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        return _again(ctx, static_dropout, tangent)


def _save(ctx: Any, arguments: Iterable[Any]) -> Dropping:
    """Keep for backward what decides; the tensors where autograd looks after them."""
    dropping = Dropping(*arguments)
    ctx.save_for_backward(dropping.seed, dropping.mask, dropping.channel_weight)
    ctx.settings = dropping.p, dropping.granularity, dropping.rescale, dropping.channel_dim
    ctx.backend = forced_name()
    return dropping


def _again(ctx: Any, drop: Callable[[Tensor, Dropping], Tensor], x: Tensor) -> Tensor:
    """Drop the same elements of x, on the backend of forward: on GPUs autograd has threads of its own."""
    seed, mask, channel_weight = ctx.saved_tensors
    p, granularity, rescale, channel_dim = ctx.settings
    dropping = Dropping(seed, p, mask, channel_weight, granularity, rescale, channel_dim)
    with as_forced(ctx.backend):
        return drop(x, dropping)


def _operator(x: Tensor, dropping: Dropping) -> Tensor:
    dropped: Tensor = torch.ops.sdfast.static_dropout(x, *dropping)
    return dropped


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
def _(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save(ctx, inputs[1:])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return _again(ctx, _operator, grad), *_NO_GRADS


_static_dropout.register_autograd(_backward, setup_context=_setup_context)


@_static_dropout.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
    """Run once an example, as nothing else draws each example's own numbers."""

    def example(i: int) -> list[Any]:
        return [v if d is None else v.select(d, i) for v, d in zip(inputs, in_dims, strict=True)]

    return torch.stack([torch.ops.sdfast.static_dropout(*example(i)) for i in range(info.batch_size)]), 0


# In place by the dispatcher's own keys: a custom_op that writes to an argument takes no autograd formula.
_library = torch.library.Library("sdfast", "FRAGMENT")
_ARGUMENTS = str(torch.ops.sdfast.static_dropout.default._schema).partition("(Tensor x, ")[2].partition(") -> ")[0]
_library.define(f"static_dropout_(Tensor(a!) x, {_ARGUMENTS}) -> ()", tags=torch.Tag.pt2_compliant_tag)


@torch.library.impl(_library, "static_dropout_", "CompositeExplicitAutograd")
def _write(x: Tensor, *dropping: Any) -> None:
    check_writable(x)
    _run(x, x, Dropping(*dropping))


@torch.library.register_fake("sdfast::static_dropout_", lib=_library)  # type: ignore[untyped-decorator]
def _(x: Tensor, *_: Any) -> None:
    return None


class _InPlace(torch.autograd.Function):
    """Autograd of the in-place operator, above the dispatcher's other keys."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *dropping: Any) -> Tensor:
        _save(ctx, dropping)
        ctx.mark_dirty(x)
        with below_autograd():
            torch.ops.sdfast.static_dropout_(x, *dropping)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _again(ctx, _operator, grad), *_NO_GRADS


@torch.library.impl(_library, "static_dropout_", "Autograd")
def _differentiable(x: Tensor, *dropping: Any) -> None:
    if torch.is_grad_enabled() and x.requires_grad:
        check_writable(x)
        _InPlace.apply(x, *dropping)  # type: ignore[no-untyped-call]
        return
    with below_autograd():
        torch.ops.sdfast.static_dropout_(x, *dropping)
    torch.autograd.graph.increment_version(x)
