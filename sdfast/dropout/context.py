"""The static mask of the moment: how it reaches every StaticDropout without passing through the model."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from sdfast.dropout.static_dropout import SEEDS


class _Current(threading.local):
    # Set here, once a thread, and not on the class: torch.compile then reads both anew at every call, as inputs.
    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.seed: Tensor | None = None


_current = _Current()


def current() -> tuple[Tensor | None, Tensor | None]:
    """Return the mask of the innermost block of this thread and the seed of its region draws."""
    return _current.mask, _current.seed


@contextmanager
def _installed(mask: Tensor | None, seed: Tensor | None) -> Iterator[None]:
    before = _current.mask, _current.seed
    _current.mask, _current.seed = mask, seed
    try:
        yield
    finally:
        _current.mask, _current.seed = before


def static_mask(mask: Tensor | None) -> AbstractContextManager[None]:
    """Give every StaticDropout that runs inside the `with` block a mask, compiled models included.

    Blocks nest, and each thread has its own. All layers of one block that drop by region share the draws: a clip
    loses its static region in all of them or in none.

    Args:
        mask: how static each position is, (N, T, H, W) in [0, 1] as `sdfast.static_dropout` takes it, on the device
            of the features; None for no mask, inside a block that has one.

    Raises:
        TypeError: mask is not a tensor.

    Gradient checkpointing runs layers again during backward: call backward inside the block, or see
    `keep_static_mask`.

    >>> import torch, sdfast
    >>> layer = sdfast.StaticDropout(p=1.0)
    >>> with sdfast.static_mask(torch.tensor([[0.0, 1.0]])):
    ...     layer(torch.ones(1, 1, 4))
    tensor([[[1., 1., 0., 0.]]])
    """
    if mask is None:
        return _installed(None, None)
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask: expected a torch.Tensor or None, got {type(mask).__name__}")
    return _installed(mask, torch.randint(SEEDS, (), device=mask.device))


def keep_static_mask() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Make gradient checkpointing recompute with the mask that the forward pass had, even after its block.

    Pass it as `context_fn` to `torch.utils.checkpoint.checkpoint(..., use_reentrant=False)`. Compiled code needs none
    and takes none: there the mask is an input.

    Returns:
        The contexts of the forward pass and of its recomputation.

    >>> import torch, sdfast
    >>> from torch.utils.checkpoint import checkpoint
    >>> layer, x = sdfast.StaticDropout(p=1.0), torch.ones(1, 1, 2, requires_grad=True)
    >>> with sdfast.static_mask(torch.tensor([[0.0, 1.0]])):
    ...     y = checkpoint(layer, x, use_reentrant=False, context_fn=sdfast.keep_static_mask)
    >>> y.sum().backward()
    >>> x.grad
    tensor([[[1., 0.]]])
    """
    return nullcontext(), _installed(*current())
