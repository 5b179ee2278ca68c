"""A pause in training that training does not notice."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn


def bare_model(model: nn.Module) -> nn.Module:
    """Return the model inside DistributedDataParallel, DataParallel and torch.compile: the same weights, plain names.

    >>> bare_model(nn.DataParallel(nn.ReLU()))
    ReLU()
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a block after which random states and buffers are as before; compiled code does not run in it.

    The random states are those of Python, NumPy, and torch on the CPU and the model's devices. Training flags and
    gradients are the business of `sdfast.measure`, which runs in eval mode and builds no graph.
    """
    drawn = random.getstate(), np.random.get_state()
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers()) if tensor.is_cuda}
    kept = _buffers(model)
    # Hooks do not run in compiled code. Where nothing has been compiled, there is no need to import the compiler.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    try:
        with eager, torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])
        _restore(kept)


def _buffers(model: nn.Module) -> list[tuple[nn.Module, str, Tensor, int, Tensor]]:
    """Return every buffer: whose and what it is, its version, and a copy."""
    return [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


def _restore(kept: list[tuple[nn.Module, str, Tensor, int, Tensor]]) -> None:
    for module, name, buffer, version, copy in kept:
        if getattr(module, name, None) is not buffer:
            setattr(module, name, buffer)
        # Only what was written to: a graph may hold the others, and would refuse to run backwards after a write.
        if buffer._version != version:
            with torch.no_grad():
                buffer.copy_(copy)
