"""What is put around a module without changing what it is: torch.compile, DistributedDataParallel and their like."""

from torch import nn
from torch.optim.swa_utils import AveragedModel

_TYPES = (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)  # each has the module in `module`
_NAMES = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # where others have it
WRAPPED = ("module", *_NAMES)


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside of whatever is wrapped around it.

    >>> unwrapped(nn.DataParallel(nn.ReLU()))
    ReLU()
    """
    while True:
        names = ("module",) if isinstance(module, _TYPES) else _NAMES
        inner = next((module._modules[name] for name in names if name in module._modules), None)
        if inner is None:
            return module
        module = inner
