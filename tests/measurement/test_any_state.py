"""A statistic of another kind goes the way of the co-moments: captured, saved, resumed, reduced over processes."""

import itertools

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from sdfast.measurement import CheckpointError
from sdfast.measurement.accumulation import accumulate
from sdfast.measurement.batches import collate
from sdfast.measurement.job import check_settings
from sdfast.measurement.processes import Processes
from sdfast.statistics import CoMoments, PairState
from tests.support.processes import on_two


class Kept:
    """Counts the pairs of each factor, sums their products, and keeps the source and the difference of each, scaled.

    So its tensors are (F,) int64, (F, C) float64, and two that grow: (pairs,) int64 and (pairs, C) float64.
    """

    def __init__(self, num_channels, device, scale=1):
        self.num_channels, self.device = num_channels, torch.device(device)
        self.scale = torch.tensor([scale] * scale)  # settings show in a shape
        self.count = torch.zeros(2, dtype=torch.int64)
        self.sums = torch.zeros(2, num_channels, dtype=torch.float64)
        self.sources = torch.zeros(0, dtype=torch.int64)
        self.differences = torch.zeros(0, num_channels, dtype=torch.float64)

    def update(self, feats_a, feats_b, factor=None, source=None, *, channel_dim=1, pool=True):
        assert channel_dim in (1, -1) and feats_a.ndim == 2 and pool
        assert factor.device == source.device == feats_a.device == self.device
        assert factor.dtype == source.dtype == torch.int64
        self.sources = torch.cat([self.sources, source])
        self.count += torch.bincount(factor, minlength=2)
        self.sums.index_add_(0, factor, (feats_a * feats_b).double())
        self.differences = torch.cat([self.differences, self.scale[0] * (feats_a - feats_b).double()])

    def merge(self, other):
        self.count, self.sums = self.count + other.count, self.sums + other.sums
        self.sources = torch.cat([self.sources, other.sources])
        self.differences = torch.cat([self.differences, other.differences])

    def reduce(self, group=None):
        states = [None] * dist.get_world_size(group)
        dist.all_gather_object(states, self.state_dict(), group=group)
        self.load_state_dict(states[0])
        for state in states[1:]:
            other = Kept(self.num_channels, self.device)
            other.load_state_dict(state)
            self.merge(other)

    def to(self, device):
        self.device = torch.device(device)
        return self

    def state_dict(self):
        names = ("scale", "count", "sums", "sources", "differences")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state_dict):
        self.__dict__.update(state_dict)


class Pairs(torch.utils.data.Dataset):
    """22 random pairs; fails at one of them."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at

    def __len__(self):
        return 22

    def __getitem__(self, index):
        if index == self.fails_at:
            raise InterruptedError
        clips = torch.randn(2, 4, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        return clips[0], clips[0] + clips[1], index % 2


def kept(rank=0, pairs=None, make_state=Kept, **settings):
    """Return all that the states of two layers hold, as lists that travel between processes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5, dtype=torch.float64), nn.ReLU())
    with Processes() as processes:
        layers = check_settings(model, ["*"])
        settings = {"batch_size": 4, "progress": False, **settings}
        states = accumulate(model, Pairs() if pairs is None else pairs, *layers, make_state, processes, **settings)
    return {layer: {name: x.tolist() for name, x in state.state_dict().items()} for layer, state in states.items()}


def by_hand():
    """The same of the first layer, in NumPy."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 5, dtype=torch.float64)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    clips_a, clips_b, factor = (np.array([np.asarray(Pairs()[j][i]) for j in range(22)]) for i in range(3))
    a, b = clips_a @ weight.T + bias, clips_b @ weight.T + bias
    return {
        "scale": [1],
        "count": [11, 11],
        "sums": [(a * b)[factor == label].sum(0) for label in (0, 1)],
        "sources": range(22),
        "differences": a - b,
    }


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-12, atol=1e-12, err_msg=name)


def test_states_keep_the_protocol():
    for state in (CoMoments(3), Kept(3, "cpu")):
        assert isinstance(state, PairState) and state.num_channels == 3


def test_co_moments_move():
    state = CoMoments(3)
    assert state.to("meta") is state and state.moments.device.type == "meta" and state.num_channels == 3


def test_another_state_is_captured():
    found = kept()
    assert list(found) == ["0", "1"]
    assert_close(found["0"], by_hand())


def test_another_state_is_saved_and_resumed_bit_for_bit(tmp_path):
    with pytest.raises(InterruptedError):
        kept(pairs=Pairs(fails_at=13), resume=tmp_path)
    for _ in range(2):  # the second time there is nothing left to measure
        assert kept(resume=tmp_path) == kept()


def test_another_state_is_reduced_over_processes(tmp_path):
    alone = kept()
    first, second = on_two(kept, resume=tmp_path)
    assert first == second
    for layer, wanted in alone.items():
        assert_close(first[layer], wanted)  # in the order of the batches, whoever measured them
    assert on_two(kept, resume=tmp_path) == [first, second]


class Sourced(Pairs):
    """The same pairs, from videos with numbers."""

    def __getitem__(self, index):
        return (*super().__getitem__(index), np.int32(100 - index // 2))


def batches(pairs, at=(0, 5, 6, 13, 22)):
    """Return whole batches of several sizes."""
    for start, stop in itertools.pairwise(at):
        yield collate([pairs[i] for i in range(start, stop)])


def sources(**settings):
    found = kept(**settings)
    assert found["0"]["sources"] == found["1"]["sources"]
    return found["0"]["sources"]


def test_the_numbers_of_sources_reach_every_state(tmp_path):
    numbers = [100 - i // 2 for i in range(22)]
    assert sources(pairs=Sourced()) == sources(pairs=Sourced(), num_workers=1, batch_size=5) == numbers
    assert sources(pairs=batches(Sourced())) == numbers
    with pytest.raises(InterruptedError):
        kept(pairs=Sourced(fails_at=9), resume=tmp_path)
    assert sources(pairs=Sourced(), resume=tmp_path) == numbers


def of_an_iterable(rank, pairs, **settings):
    return kept(rank, batches(pairs), **settings)


@pytest.mark.parametrize(("pairs", "number"), [(Pairs(), lambda i: i), (Sourced(), lambda i: 100 - i // 2)])
def test_sources_of_an_iterable_are_counted_over_all_processes(tmp_path, pairs, number):
    first, second = on_two(of_an_iterable, pairs, resume=tmp_path)
    assert first == second
    # The first process has the batches from 0 to 5 and from 6 to 13.
    assert first["0"]["sources"] == [number(i) for i in (*range(5), *range(6, 13), 5, *range(13, 22))]
    assert on_two(of_an_iterable, pairs, resume=tmp_path) == [first, second]


@pytest.mark.parametrize(
    ("make_state", "what"),
    [
        (
            lambda num_channels, device: CoMoments(num_channels, device=device),
            'state.class was "Kept", now "CoMoments"',
        ),
        (lambda num_channels, device: Kept(num_channels, device, 2), r"state.scale was \[1\], now \[2\]"),
    ],
)
def test_the_state_file_of_another_statistic_is_refused(tmp_path, make_state, what):
    kept(resume=tmp_path)
    with pytest.raises(CheckpointError, match=what):
        kept(make_state=make_state, resume=tmp_path)


def other_states(rank):
    return kept(make_state=Kept if rank == 0 else lambda channels, device: Kept(channels, device, 2))


def test_other_statistics_elsewhere_are_an_error():
    _, second = on_two(other_states)
    assert isinstance(second, ValueError) and "got other ['state']" in str(second)
