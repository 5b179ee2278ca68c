"""Pairs that are loaded once and stay in memory, to be measured again and again."""

import copy
from contextlib import suppress
from typing import Any

import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset, IterableDataset


class KeptPairs(Dataset[Any]):
    """The pairs of a dataset, each kept from when it was first asked for.

    Args:
        pairs: a dataset with a length, whose items are the same every time.
        batch_size: pairs a batch, as they are dealt out to processes.
        num_workers: processes that load them, once.

    Raises:
        TypeError: pairs are no such dataset.

    >>> pairs = KeptPairs([("clip", "restyled", 0)], batch_size=8)
    >>> pairs.load()
    >>> pairs[0]
    ('clip', 'restyled', 0)
    """

    always_dealt_alike = True  # or each process would come to load all of them

    def __init__(self, pairs: Any, batch_size: int, num_workers: int = 0) -> None:
        if isinstance(pairs, IterableDataset) or not (hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__")):
            raise TypeError(f"pairs: expected a dataset with a length to keep=True, got {type(pairs).__name__}")
        self.pairs, self.batch_size, self.num_workers = pairs, batch_size, num_workers
        self._kept: dict[int, Any] = {}
        if callable(getattr(pairs, "fingerprint", None)):
            self.fingerprint = pairs.fingerprint

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        if index not in self._kept:
            self._kept[index] = self.pairs[index]
        return self._kept[index]

    def load(self) -> None:
        """Let the workers load what the measurement of this process will ask for; the second call does nothing."""
        joined = dist.is_available() and dist.is_initialized()
        rank, world = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
        own = [i for i in range(len(self)) if i // self.batch_size % world == rank and i not in self._kept]
        if not own or not self.num_workers:
            return
        loader = DataLoader(self.pairs, batch_size=None, sampler=own, num_workers=self.num_workers, collate_fn=_as_is)
        # What fails fails again in the measurement, which says it well, and to the other processes.
        with suppress(Exception):
            for index, pair in zip(own, loader, strict=True):
                self._kept[index] = copy.deepcopy(pair)  # out of shared memory, each tensor of which is an open file


def _as_is(pair: Any) -> Any:
    return pair
