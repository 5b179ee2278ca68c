"""What changed clips say of a layer, by the formulas in NumPy; in any batches, merged, saved and over processes."""

import numpy as np
import pytest
import torch

from sdfast.measurement.clip_changes import ClipChanges
from sdfast.pairs import SHUFFLED, STILL
from sdfast.statistics import PairState
from tests import truth
from tests.support.processes import on_two

EXACT = {"rtol": 1e-9, "atol": 1e-12}
CLASSES = 3


def clips(sources=12, each=6, positions=4, seed=0):
    """Features (N, C, positions) of clips and of changed ones, how these were changed, sources, and their labels."""
    rng = np.random.default_rng(seed)
    number = sources * each
    source, factor = np.repeat(np.arange(sources), each), np.arange(number) % 2
    base = rng.normal(size=(sources, CLASSES, 1))[source]
    a = base + rng.normal(size=(number, CLASSES, positions))
    b = base + 0.7 * (a - base) + (0.5 + factor[:, None, None]) * rng.normal(size=a.shape)
    return a, b, factor, source, rng.integers(0, CLASSES, sources)


def filled(arrays, batches=1, state=None):
    a, b, factor, source, labels = map(torch.from_numpy, arrays)
    state = state or ClipChanges(CLASSES, labels=labels)
    for batch in torch.arange(len(a)).chunk(batches):
        state.update(a[batch], b[batch], factor[batch], source[batch])
    return state


def by_hand(arrays, read):
    """Return what `read` says of a and b (N, C) pooled, of each factor: the value, and the ends by the jackknife."""
    a, b, factor, source, labels = arrays
    a, b, right = a.mean(2), b.mean(2), labels[source]

    def of(keep):
        rows = [keep & (factor == f) for f in (STILL, SHUFFLED)]
        return np.array([read(a[row], b[row], right[row]) for row in rows])

    value = of(np.ones(len(a), dtype=bool))
    return value, truth.ends(value, [of(source != g) for g in np.unique(source)])


def relative_distance(a, b, _):
    return (np.linalg.norm(a - b, axis=1) / np.linalg.norm(a, axis=1)).mean()


def explained(a, b, _):
    """One least-squares line a channel, and what it leaves."""
    left = 0.0
    for x, y in zip(b.T, a.T, strict=True):
        slope, offset = np.polyfit(x, y, 1)
        left += ((y - slope * x - offset) ** 2).sum()
    return 1 - left / ((a - a.mean(0)) ** 2).sum()


def accuracy_of(which):
    return lambda a, b, right: ((a, b)[which].argmax(1) == right).mean()


READINGS = {
    "change": (lambda state: state.change(), relative_distance),
    "explained": (lambda state: state.explained(), explained),
    "clips right": (lambda state: state.accuracy()[0], accuracy_of(0)),
    "changed right": (lambda state: state.accuracy()[1], accuracy_of(1)),
}


@pytest.mark.parametrize("what", READINGS)
def test_values_and_intervals_equal_brute_force(what):
    arrays = clips()
    read, formula = READINGS[what]
    found = read(filled(arrays))
    value, ends = by_hand(arrays, formula)
    np.testing.assert_allclose(found.value.numpy(), value, **EXACT)
    np.testing.assert_allclose(found.interval(0.95).numpy(), ends, **EXACT)


def test_a_line_explains_all_and_noise_nothing():
    a, b, factor, source, labels = clips(sources=100)
    state = filled((a, 3 * a - 1, factor, source, labels))
    torch.testing.assert_close(state.explained().value, torch.ones(2, dtype=torch.float64))
    noise = np.random.default_rng(1).normal(size=b.shape)
    assert (filled((a, noise, factor, source, labels)).explained().value < 0.02).all()
    assert (filled((a, a, factor, source, labels)).change().value == 0).all()


def test_channels_that_never_vary_or_are_broken_have_no_part():
    a, b, factor, source, labels = clips()
    wanted = filled((a[:, :1], b[:, :1], factor, source, labels), state=ClipChanges(1)).explained()
    a[:, 1] = b[:, 1] = 2.0
    b[7, 2] = np.nan
    found = filled((a, b, factor, source, labels), state=ClipChanges(3)).explained()
    torch.testing.assert_close(found.value[SHUFFLED], wanted.value[SHUFFLED])
    torch.testing.assert_close(found.without[:, SHUFFLED], wanted.without[:, SHUFFLED])


def test_clips_without_any_feature_have_not_changed():
    zeros = np.zeros((4, CLASSES, 2))
    state = filled((zeros, zeros, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.zeros(2, np.int64)))
    assert state.change().value.tolist() == [0, 0]


@pytest.mark.parametrize("channel_dim", [1, 2, -1])
def test_channels_may_be_anywhere(channel_dim):
    arrays = clips()
    a, b, factor, source, labels = map(torch.from_numpy, arrays)
    state = ClipChanges(CLASSES, labels=labels)
    a, b = (x.movedim(1, channel_dim) for x in (a, b))
    state.update(a, b, factor, source, channel_dim=channel_dim)
    torch.testing.assert_close(state.change().value, filled(arrays).change().value)
    torch.testing.assert_close(state.accuracy()[1].value, filled(arrays).accuracy()[1].value)


def same(found, wanted):
    assert found.count.tolist() == wanted.count.tolist()
    for read, _ in READINGS.values():
        torch.testing.assert_close(read(found).interval(0.9), read(wanted).interval(0.9), rtol=1e-9, atol=1e-9)


def test_batches_merging_and_saving_change_nothing():
    arrays = clips()
    whole = filled(arrays)
    assert isinstance(whole, PairState) and whole.num_channels == CLASSES
    same(filled(arrays, batches=7), whole)
    labels = arrays[-1]
    halves = [filled((*(x[part] for x in arrays[:4]), labels)) for part in (slice(0, 30), slice(30, None))]
    halves[0].merge(halves[1])
    same(halves[0], whole)
    loaded = ClipChanges(CLASSES, labels=torch.from_numpy(labels))
    loaded.load_state_dict(whole.state_dict())
    same(loaded.to("cpu"), whole)
    assert {x.dtype for x in whole.state_dict().values()} <= {torch.float64, torch.int64}


def of_one_process(rank):
    arrays = clips()
    state = filled((*(x[rank::2] for x in arrays[:4]), arrays[-1]))
    state.reduce()
    return {name: x.tolist() for name, x in state.state_dict().items()}


def test_processes_agree():
    first, second = on_two(of_one_process)
    assert first == second
    found = ClipChanges(CLASSES, labels=torch.from_numpy(clips()[-1]))
    tensors = {name: torch.tensor(x, dtype=torch.float64 if "moments" in name else torch.int64)
               for name, x in first.items()}  # fmt: skip
    found.load_state_dict(tensors)
    same(found, filled(clips()))
    with pytest.raises(ValueError, match="expected the classes that these videos have, got others"):
        ClipChanges(CLASSES).load_state_dict(tensors)
