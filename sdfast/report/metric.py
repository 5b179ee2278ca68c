"""Static and dynamic bias as a torchmetrics metric."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchmetrics import Metric

from sdfast.foundation import StrPath
from sdfast.ops import Features, Labels
from sdfast.report.bias_report import BiasReport
from sdfast.report.reading import check_reading
from sdfast.statistics import FACTORS, GROUPS, GroupedCoMoments, merge

if TYPE_CHECKING:
    import matplotlib.figure
    from typing_extensions import Self


class BiasMetric(Metric):
    """Accumulate feature pairs of one layer; `compute` returns a `BiasReport`.

    A metric like any other of torchmetrics: `forward` returns the report of the batch, states are merged over
    processes, and it works in a `MetricCollection`. The state is O(groups x channels), whatever the number of
    pairs, and stays float64 when the model it is part of changes its dtype.

    Args:
        num_channels: how many channels C the features have.
        groups: how many groups the sources of pairs are kept apart in, for intervals. The state takes 96 bytes a
            group and channel.
        kind: "pearson", or "intraclass" as the authors' code computes it.
        threshold: a channel encodes a factor when its correlation exceeds this.
        channel_dim: the dimension of the channels in the features.
        pool: average over positions first, so that a pair is one sample.
        value: what `compute` and `forward` return instead of the report, for what takes numbers only: `self.log` of
            Lightning, `MetricTracker`, `BootStrapper`. A key of `BiasReport.scalars`, such as "percent/static".
        **kwargs: those of `torchmetrics.Metric`.

    Raises:
        ValueError: an argument is out of range, or one in `update` does not fit the others.

    Source: Kowal et al., TPAMI 2024.

    >>> import torch, sdfast
    >>> x = torch.linspace(-1, 1, 8)
    >>> factor, source = torch.tensor([0, 1, 1, 0, 0, 1, 1, 0]), torch.arange(8) // 2
    >>> metric = sdfast.BiasMetric(num_channels=2)
    >>> metric.update(torch.stack([x, x], 1), torch.stack([x, x.abs()], 1), factor, source)
    >>> metric.compute()
    BiasReport(2 channels: 1 joint, 0 dynamic, 0 static, 0 residual, 1 undetermined)
    """

    full_state_update = False
    is_differentiable = False

    moments: Tensor
    numbered: Tensor
    unnumbered: Tensor

    def __init__(
        self,
        num_channels: int,
        groups: int = GROUPS,
        *,
        kind: str = "pearson",
        threshold: float = 0.5,
        channel_dim: int = 1,
        pool: bool = True,
        value: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_reading(kind, threshold)
        self.value = value
        self.num_channels, self.kind, self.threshold = num_channels, kind, threshold
        self.channel_dim, self.pool = channel_dim, pool
        state = GroupedCoMoments(num_channels, len(FACTORS), groups)
        self.add_state("moments", state.moments, dist_reduce_fx=merge)
        self.add_state("numbered", state.numbered, dist_reduce_fx="max")
        self.add_state("unnumbered", torch.tensor(state.unnumbered), dist_reduce_fx="sum")
        if value is not None and value not in (known := BiasReport(state.moments).scalars()):
            raise ValueError(f"value: expected None or one of {', '.join(known)}, got {value!r}")

    def update(
        self,
        feats_a: Features,
        feats_b: Features,
        factor: Labels,
        source: Labels | None = None,
    ) -> None:
        """Add a batch of pairs.

        Args:
            feats_a: features of the first clips, with the batch along dimension 0 and channels along `channel_dim`;
                tensors, or NumPy arrays.
            feats_b: features of the second clips; like feats_a.
            factor: what each pair shares, (N,) integers or bool: 0 dynamic, 1 static.
            source: the number of the video, or other source, that each pair was cut from, (N,) integers from 0 on.
                Default: every pair is a source of its own.
        """
        state = self._state
        state.update(feats_a, feats_b, factor, source, channel_dim=self.channel_dim, pool=self.pool)
        self.moments, self.numbered = state.moments, state.numbered
        self.unnumbered = torch.as_tensor(state.unnumbered)

    def compute(self) -> BiasReport | Tensor:
        """Return the report over all pairs, of all processes, or the one number of it that `value` names."""
        report = BiasReport(self.moments, self.kind, self.threshold, sources=self._state.num_sources)
        if self.value is None:
            return report
        return torch.tensor(report.scalars()[self.value], dtype=torch.float64, device=self.moments.device)

    @property
    def _state(self) -> GroupedCoMoments:
        """The state of this metric as the accumulator that knows what to do with it; both share their tensors."""
        state = object.__new__(GroupedCoMoments)
        state.moments, state.numbered, state.unnumbered = self.moments, self.numbered, self.unnumbered
        return state

    def plot(self, path: StrPath | None = None) -> "matplotlib.figure.Figure":
        """Draw the report; see `BiasReport.plot`.

        Raises:
            ValueError: there is none, as `compute` returns a number.
        """
        report = self.compute()
        if isinstance(report, Tensor):
            raise ValueError(f"value: expected None to plot the report, got {self.value!r}")
        return report.plot(path)

    def _forward_reduce_state_update(self, *args: Any, **kwargs: Any) -> Any:
        # Twice a batch is less than merging its groups into all there are, and pairs without a source are counted on.
        return self._forward_full_state_update(*args, **kwargs)

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        cached = super()._wrap_compute(lambda: _Opaque(compute()))

        @functools.wraps(compute)
        def report() -> BiasReport | Tensor:
            opaque: _Opaque = cached()
            return opaque.report

        return report

    def _reduce_states(self, incoming_state: dict[str, Any]) -> None:
        super()._reduce_states(incoming_state)
        self._computed = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load as a module loads a buffer: where this metric is, and of its size only."""
        own = {name: getattr(self, name) for name in self._defaults}
        given = {name: state_dict.get(prefix + name, mine).shape for name, mine in own.items()}
        *_, errors = args
        wrong = [
            f"size mismatch for {prefix}{name}: expected {tuple(mine.shape)}, got {tuple(given[name])}"
            for name, mine in own.items()
            if given[name] != mine.shape
        ]
        errors.extend(wrong)
        if wrong:
            return
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name, mine in own.items():
            setattr(self, name, getattr(self, name).to(mine.device))
        self._computed = None

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> "Self":
        """Follow the module to its device, but not to its dtype: halves cannot even count to 10,000."""

        def keep_dtype(state: Tensor) -> Tensor:
            moved = fn(state)
            return moved if moved.dtype == state.dtype else state.to(moved.device)

        # The last forward's report stays where it is; torchmetrics would try to move it, and refuses frozen ones.
        report, self._forward_cache = self._forward_cache, None
        super()._apply(fn, (*exclude_state, *self._defaults))
        self._forward_cache = report
        for name, default in self._defaults.items():
            setattr(self, name, keep_dtype(getattr(self, name)))
            if isinstance(default, Tensor):  # torchmetrics has lists, too
                self._defaults[name] = keep_dtype(default)
        return self


class _Opaque:
    """A report that torchmetrics does not look into when it caches it: it refuses to copy frozen dataclasses."""

    def __init__(self, report: BiasReport | Tensor) -> None:
        self.report = report
