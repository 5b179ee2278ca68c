"""A pause in training that training does not notice."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a block after which random states and buffers are as before.

    The random states are those of Python, NumPy, and torch on the CPU and the model's devices. Training flags and
    gradients are the business of `sdfast.measure`, which runs in eval mode, uncompiled, and builds no graph.
    """
    drawn = random.getstate(), np.random.get_state()
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers()) if tensor.is_cuda}
    try:
        with torch.random.fork_rng(devices=list(devices)), _lent_buffers(model):
            yield
    finally:
        random.setstate(drawn[0])
        np.random.set_state(drawn[1])


@contextmanager
def _lent_buffers(model: nn.Module) -> Iterator[None]:
    """Give a model copies of its buffers for a block; a graph may hold the others, and wants them as they were.

    Under `torch.distributed` the copies are those of process 0, as in each forward pass of DistributedDataParallel:
    between two of these every process has batch norm statistics of its own.
    """
    owned = [
        (module, name, buffer) for module in model.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    copies = {buffer: buffer.detach().clone() for _, _, buffer in owned}  # shared ones stay shared
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for copy in copies.values():
            dist.broadcast(copy, 0)
    try:
        for module, name, buffer in owned:
            setattr(module, name, copies[buffer])
        yield
    finally:
        for module, name, buffer in owned:
            setattr(module, name, buffer)
