"""Samples of pairs, kept for the estimators that sums over pairs are not enough for."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdfast.foundation import StrPath, check_integer
from sdfast.ops import (
    Features,
    Labels,
    as_labels,
    as_numbers,
    check_factor_values,
    check_features,
    check_update,
    over_arrays,
)
from sdfast.statistics.growing_rows import CHUNK, GrowingRows
from sdfast.statistics.sample_estimators import paired_samples, sample_information

if TYPE_CHECKING:
    from typing_extensions import Self

BLOCK = 64  # channels whose samples are put side by side at a time
LABELS = 3  # of a pair's sample: its factor, its source, and a digest of its values


class KeptSamples:
    """Keep the samples of both clips of feature pairs, a `PairState` for `sample_information`.

    The samples lie on the host whatever the device of the features is, because the kernels of the estimators are
    there: an update waits for a GPU. `num_bytes` says before how much they take.

    Args:
        num_channels: how many channels C the features have.
        num_factors: how many factors F the pairs are of. With 1, `update` needs no `factor`.
        dtype: what the samples are rounded to: torch.float32, or torch.float64 for what `sdfast.channel_bias` says of
            the same pairs to the last digits, at twice the memory.
        folder: where a nameless file keeps the samples instead of memory; it goes with the state or the process.

    Raises:
        ValueError: a size is not a positive integer, or dtype is another.
        OSError: the file cannot be made.

    Source: ranks and nearest neighbours need all samples at once (Kraskov et al., Physical Review E 69, 2004).

    >>> import torch
    >>> state = KeptSamples(num_channels=2, num_factors=1)
    >>> for batch in torch.arange(24.0).view(3, 4, 2):
    ...     state.update(batch, batch.exp())
    >>> state
    KeptSamples(num_channels=2, num_factors=1, count=[12])
    >>> state.information("copula")[1]
    tensor([[1., 1.]], dtype=torch.float64)
    """

    def __init__(
        self,
        num_channels: int,
        num_factors: int = 2,
        dtype: torch.dtype = torch.float32,
        folder: StrPath | None = None,
    ) -> None:
        for name, size in (("num_channels", num_channels), ("num_factors", num_factors)):
            check_integer(name, size, 1)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype: expected torch.float32 or torch.float64, got {dtype}")
        self.num_channels, self.num_factors, self._dtype, self._folder = num_channels, num_factors, dtype, folder
        self._device = torch.device("cpu")
        words = _words(num_channels, dtype)
        self._weights = torch.randint(2**62, (words,), generator=torch.Generator().manual_seed(0)) * 2 + 1
        self._clear()

    @staticmethod
    def num_bytes(pairs: int, num_channels: int, dtype: torch.dtype = torch.float32) -> int:
        """Return the bytes that the samples of so many pairs take: in float32 about 8 a channel and pair.

        To estimate from them takes up to 4 kB a pair more, whatever the number of channels.

        >>> KeptSamples.num_bytes(pairs=100_000, num_channels=768) // 10**6
        617
        """
        return GrowingRows.num_bytes(pairs, _words(num_channels, dtype) + LABELS)

    @property
    def count(self) -> Tensor:
        """How many samples each factor has, (F,) int64."""
        return torch.bincount(self._label(0), minlength=self.num_factors)

    @property
    def num_sources(self) -> int:
        """How many sources there are."""
        return len(self._label(1).unique())

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
        """Add a batch of pairs. The arguments are those of `PairState.update`.

        Raises:
            ValueError: the features have not `num_channels` channels, several factors have no labels, or a label or
                source is out of range. Nothing has been added then.
            TypeError: a dtype does not fit.
            OSError: the disk has no room for the file.
        """
        a, b = over_arrays(feats_a, feats_b)
        factor = None if factor is None else as_labels("factor", factor)
        source = None if source is None else as_numbers("source", source)
        check_features("feats_a", a, channel_dim)
        sums = a.new_empty(()).expand(self.num_factors, self.num_channels)  # what the pairs have to fit
        check_update(sums, a, b, factor, source, channel_dim, pool)
        pairs = len(a)
        factor = torch.zeros(pairs, dtype=torch.int64) if factor is None else factor.cpu()
        check_factor_values(factor, self.num_factors)
        first = self._unnumbered + 1
        source = -torch.arange(first, first + pairs) if source is None else source.cpu()
        with torch.no_grad():
            samples = torch.cat(paired_samples(a, b, channel_dim, pool), dim=1).to("cpu", self._dtype)
        bits = samples.view(torch.int64)
        labels = torch.stack([factor, source], dim=1).repeat_interleave(len(bits) // pairs, dim=0)
        self._append(bits, torch.cat([labels, (bits * self._weights).sum(1, keepdim=True)], dim=1))

    def samples(self, factor: int, first: int = 0, last: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return a factor's samples a and b of channels first to last, and their sources.

        They are sorted by a digest of their values: in the same order, whatever order they came in.

        Returns:
            Two (N, last - first) float64, and (N,) int64. A source below 0 is that of a pair that came without.
        """
        own = (self._label(0) == factor).nonzero()[:, 0]
        own = own[self._label(2)[own].argsort()]
        clips = (bits.view(self._dtype).unflatten(1, (2, -1)) for bits in self._bits.blocks())
        a, b = torch.cat([x[:, :, first:last] for x in clips])[own].double().unbind(1)
        return a, b, self._label(1)[own]

    def information(self, estimator: str, neighbors: int = 3) -> tuple[Tensor, Tensor]:
        """Return mutual information in nats and correlation, both (F, C) float64, as `sample_information` does.

        They do not depend on the order, the batches or the processes that the pairs came in. NaN for a factor without
        pairs.

        Raises:
            ValueError: there is no such estimator, or neighbors does not fit.
        """
        rows = []
        for factor in range(self.num_factors):
            blocks = []
            for first in range(0, self.num_channels, BLOCK):
                a, b, _ = self.samples(factor, first, first + BLOCK)
                blocks.append(torch.stack(sample_information(estimator, a, b, neighbors)))
            rows.append(torch.cat(blocks, dim=1))
        mi, corr = torch.stack(rows, dim=1).unbind()
        return mi, corr

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same size; those without a source stay apart from those here.

        Raises:
            ValueError: the other state has other channels, factors or dtype.
        """
        mine, theirs = ((x.num_channels, x.num_factors, x._dtype) for x in (self, other))
        if theirs != mine:
            raise ValueError(f"other: expected channels, factors and dtype {mine}, got {theirs}")
        shift = self._unnumbered
        for bits, labels in other._blocks():
            self._append(bits, _renumbered(labels, shift))

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes of a group; afterwards each holds all pairs, in the same order.

        Call it once, after the last update: what it merged would count twice. Without `torch.distributed` there is
        nothing to do.
        """
        distributed = torch.distributed
        if not (distributed.is_available() and distributed.is_initialized()):
            return
        own, words = list(self._blocks()), len(self._weights)
        size = torch.tensor(len(self._labels), device=self._device)
        sizes = [torch.empty_like(size) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(sizes, size, group=group)
        self._clear()
        for rank, number in enumerate(int(x) for x in sizes):
            mine, shift = rank == distributed.get_rank(group), self._unnumbered
            sender = rank if group is None else distributed.get_global_rank(group, rank)
            for first in range(0, number, CHUNK):
                block = torch.empty((min(CHUNK, number - first), words + LABELS), dtype=torch.int64)
                block = (torch.cat(own[first // CHUNK], dim=1) if mine else block).to(self._device)
                distributed.broadcast(block, sender, group=group)
                bits, labels = block.cpu().split([words, LABELS], dim=1)
                self._append(bits, _renumbered(labels, shift))

    def to(self, device: torch.device | str) -> "Self":
        """Return the state, whose samples stay on the host; `reduce` sends them by this device."""
        self._device = torch.device(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state, for a checkpoint. The bits of the samples are in int64."""
        return {"bits": torch.cat(self._bits.blocks()), "labels": torch.cat(self._labels.blocks()), "count": self.count}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size and dtype.

        Raises:
            KeyError: a part of it is missing.
            ValueError: a part has another shape.
        """
        bits, labels = state_dict["bits"], state_dict["labels"]
        rows = len(labels)
        shapes = {"bits": (rows, len(self._weights)), "labels": (rows, LABELS), "count": (self.num_factors,)}
        for name, shape in shapes.items():
            if state_dict[name].shape != shape:
                found = tuple(state_dict[name].shape)
                raise ValueError(f"state_dict: expected {name} of shape {shape}, got {found}")
        self._clear()
        self._append(bits, labels)

    def __repr__(self) -> str:
        sizes = f"num_channels={self.num_channels}, num_factors={self.num_factors}"
        return f"KeptSamples({sizes}, count={self.count.tolist()})"

    def _clear(self) -> None:
        self._bits = GrowingRows(len(self._weights), self._folder)
        self._labels = GrowingRows(LABELS)
        self._unnumbered = 0  # pairs without a source: each is one, and they are numbered from -1 down

    def _append(self, bits: Tensor, labels: Tensor) -> None:
        self._bits.append(bits)
        self._labels.append(labels)
        self._unnumbered = max([self._unnumbered, *(-labels[:, 1]).tolist()])

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._bits.blocks(), self._labels.blocks(), strict=True)

    def _label(self, column: int) -> Tensor:
        return torch.cat([block[:, column] for block in self._labels.blocks()])


def _words(num_channels: int, dtype: torch.dtype) -> int:
    """Return how many words of 64 bits the samples of both clips are."""
    return 2 * num_channels * dtype.itemsize // 8


def _renumbered(labels: Tensor, shift: int) -> Tensor:
    """Return labels with the pairs that have no source numbered past the first `shift` of them."""
    moved = labels.clone()
    moved[:, 1] -= shift * (labels[:, 1] < 0)
    return moved
