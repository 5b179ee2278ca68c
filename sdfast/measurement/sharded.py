"""Models whose parameters are no plain tensors: their values, and whether processes can share pairs with them."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def plain_parts(name: str, tensor: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that a tensor is made of: what is sharded is gathered, by all processes at once.

    Raises:
        TypeError: it has no values, or none that can be read.

    >>> [part.shape for part in plain_parts("weight", nn.Linear(2, 3).weight)]
    [torch.Size([3, 2])]
    """
    tensor = tensor.detach()
    if _is_sharded(tensor):
        tensor = tensor.full_tensor()
    if is_traceable_wrapper_subclass(tensor):
        for part in tensor.__tensor_flatten__()[0]:
            yield from plain_parts(f"{name}.{part}", getattr(tensor, part))
    elif tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else "quantized" if tensor.is_quantized else str(tensor.layout)
        raise TypeError(f"model: {name}: expected a tensor whose values can be read, got a {kind} one")
    else:
        yield tensor.as_subclass(Tensor)


def check_sharded(model: nn.Module, num_batches: int | None, world: int, resumes: bool) -> bool:
    """Tell whether a model is sharded over processes.

    Args:
        model: any module.
        num_batches: how many batches they share, None where nobody knows.
        world: how many measure together; 1 where one measures alone.
        resumes: whether the state is kept in a file.

    Raises:
        ValueError: it is, and the processes cannot measure it together.

    >>> check_sharded(nn.Linear(2, 3), 5, 2, False)
    False
    """
    sharded = {name: x for name, x in model.named_parameters() if _is_sharded(x) and x.device_mesh.size() > 1}
    if not sharded:
        return False
    by_fsdp = any(isinstance(module, _loaded("torch.distributed.fsdp", "FSDPModule")) for module in model.modules())
    for name, x in sharded.items():
        if not by_fsdp or sum(not placement.is_replicate() for placement in x.placements) > 1:
            raise ValueError(
                f"model: {name} is a DTensor that is not only FSDP2's: processes that share a layer see parts of its "
                "channels, which cannot be measured"
            )
    name = next(iter(sharded))
    if world == 1:
        raise ValueError(f"distributed: expected True, as {name} is sharded over several processes")
    if resumes:  # one may have kept a batch more than another
        raise ValueError(f"resume: expected None, as {name} is sharded over several processes")
    if num_batches is None or num_batches % world:
        got = "an unknown number" if num_batches is None else num_batches
        raise ValueError(
            f"pairs: expected a number of batches that {world} processes share evenly, as all of them run a sharded "
            f"model at once, got {got}; choose batch_size or the number of pairs"
        )
    return True


def _is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    return isinstance(tensor, _loaded("torch.distributed.tensor", "DTensor"))


def _loaded(module: str, name: str) -> type | tuple[()]:
    """Return a class of a module that takes long to import; where nobody has, there is nothing of that class."""
    return getattr(sys.modules.get(module), name, ())
