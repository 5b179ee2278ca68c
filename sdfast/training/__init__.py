"""Help for training loops: the bias over training, a loss that makes features less static, channels switched off."""

from typing import TYPE_CHECKING, Any

from sdfast.training.ablation import HOW, ablate
from sdfast.training.ablation_losses import ablation_losses
from sdfast.training.curve import BiasCurve, Settled, settled_step
from sdfast.training.monitor import BiasMonitor
from sdfast.training.penalty import bias_penalty
from sdfast.training.permuted import run_with_permuted

if TYPE_CHECKING:
    from sdfast.training.callbacks import LightningMonitor as LightningMonitor
    from sdfast.training.callbacks import TrainerMonitor as TrainerMonitor

__all__ = [
    "HOW",
    "BiasCurve",
    "BiasMonitor",
    "Settled",
    "ablate",
    "ablation_losses",
    "bias_penalty",
    "run_with_permuted",
    "settled_step",
]


def __getattr__(name: str) -> Any:
    # Not in __all__: they need packages that are optional.
    if name in ("LightningMonitor", "TrainerMonitor"):
        from sdfast.training import callbacks

        return getattr(callbacks, name)
    raise AttributeError(f"module 'sdfast.training' has no attribute {name!r}")
