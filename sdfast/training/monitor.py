"""The static bias of a model while it trains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from sdfast.dropout import StaticDropout
from sdfast.foundation import StrPath, check_integer
from sdfast.measurement import Forward, check_settings, measure
from sdfast.models import check_model, unwrapped
from sdfast.report import BiasReport
from sdfast.training.curve import BiasCurve
from sdfast.training.kept_pairs import KeptPairs
from sdfast.training.undisturbed import undisturbed

if TYPE_CHECKING:
    import matplotlib.figure


class BiasMonitor:
    """Measure a model every so many steps of its training, which goes on as if nobody had looked.

    Call `step()` after each step of the optimizer. A measurement is `sdfast.measure` in eval mode; afterwards training
    flags, gradients, buffers and the random states of torch, NumPy and Python are as before, so that a training ends
    with the same weights, bit for bit, with a monitor and without. Under `torch.distributed` all processes have to
    call it: they share the pairs, and all keep the same curve.

    Args:
        model: what `sdfast.measure` takes, also inside DistributedDataParallel, DataParallel or torch.compile. Names
            of layers are those of the module inside, and the measurement runs uncompiled.
        pairs: what `sdfast.measure` takes, but for iterators that can be read once only. The pairs of a dataset are
            loaded again for every measurement, videos decoded and restyled again, unless they are kept; those of a
            list are in memory.
        layers: names or glob patterns of the model's modules.
        every: steps from one measurement to the next.
        guide: give every new report to the StaticDropout that `sdfast.insert_static_dropout` has put after the
            layer, or that is the layer; those must be there already. This does change the training.
        keep: leave the pairs of a dataset in memory as the first measurement loads them; each process keeps its own.
        kind: as for `sdfast.measure`; so are threshold, batch_size, num_workers, channel_dim, batch_dim, forward and
            heads.

    Attributes:
        curve: a `BiasCurve` of all measurements.
        reports: those of the last measurement in this process, {layer: BiasReport}.
        steps: how many steps there have been.

    Raises:
        ValueError: an argument does not fit, a pattern matches nothing, pairs can be read once only, or there is no
            StaticDropout to guide.
        TypeError: an argument is of another type.

    >>> import torch, sdfast
    >>> model = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.ReLU())
    >>> clips = torch.rand(8, 2, 3, 4, 8, 8)
    >>> pairs = [(a, b, i % 2) for i, (a, b) in enumerate(clips)]
    >>> monitor = BiasMonitor(model, pairs, "1", every=2)
    >>> for _ in range(4):  # a training, but for the training
    ...     if monitor.step():
    ...         shares = monitor.scalars()["1/percent/static"]
    >>> monitor.curve.steps, monitor.curve.shares("1").shape
    ([2, 4], torch.Size([2, 3]))
    """

    def __init__(
        self,
        model: nn.Module,
        pairs: Any,
        layers: str | Sequence[str],
        *,
        every: int = 200,
        guide: bool = False,
        keep: bool = False,
        kind: str = "pearson",
        threshold: float = 0.5,
        batch_size: int = 8,
        num_workers: int = 0,
        channel_dim: int | Mapping[str, int] | None = None,
        batch_dim: int | Mapping[str, int] | None = None,
        forward: Forward | None = None,
        heads: int | Mapping[str, int] | None = None,
    ) -> None:
        check_model(model)
        check_integer("every", every, 1)
        check_integer("batch_size", batch_size, 1)
        check_integer("num_workers", num_workers, 0)
        if isinstance(pairs, Iterator):
            raise ValueError(
                f"pairs: expected a dataset, a list or a loader, to be read at every measurement, got a "
                f"{type(pairs).__name__}, which can be read once only"
            )
        if keep:
            pairs = KeptPairs(pairs, batch_size, num_workers)
            num_workers = 0  # which would have copies of what is kept
        self.model, self.pairs, self.layers, self.every = unwrapped(model), pairs, layers, int(every)
        matches, _ = check_settings(self.model, layers, kind, threshold, channel_dim)
        self._reading: dict[str, Any] = {"kind": kind, "threshold": threshold}
        self._running: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers, "forward": forward}
        self._running |= {"heads": heads, "channel_dim": channel_dim, "batch_dim": batch_dim}
        self._guided: dict[str, StaticDropout] = {}
        if guide:
            self._guided = {name: self._dropout_after(name) for group in matches.values() for name in group}
        self.steps = 0
        self.curve = BiasCurve()
        self.reports: dict[str, BiasReport] = {}
        self._scalars: dict[str, float] | None = {}

    def step(self) -> dict[str, BiasReport] | None:
        """Count a step; return the reports if it is time to measure, else None."""
        return self(self.steps + 1)

    def __call__(self, step: int) -> dict[str, BiasReport] | None:
        """Say how many steps there have been, for loops that count themselves; otherwise like `step()`.

        It measures where a multiple of `every` has been reached or passed since the last call, so that a number said
        twice is measured once.

        Raises:
            ValueError: step is no integer from 0 on.
        """
        check_integer("step", step, 0)
        due = step // self.every > self.steps // self.every
        self.steps = int(step)
        return self.measure() if due else None

    def measure(self) -> dict[str, BiasReport]:
        """Measure now, whatever step it is: before the first, say. What is raised is what `sdfast.measure` raises."""
        with undisturbed(self.model):
            if isinstance(self.pairs, KeptPairs):
                self.pairs.load()
            reports = measure(self.model, self.pairs, self.layers, progress=False, **self._reading, **self._running)
        self.reports = reports
        self.curve.add(self.steps, reports)
        self._scalars = None  # which nobody may ask for
        for name, layer in self._guided.items():
            if name not in reports:
                raise ValueError(f"guide: expected one report of {name!r}, got {', '.join(reports)}")
            layer.guide(reports[name])
        return reports

    def scalars(self, prefix: str = "") -> dict[str, float]:
        """Return scores, shares and classes of the last measurement as a flat dict for a logger; empty before one.

        Args:
            prefix: put before every key, `layer/percent/static` for example.
        """
        if self._scalars is None:
            self._scalars = {key: value for found in self.reports.values() for key, value in found.scalars().items()}
        return {prefix + key: value for key, value in self._scalars.items()}

    def plot(self, path: StrPath | None = None) -> "matplotlib.figure.Figure":
        """Draw the curve; see `BiasCurve.plot`."""
        return self.curve.plot(path)

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far, to be saved with the training; `torch.load` reads it without trusting the file."""
        return {
            "steps": self.steps,
            "settings": {**self._reading, "pairs": self._fingerprint()},
            "curve": self.curve.state_dict(),
            "scalars": self.scalars(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the curve of an earlier run.

        Raises:
            ValueError: it is one of another kind or threshold, or of pairs with another `fingerprint()`.
        """
        for key, mine in {**self._reading, "pairs": self._fingerprint()}.items():
            if (theirs := state["settings"][key]) != mine:
                raise ValueError(f"state: expected a curve of {key} {mine!r} like this monitor's, got {theirs!r}")
        self.steps = state["steps"]
        self.curve.load_state_dict(state["curve"])
        self._scalars = dict(state["scalars"])

    def _fingerprint(self) -> str | None:
        known = getattr(self.pairs, "fingerprint", None)
        return known() if callable(known) else None

    def _dropout_after(self, name: str) -> StaticDropout:
        module = self.model.get_submodule(name)
        found = module if isinstance(module, StaticDropout) else getattr(module, "static_dropout", None)
        if not isinstance(found, StaticDropout):
            raise ValueError(
                f"guide: expected a StaticDropout after {name!r}, got none; insert it before the monitor is made, "
                f"sdfast.insert_static_dropout(model, {name!r})"
            )
        return found
