"""Static and dynamic bias as a torchmetrics metric."""

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torchmetrics import Metric

from sdfast.report.bias_report import BiasReport
from sdfast.report.reading import check_reading
from sdfast.statistics import FACTORS, add_batch, empty_moments, merge

if TYPE_CHECKING:
    import matplotlib.figure


class BiasMetric(Metric):
    """Accumulate feature pairs of one layer; `compute` returns a `BiasReport`.

    A metric like any other of torchmetrics: `forward` returns the report of the batch, states are merged over
    processes, and it works in a `MetricCollection`. The state is O(channels), whatever the number of pairs, and
    stays float64 when the model it is part of changes its dtype.

    Args:
        num_channels: how many channels C the features have.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        channel_dim: the dimension of the channels in the features.
        pool: average over positions first, so that a pair is one sample.
        **kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: an argument is out of range, or one in `update` does not fit the others.

    Source: Kowal et al., TPAMI 2024.

    >>> import torch, sdfast
    >>> x = torch.linspace(-1, 1, 8)
    >>> factor = torch.tensor([0, 1, 1, 0, 0, 1, 1, 0])
    >>> metric = sdfast.BiasMetric(num_channels=2)
    >>> metric.update(torch.stack([x, x], 1), torch.stack([x, x.abs()], 1), factor)
    >>> metric.compute()
    BiasReport(2 channels: 1 joint, 0 dynamic, 0 static, 1 residual)
    """

    full_state_update = False
    is_differentiable = False

    moments: Tensor

    def __init__(
        self,
        num_channels: int,
        *,
        kind: str = "pearson",
        threshold: float = 0.5,
        channel_dim: int = 1,
        pool: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_reading(kind, threshold)
        self.num_channels, self.kind, self.threshold = num_channels, kind, threshold
        self.channel_dim, self.pool = channel_dim, pool
        self.add_state("moments", empty_moments(num_channels, len(FACTORS)), dist_reduce_fx=merge)

    def update(self, feats_a: Tensor, feats_b: Tensor, factor: Tensor) -> None:
        """Add a batch of pairs.

        Args:
            feats_a: features of the first clips, with the batch along dimension 0 and channels along `channel_dim`.
            feats_b: features of the second clips; like feats_a.
            factor: what each pair shares, (N,) int64: 0 dynamic, 1 static.
        """
        add_batch(self.moments, feats_a, feats_b, factor, self.channel_dim, self.pool)

    def compute(self) -> BiasReport:
        """Return the report over all pairs, of all processes."""
        return BiasReport(self.moments, self.kind, self.threshold)

    def plot(self, path: str | os.PathLike | None = None) -> "matplotlib.figure.Figure":
        """Draw the report; see `BiasReport.plot`."""
        return self.compute().plot(path)

    def _wrap_compute(self, compute: Callable) -> Callable:
        cached = super()._wrap_compute(lambda: _Opaque(compute()))

        @functools.wraps(compute)
        def report() -> BiasReport:
            return cached().report

        return report

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        super()._reduce_states(incoming_state)
        self._computed = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load as a module loads a buffer: where this metric is, and of its size only."""
        moments, own = state_dict.get(f"{prefix}moments", self.moments), self.moments
        if moments.shape != own.shape:
            *_, errors = args
            errors.append(f"size mismatch for {prefix}moments: expected {tuple(own.shape)}, got {tuple(moments.shape)}")
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.moments = self.moments.to(own.device)
        self._computed = None

    def _apply(self, fn: Callable, exclude_state: tuple[str, ...] = ()) -> "BiasMetric":
        """Follow the module to its device, but not to its dtype: halves cannot even count to 10,000."""

        def keep_float64(state: Tensor) -> Tensor:
            moved = fn(state)
            return moved if moved.dtype == state.dtype else state.to(moved.device)

        # The last forward's report stays where it is; torchmetrics would try to move it, and refuses frozen ones.
        report, self._forward_cache = self._forward_cache, None
        super()._apply(fn, (*exclude_state, "moments"))
        self._forward_cache = report
        self.moments = keep_float64(self.moments)
        self._defaults["moments"] = keep_float64(self._defaults["moments"])
        return self


class _Opaque:
    """A report that torchmetrics does not look into when it caches it: it refuses to copy frozen dataclasses."""

    def __init__(self, report: BiasReport) -> None:
        self.report = report
