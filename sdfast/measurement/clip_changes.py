"""How a layer's features change with a clip, and how much of them the changed clip foretells."""

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sdfast.ops import leave_one_out, pair_means
from sdfast.statistics import GroupedCoMoments, Spread, merge, sound_groups

if TYPE_CHECKING:
    from typing_extensions import Self

_DISTANCE, _CLIP_RIGHT, _CHANGED_RIGHT = range(3)


class ClipChanges:
    """Accumulate what pairs (clip, changed clip) say, a `PairState`; the factor of a pair is how it was changed.

    Args:
        num_channels: how many channels C the features have.
        device: where the state lives.
        labels: the class of each source, (sources,) int64, for features that are logits; or None.
    """

    def __init__(self, num_channels: int, device: torch.device | str | None = None, labels: Tensor | None = None):
        self._features = GroupedCoMoments(num_channels, device=device)
        # One row a pair: how far apart the two are, and whether either is of the class with the highest logit.
        self._rows = GroupedCoMoments(3, device=device)
        self._labels = labels
        self._digest = torch.tensor(0 if labels is None else _digest(labels))

    @property
    def num_channels(self) -> int:
        """How many channels the features have."""
        return self._features.num_channels

    @property
    def count(self) -> Tensor:
        """How many clips were changed in each way, (2,) int64."""
        return self._features.count

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
        """Add a batch: features of the clips and of the changed ones, how these were changed, and their sources."""
        self._features.update(feats_a, feats_b, factor, source, channel_dim=channel_dim, pool=pool)
        clip, changed = pair_means(feats_a, feats_b, channel_dim)
        apart = (clip - changed).norm(dim=1)
        columns = [torch.where(apart == 0, 0.0, apart / clip.norm(dim=1))]
        for feats in (clip, changed):
            right = torch.zeros_like(apart) if self._labels is None else _right(feats, self._labels, source)
            columns.append(right)
        rows = torch.stack(columns, dim=1)
        self._rows.update(rows, rows, factor, source)

    def change(self) -> Spread:
        """Return the mean over the clips of |clip - changed| / |clip|, of pooled features, for each way to change."""
        return self._mean(_DISTANCE)

    def accuracy(self) -> tuple[Spread, Spread]:
        """Return how often clips, and how often changed ones, are classified right, for each way to change."""
        return self._mean(_CLIP_RIGHT), self._mean(_CHANGED_RIGHT)

    def explained(self) -> Spread:
        """Return the part of the variance of the clips' features that those of the changed clips explain.

        It is the R^2 of a regression for each channel, over all channels by their variances. Of independent features
        about 1 / N of N clips looks explained by chance.
        """
        groups, whole, without = _left_out(self._features)
        return Spread(_explained(whole), _explained(without), groups[0, :, :, 0] > 0)

    def merge(self, other: "Self") -> None:
        """Add the pairs of another state of the same size."""
        self._features.merge(other._features)
        self._rows.merge(other._rows)

    def reduce(self, group: "torch.distributed.ProcessGroup | None" = None) -> None:
        """Merge the states of all processes, once, after the last update."""
        self._features.reduce(group)
        self._rows.reduce(group)

    def to(self, device: torch.device | str) -> "Self":
        """Move to a device and return self."""
        self._features.to(device)
        self._rows.to(device)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return a copy of the state, for a checkpoint."""
        parts = {"features": self._features, "rows": self._rows}
        tensors = {f"{part}.{key}": x for part, state in parts.items() for key, x in state.state_dict().items()}
        return tensors | {"labels": self._digest.clone()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Restore a state of the same size and labels. Raises KeyError or ValueError where it is of others."""
        if state_dict["labels"] != self._digest:
            raise ValueError("state_dict: expected the classes that these videos have, got others")
        for part, state in (("features.", self._features), ("rows.", self._rows)):
            state.load_state_dict({key[len(part) :]: x for key, x in state_dict.items() if key.startswith(part)})

    def _mean(self, column: int) -> Spread:
        groups, whole, without = _left_out(self._rows)
        return Spread(whole[1, :, column], without[1, :, :, column], groups[0, :, :, column] > 0)


def _right(logits: Tensor, labels: Tensor, source: Tensor | None) -> Tensor:
    """Return whether the highest logit of each clip is that of the class of its source, 1 or 0."""
    if source is None:
        raise ValueError("source: expected the number of each clip's source, which has the label, got None")
    return (logits.argmax(dim=1) == labels.to(logits.device)[source]).to(logits.dtype)


def _digest(labels: Tensor) -> int:
    """Return what tells labels apart, an integer of 64 bits."""
    content = labels.cpu().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big", signed=True)


def _left_out(state: GroupedCoMoments) -> tuple[Tensor, Tensor, Tensor]:
    """Return the co-moments of the K groups that have pairs, of all of them, and of all but each."""
    groups = sound_groups(state.moments.cpu())
    return groups, merge(groups.movedim(1, 0)), leave_one_out(groups)


def _explained(moments: Tensor) -> Tensor:
    """Return the part of the variance of a that b explains over all channels, (..., F), of (6, ..., F, C)."""
    count, _, _, m2_a, m2_b, c_ab = moments
    known = moments.isfinite().all(dim=0)
    explained = torch.where(known & (m2_b > 0), c_ab.square() / m2_b, 0.0).minimum(m2_a).nan_to_num()
    part = explained.sum(-1) / torch.where(known, m2_a, 0.0).sum(-1)
    return torch.where(count[..., 0] >= 2, part, torch.nan)
