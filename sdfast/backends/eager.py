"""What touches torch's internals: whether a kernel may be handed tensors by pointer, and what autograd is doing."""

import sys
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.autograd import forward_ad

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_functorch_level = torch._C._functorch.peek_interpreter_stack


def is_direct(feats_a: object, feats_b: object, labels: object) -> bool:
    """Tell whether a kernel may be called without torch's dispatcher: `is_eager`, outside of autograd, with kernels.

    What that leaves open (shapes, dtypes, a second device) the compiled kernels of the CPU refuse by themselves.
    """
    return (  # is_eager is written out here: calling it takes 2 % of the time of a small call
        not _is_compiling()
        and type(feats_a) is Tensor
        and type(feats_b) is Tensor
        and (labels is None or type(labels) is Tensor)
        and not _dispatch_modes()
        and _functorch_level() is None
        and forward_ad._current_level < 0
        and not feats_a.is_neg()
        and not feats_b.is_neg()
        and (labels is None or not labels.is_neg())
        and not (_is_grad_enabled() and (feats_a.requires_grad or feats_b.requires_grad))
        and (feats_a.is_cpu or feats_a.is_cuda)
    )


def is_eager(first: Tensor, second: Tensor | None, third: Tensor | None) -> bool:
    """Tell whether a kernel may be handed these tensors by pointer: plain ones, with memory of their own meaning.

    False under tracing, functorch, dispatch modes and forward-mode differentiation, and for negated views.
    """
    return (
        not _is_compiling()
        and type(first) is Tensor
        and (second is None or type(second) is Tensor)
        and (third is None or type(third) is Tensor)
        and not _dispatch_modes()
        and _functorch_level() is None
        and forward_ad._current_level < 0
        and not first.is_neg()
        and (second is None or not second.is_neg())
        and (third is None or not third.is_neg())
    )


def is_transformed() -> bool:
    """Tell whether torch.func (vmap, grad, jvp) or forward-mode differentiation is at work, outside of tracing."""
    return not torch.compiler.is_compiling() and (_functorch_level() is not None or forward_ad._current_level >= 0)


def in_backward() -> bool:
    """Tell whether autograd runs a backward pass in this thread."""
    return torch._C._current_graph_task_id() != -1


def overlaps_itself(x: Tensor) -> bool:
    """Tell whether elements of x share memory, as those of an expanded view do."""
    if torch.compiler.is_compiling():
        return any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    return torch._debug_has_internal_overlap(x) == 1


def is_view_of_trained_leaf(x: Tensor) -> bool:
    """Tell whether x is a view of a leaf that requires grad, which autograd lets no one write to."""
    return x._base is not None and x._base.requires_grad and x._base.is_leaf


def forget_compiled() -> None:
    """Have torch.compile compile anew what it has compiled: its code is guarded against no change of hooks."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


def below_autograd() -> AbstractContextManager[None]:
    """Return a context in which the dispatcher leaves autograd out."""
    return torch._C._AutoDispatchBelowAutograd()
