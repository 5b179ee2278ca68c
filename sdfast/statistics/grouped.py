"""Co-moments kept apart by groups of sources, so that it can be told how sure what follows from them is."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdfast.foundation import check_integer
from sdfast.ops import (
    Features,
    Labels,
    as_labels,
    as_numbers,
    check_features,
    check_update,
    over_arrays,
    update_comoments,
)
from sdfast.statistics.state import add_batch, empty_moments, merge

if TYPE_CHECKING:
    from typing_extensions import Self

GROUPS = 64


class GroupedCoMoments:
    """Accumulate the co-moments of feature pairs in groups of whole sources.

    A source is the video that a pair was cut from; pairs of one source are not independent, so that all of them go
    into one group, `source % groups`. Merged over the groups these are the co-moments that `CoMoments` keeps.

    Args:
        num_channels: how many channels C the features have.
        num_factors: how many factors F the pairs are of. With 1, `update` needs no `factor`.
        groups: how many groups G there are. The state takes 48 G F C bytes.
        device: where the state lives, which is where the features are.

    Raises:
        ValueError: a size is not a positive integer.

    Source: the delete-a-group jackknife (Kott, Journal of Official Statistics 17, 2001) needs these and no more.

    >>> import torch
    >>> state = GroupedCoMoments(num_channels=2, num_factors=1, groups=4)
    >>> for number, batch in enumerate(torch.arange(24.0).view(3, 4, 2)):
    ...     state.update(batch, 2 * batch, source=torch.full((4,), number))
    >>> state
    GroupedCoMoments(num_channels=2, num_factors=1, groups=4, count=[12], num_sources=3)
    """

    def __init__(
        self,
        num_channels: int,
        num_factors: int = 2,
        groups: int = GROUPS,
        device: torch.device | str | None = None,
    ) -> None:
        for name, size in (("groups", groups), ("num_factors", num_factors)):
            check_integer(name, size, 1)
        rows = empty_moments(num_channels, groups * num_factors, device)
        self.moments = rows.view(6, groups, num_factors, num_channels)
        self.numbered = torch.zeros(groups, dtype=torch.int64, device=device)  # sources that have a number, by group
        self.unnumbered: int | Tensor = 0  # pairs that came without: each is a source

    @property
    def num_channels(self) -> int:
        """How many channels the features have."""
        return self.moments.shape[3]

    @property
    def total(self) -> Tensor:
        """The co-moments of all groups together, (6, F, C)."""
        return merge(self.moments.movedim(1, 0))

    @property
    def count(self) -> Tensor:
        """How many samples each factor has, (F,) int64."""
        return self.moments[0, :, :, 0].sum(0).long()

    @property
    def num_sources(self) -> int:
        """How many sources there are; exact where they are numbered without gaps, else as if the gaps were filled."""
        return int(self.numbered.sum()) + int(self.unnumbered)

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
        """Add a batch of pairs. The other arguments, and what they raise, are those of `sdfast.channel_bias`.

        Args:
            feats_a: features of the first clips.
            feats_b: features of the second clips.
            factor: which factor each pair shares, (N,) integers or bool.
            source: the number of the source of each pair, (N,) integers from 0 on, or None where every pair is a
                source of its own; these are numbered as they come. Negative numbers are an error on the CPU; on a GPU,
                where looking for them would wait for it, they are not looked for.
            channel_dim: the dimension of the channels.
            pool: average over positions first, so that a pair is one sample.

        Raises:
            ValueError: the features have not `num_channels` channels, several factors have no labels, or a source is
                negative.
            TypeError: sources are not integers.
        """
        a, b = over_arrays(feats_a, feats_b)
        factor = None if factor is None else as_labels("factor", factor)
        check_features("feats_a", a, channel_dim)
        pairs, groups = a.shape[0], len(self.numbered)
        if source is None:
            # Where the count is a tensor, as a metric keeps it, its value is not waited for.
            numbers = torch.arange(pairs, device=a.device) + self.unnumbered
        else:
            numbers = as_numbers("source", source)
        add_to_groups(self.moments, a, b, factor, numbers, channel_dim, pool)
        if source is None:
            self.unnumbered += pairs
        else:
            self.numbered.scatter_reduce_(0, numbers % groups, numbers // groups + 1, "amax")

    def sums(self) -> "GroupedCoMoments":
        """Return a copy of the sums, without what a subclass keeps beside them.

        >>> GroupedCoMoments(num_channels=2, groups=3).sums()
        GroupedCoMoments(num_channels=2, num_factors=2, groups=3, count=[0, 0], num_sources=0)
        """
        sums = object.__new__(GroupedCoMoments)
        sums.moments, sums.numbered, sums.unnumbered = self.moments.clone(), self.numbered.clone(), self.unnumbered
        return sums

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same size, whose sources are numbered as these are.

        Raises:
            ValueError: the other state has other channels, factors or groups.
        """
        _check_shape("other", other.moments, self.moments)
        device = self.moments.device
        self.moments = merge(torch.stack([self.moments, other.moments.to(device)]))
        self.numbered = torch.maximum(self.numbered, other.numbered.to(device))
        self.unnumbered += other.unnumbered

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes of a group; afterwards each holds the same, bit for bit.

        Call it once, after the last update: what it merged would count twice. Without `torch.distributed`
        there is nothing to do.
        """
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        sources = torch.cat([self.numbered, self.numbered.new_tensor([self.unnumbered])])
        gathered = []
        for mine in (self.moments.contiguous(), sources):
            gathered.append([torch.empty_like(mine) for _ in range(distributed.get_world_size(group))])
            distributed.all_gather(gathered[-1], mine, group=group)
        moments, sources = map(torch.stack, gathered)
        self.moments, self.numbered = merge(moments), sources[:, :-1].amax(0)
        self.unnumbered = int(sources[:, -1].sum())

    def to(self, device: torch.device | str) -> "Self":
        """Move to a device and return self."""
        self.moments, self.numbered = self.moments.to(device), self.numbered.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state, for a checkpoint: of the groups that have pairs, and which these are."""
        groups = self.moments[0, :, :, 0].any(1).nonzero().flatten()
        return {
            "moments": self.moments[:, groups],
            "groups": groups,
            "numbered": self.numbered.clone(),
            "unnumbered": torch.tensor(self.unnumbered),
        }

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size.

        Raises:
            KeyError: a part of it is missing.
            ValueError: the moments have another shape.
        """
        moments, groups, numbered, unnumbered = (
            state_dict[key] for key in ("moments", "groups", "numbered", "unnumbered")
        )
        if numbered.shape != self.numbered.shape:
            raise ValueError(f"state_dict: expected {len(self.numbered)} groups, got {len(numbered)}")
        _check_shape("state_dict", moments, self.moments[:, : len(groups)])
        self.moments.zero_()
        self.moments[:, groups] = moments.detach().to(self.moments.device)
        self.numbered.copy_(numbered)
        self.unnumbered = int(unnumbered)

    def __repr__(self) -> str:
        _, groups, num_factors, num_channels = self.moments.shape
        return (
            f"GroupedCoMoments(num_channels={num_channels}, num_factors={num_factors}, groups={groups}, "
            f"count={self.count.tolist()}, num_sources={self.num_sources})"
        )


def add_to_groups(
    moments: Tensor,
    feats_a: Tensor,
    feats_b: Tensor,
    factor: Tensor | None,
    source: Tensor,
    channel_dim: int = 1,
    pool: bool = True,
) -> None:
    """Add pairs to grouped co-moments (6, G, F, C) in place; `source` is (N,) int64. Waits for no GPU.

    Raises:
        ValueError: the features, labels or devices do not fit. Nothing has been added then.
        TypeError: a dtype does not fit.
    """
    args = (moments, feats_a, feats_b, factor, source, channel_dim, pool)
    if update_comoments(*args) is not None:
        return
    check_update(*args)
    _, groups, num_factors, _ = moments.shape
    rows = source % groups * num_factors
    if factor is not None and factor.is_cpu:
        rows = rows + factor
    elif factor is not None:  # pairs of no factor have no part in anything: kernels leave out labels they do not know
        rows = torch.where((factor >= 0) & (factor < num_factors), rows + factor, -1)
    flat = moments.view(6, groups * num_factors, -1)
    if not rows.is_cpu:
        add_batch(flat, feats_a, feats_b, rows, channel_dim, pool)
        return
    # Only the rows that occur are touched: a batch is of few sources, and merging all would cost many updates.
    touched, rows = rows.unique(return_inverse=True)
    part = flat[:, touched]
    add_batch(part, feats_a, feats_b, rows, channel_dim, pool)
    flat[:, touched] = part


def _check_shape(name: str, moments: Tensor, own: Tensor) -> None:
    if moments.shape != own.shape:
        raise ValueError(f"{name}: expected moments of shape {tuple(own.shape)}, got {tuple(moments.shape)}")
