"""Help for training loops: a loss that makes features less static."""

from sdfast.training.penalty import bias_penalty
from sdfast.training.permuted import run_with_permuted

__all__ = ["bias_penalty", "run_with_permuted"]
