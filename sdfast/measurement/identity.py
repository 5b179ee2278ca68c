"""What tells one model from another: its weights, and the code that runs on them."""

import hashlib
import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn


def weights_digest(model: nn.Module) -> str:
    """Return a SHA-256 of all parameters and buffers: other weights are another job."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            flat = tensor.detach().reshape(-1).contiguous().cpu()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def code_digest(what: Any) -> str:
    """Return a SHA-256 of how a model, or a function of clips, is made: its settings, and the source of its code.

    Of a model that is the source of the classes of all modules but torch's own. What has no source, such as code typed
    into an interpreter, is known by its name only.

    >>> code_digest(nn.Linear(2, 3)) == code_digest(nn.Linear(2, 3)), code_digest(nn.ReLU()) == code_digest(nn.GELU())
    (True, False)
    """
    makers = {type(part) for part in what.modules()} if isinstance(what, nn.Module) else {_maker(what)}
    sources = sorted(_source(maker) for maker in makers)
    settings = re.sub(r" at 0x[0-9a-f]+", "", repr(what))  # where an object lies in memory is no setting
    return hashlib.sha256("\n".join([settings, *sources]).encode()).hexdigest()


def _maker(what: Any) -> Any:
    return what if inspect.isroutine(what) or inspect.isclass(what) else type(what)


def _source(maker: Any) -> str:
    name = f"{getattr(maker, '__module__', '')}.{getattr(maker, '__qualname__', '')}"
    if name.startswith(("torch.", "builtins.")):
        return name
    try:
        return f"{name}\n{inspect.getsource(maker)}"
    except (OSError, TypeError):
        return name
