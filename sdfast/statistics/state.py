"""Co-moments of any number of pairs in O(channels) memory, the one formula that merges them, and what a state is."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from sdfast.foundation import check_integer
from sdfast.ops import Features, Labels, as_labels, check_update, comoments, over_arrays, update_comoments

if TYPE_CHECKING:
    from typing_extensions import Self


def merge(stacked: Tensor) -> Tensor:
    """Merge the co-moments of K disjoint sets of pairs; batches, processes and checkpoints all come here.

    Args:
        stacked: (K, 6, F, C) float64, rows count, mean_a, mean_b, m2_a, m2_b, c_ab. An empty set is all zeros.

    Returns:
        (6, F, C) float64, the same to 1e-12 in whatever order the sets come. A channel that is NaN in one set
        is NaN, and no other channel is.

    Source: Chan, Golub and LeVeque, The American Statistician 37 (1983), for K sets at once.

    >>> import torch
    >>> one = torch.tensor([2.0, 1.0, 0.0, 2.0, 2.0, 2.0], dtype=torch.float64).view(6, 1, 1)
    >>> two = torch.tensor([2.0, 5.0, 0.0, 2.0, 2.0, 2.0], dtype=torch.float64).view(6, 1, 1)
    >>> merge(torch.stack([one, two])).flatten()
    tensor([ 4.,  3.,  0., 20.,  4.,  4.], dtype=torch.float64)
    """
    count = stacked[:, 0]  # (K, F, C)
    means, squares = stacked[:, 1:3], stacked[:, 3:]
    total = count.sum(0)
    weight = (count / total.clamp(min=1)).unsqueeze(1)
    # Means relative to the largest of them: what they all have in common would cost digits. It is one of them, so
    # that equal means differ by exactly nothing. (argmax and max with indices wake all threads even for a few values.)
    origin = torch.where(count.unsqueeze(1) > 0, means, -torch.inf).amax(0)
    origin = torch.where(total > 0, origin, 0.0)
    shift = means - origin
    mean = (weight * shift).sum(0)
    between = shift - mean  # (K, 2, F, C)
    products = torch.cat([between * between, between[:, :1] * between[:, 1:]], dim=1)
    merged = squares.sum(0) + (count.unsqueeze(1) * products).sum(0)
    return torch.cat([total.unsqueeze(0), origin + mean, merged])


@runtime_checkable
class PairState(Protocol):
    """What a statistic keeps of the pairs it has seen; a measurement has one for each layer, and knows no more of it.

    Attributes:
        num_channels: how many channels the features have.
        count: how many samples each factor has, (F,) int64.
    """

    @property
    def num_channels(self) -> int: ...

    @property
    def count(self) -> Tensor: ...

    def update(
        self,
        feats_a: Tensor,
        feats_b: Tensor,
        factor: Tensor | None = None,
        source: Tensor | None = None,
        *,
        channel_dim: int = 1,
        pool: bool = True,
    ) -> None:
        """Add a batch of pairs. Most arguments are those of `sdfast.channel_bias`.

        `source` is the number of the source that each pair was cut from, (N,) integers from 0 on; without it every pair
        is a source of its own.
        """

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same class and size."""

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes, once, after the last update; afterwards each holds the same."""

    def to(self, device: torch.device | str) -> "Self":
        """Move the state, at no cost where it is there already, and return it."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state: tensors of any shape, float64 or int64."""

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size; it stays where it is."""


class CoMoments:
    """Accumulate the co-moments of feature pairs, a `PairState`.

    Args:
        num_channels: how many channels C the features have.
        num_factors: how many factors F the pairs are of. With 1, `update` needs no `factor`.
        device: where the state lives, which is where the features are.

    Source: everything sdfast reports derives from these sums; its correlations are the first step.

    >>> import torch
    >>> state = CoMoments(num_channels=2, num_factors=1)
    >>> for batch in torch.arange(24.0).view(3, 4, 2):
    ...     state.update(batch, 2 * batch)
    >>> state
    CoMoments(num_channels=2, num_factors=1, count=[12])
    """

    def __init__(self, num_channels: int, num_factors: int = 2, device: torch.device | str | None = None) -> None:
        self.moments = empty_moments(num_channels, num_factors, device)

    @property
    def num_channels(self) -> int:
        """How many channels the features have."""
        return self.moments.shape[2]

    @property
    def count(self) -> Tensor:
        """How many samples each factor has, (F,) int64."""
        return self.moments[0, :, 0].long()

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
        """Add a batch of pairs. The arguments, and what they raise, are those of `sdfast.channel_bias`.

        `source` is not looked at: sums over all pairs are the same whatever they were cut from.

        Raises:
            ValueError: the features have not `num_channels` channels, or several factors have no labels.
        """
        a, b = over_arrays(feats_a, feats_b)
        factor = None if factor is None else as_labels("factor", factor)
        add_batch(self.moments, a, b, factor, channel_dim, pool)

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same size.

        Raises:
            ValueError: the other state has other channels or factors.
        """
        if other.moments.shape != self.moments.shape:
            raise ValueError(
                f"other: expected moments of shape {tuple(self.moments.shape)}, got {tuple(other.moments.shape)}"
            )
        self.moments = merge(torch.stack([self.moments, other.moments.to(self.moments.device)]))

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes of a group; afterwards each holds the same, bit for bit.

        Call it once, after the last update: what it merged would count twice. Without `torch.distributed`
        there is nothing to do.
        """
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        states = [torch.empty_like(self.moments) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(states, self.moments.contiguous(), group=group)
        self.moments = merge(torch.stack(states))

    def to(self, device: torch.device | str) -> "Self":
        """Move the state and return it."""
        self.moments = self.moments.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state, for a checkpoint."""
        return {"moments": self.moments.clone()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size.

        Raises:
            KeyError: there are no moments in it.
            ValueError: they have another shape.
        """
        moments = state_dict["moments"]
        if moments.shape != self.moments.shape:
            raise ValueError(
                f"state_dict: expected moments of shape {tuple(self.moments.shape)}, got {tuple(moments.shape)}"
            )
        self.moments = moments.detach().to(self.moments.device, torch.float64, copy=True)

    def __repr__(self) -> str:
        _, num_factors, num_channels = self.moments.shape
        return f"CoMoments(num_channels={num_channels}, num_factors={num_factors}, count={self.count.tolist()})"


def empty_moments(num_channels: int, num_factors: int, device: torch.device | str | None = None) -> Tensor:
    """Return the (6, F, C) co-moments of no pair at all."""
    for name, size in (("num_channels", num_channels), ("num_factors", num_factors)):
        check_integer(name, size, 1)
    return torch.zeros((6, num_factors, num_channels), dtype=torch.float64, device=device)


def add_batch(
    moments: Tensor, feats_a: Tensor, feats_b: Tensor, factor: Tensor | None, channel_dim: int, pool: bool
) -> None:
    """Add a batch of pairs to co-moments (6, F, C), in place. Never waits for the device."""
    if update_comoments(moments, feats_a, feats_b, factor, None, channel_dim, pool) is not None:
        return
    check_update(moments, feats_a, feats_b, factor, None, channel_dim, pool, values=False)
    with torch.no_grad():
        batch = comoments(feats_a, feats_b, factor, moments.shape[1], channel_dim, pool)
        moments.copy_(merge(torch.stack([moments, batch])))
