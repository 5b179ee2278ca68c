"""Grouped co-moments, and the samples beside them: for the mutual information that sums cannot tell."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdfast.foundation import StrPath
from sdfast.ops import Features, Labels
from sdfast.statistics.grouped import GROUPS, GroupedCoMoments
from sdfast.statistics.kept_samples import KeptSamples

if TYPE_CHECKING:
    from typing_extensions import Self

_KEPT = "kept."  # before the names of the samples' tensors in a checkpoint


class SampledCoMoments(GroupedCoMoments):
    """Accumulate co-moments in groups of sources, and keep the samples that they are of.

    Args:
        num_channels: how many channels C the features have.
        num_factors: how many factors F the pairs are of.
        groups: how many groups G there are.
        device: where the sums live; the samples stay on the host.
        folder: where a file keeps the samples instead of memory.

    Attributes:
        kept: the samples, a `KeptSamples`.

    Raises:
        ValueError: a size is not a positive integer.
        OSError: the file cannot be made.

    Source: `GroupedCoMoments` and `KeptSamples`.

    >>> import torch
    >>> state = SampledCoMoments(num_channels=2, num_factors=1)
    >>> x = torch.arange(12.0).view(6, 2)
    >>> state.update(x, x.exp())
    >>> state.kept.information("copula")[1], state.count
    (tensor([[1., 1.]], dtype=torch.float64), tensor([6]))
    """

    def __init__(
        self,
        num_channels: int,
        num_factors: int = 2,
        groups: int = GROUPS,
        device: torch.device | str | None = None,
        folder: StrPath | None = None,
    ) -> None:
        super().__init__(num_channels, num_factors, groups, device)
        self.kept = KeptSamples(num_channels, num_factors, folder=folder)

    def update(
        self,
        feats_a: Features,
        feats_b: Features,
        factor: Labels | None = None,
        source: Labels | None = None,
        *,
        channel_dim: int = 1,
        pool: bool = True,
    ) -> None:
        """Add a batch of pairs. The arguments, and what they raise, are those of `GroupedCoMoments.update`."""
        super().update(feats_a, feats_b, factor, source, channel_dim=channel_dim, pool=pool)
        self.kept.update(feats_a, feats_b, factor, source, channel_dim=channel_dim, pool=pool)

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same size, whose sources are numbered as these are."""
        super().merge(other)
        self.kept.merge(other.kept)

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes of a group, once, after the last update."""
        super().reduce(group)
        self.kept.reduce(group)

    def to(self, device: torch.device | str) -> "Self":
        """Move the sums to a device and return self; the samples stay on the host."""
        super().to(device)
        self.kept.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state, for a checkpoint."""
        return super().state_dict() | {_KEPT + name: x for name, x in self.kept.state_dict().items()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size.

        Raises:
            KeyError: a part of it is missing.
            ValueError: a part has another shape.
        """
        super().load_state_dict(state_dict)
        self.kept.load_state_dict({k.removeprefix(_KEPT): x for k, x in state_dict.items() if k.startswith(_KEPT)})
