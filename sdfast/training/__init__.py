"""Help for training loops: the bias over training, a loss that makes features less static, channels switched off."""

from sdfast.training.ablation import ablate
from sdfast.training.curve import BiasCurve
from sdfast.training.monitor import BiasMonitor
from sdfast.training.penalty import bias_penalty
from sdfast.training.permuted import run_with_permuted

__all__ = ["BiasCurve", "BiasMonitor", "ablate", "bias_penalty", "run_with_permuted"]
