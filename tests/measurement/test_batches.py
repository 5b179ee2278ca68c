"""Pairs on their way to the model: datasets and iterables, processes that load, and what is wrong with a batch."""

import numpy as np
import pytest
import torch

from sdfast.measurement.batches import Batches
from sdfast.pairs.video import VideoError
from tests.support.measuring import NUM_PAIRS, Points, make_pairs, measure


def test_iterables_give_whole_batches_and_the_same_report():
    model, pairs = Points(), make_pairs()
    batches = [
        tuple(torch.stack([torch.as_tensor(pair[i]) for pair in pairs[at : at + 4]]) for i in range(3))
        for at in range(0, NUM_PAIRS, 4)
    ]
    whole = measure(model, ["conv"])["conv"]
    assert torch.equal(measure(model, ["conv"], iter(batches))["conv"].moments, whole.moments)
    as_numpy = (tuple(x.numpy() for x in batch) for batch in batches)
    assert torch.equal(measure(model, ["conv"], as_numpy)["conv"].moments, whole.moments)
    loader = torch.utils.data.DataLoader(pairs, batch_size=4)
    assert torch.equal(measure(model, ["conv"], loader)["conv"].moments, whole.moments)


def test_workers_and_numpy_clips_change_nothing():
    model = Points()
    pairs = [(a.numpy(), b.numpy(), np.int64(factor)) for a, b, factor in make_pairs()]
    plain = measure(model, ["conv"])["conv"]
    assert torch.equal(measure(model, ["conv"], pairs, num_workers=2)["conv"].moments, plain.moments)


class Unreadable(torch.utils.data.Dataset):
    """Fails in the process that loads it."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        try:
            raise RuntimeError("what came before")
        except RuntimeError as earlier:
            raise self.error from earlier


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (VideoError("a.mp4: truncated"), VideoError, "a.mp4: truncated"),
        (RuntimeError("first: line\nsecond: line"), RuntimeError, "first: line\nsecond: line"),
        (ValueError(), ValueError, "ValueError"),
        (KeyError("clip"), KeyError, "'clip'"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "why"), RuntimeError, "'utf-8' codec can't decode byte"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_of_workers_say_what_they_said_there(error, kind, message):
    with pytest.raises(kind) as caught:
        measure(Points(), ["conv"], Unreadable(error), num_workers=1)
    assert str(caught.value).strip("'\"").startswith(message.strip("'"))
    assert "Traceback" not in str(caught.value) and "Traceback" in str(caught.value.__cause__)


CLIP = torch.zeros(3, 4, 6, 6)
MIXED = "pairs: expected a source with every pair or with none, got some with and some without"


def batch_of(num_pairs, *source):
    """Return a batch of empty clips, and of one source if it is given."""
    clips = torch.zeros(num_pairs, *CLIP.shape)
    return clips, clips, torch.zeros(num_pairs).long(), *(torch.full((num_pairs,), number) for number in source)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([], ValueError, "pairs: expected at least one pair, got none"),
        (iter([]), ValueError, "pairs: expected at least one pair, got none"),
        (3, TypeError, "pairs: expected a dataset or an iterable of batches, got int"),
        (
            [(CLIP, CLIP)],
            TypeError,
            r"pairs: expected items \(clip_a, clip_b, factor\[, source\]\), got tuple of length 2",
        ),
        ([(CLIP, CLIP, 0, 1, 2)], TypeError, r"expected items \(clip_a, .*, got tuple of length 5"),
        ([(CLIP, CLIP[:1], 0)], ValueError, r"clips_b: expected shape \(1, 3, 4, 6, 6\) like clips_a, got"),
        ([(CLIP, CLIP, 0), (CLIP[:1], CLIP, 1)], ValueError, "clip_a: expected shape .* like the first of its batch"),
        (
            [(CLIP, CLIP.double(), 0)],
            TypeError,
            "clips_b: expected dtype torch.float32 like clips_a, got torch.float64",
        ),
        ([(CLIP, CLIP, 2)], ValueError, "factor: expected labels from 0 to 1, got 2"),
        ([(CLIP, CLIP, -1)], ValueError, "factor: expected labels from 0 to 1, got -1"),
        ([(CLIP, CLIP, 0.5)], TypeError, "factor: expected an integer label, got 0.5"),
        (iter([(CLIP[None], CLIP[None], torch.zeros(2).long())]), ValueError, r"factor: expected shape \(1,\)"),
        (iter([(CLIP[None], CLIP[None], torch.zeros(1))]), TypeError, "factor: expected integer labels"),
        (iter([(CLIP[:0], CLIP[:0], torch.zeros(0))]), ValueError, "expected batches of at least one pair"),
        (iter([CLIP]), TypeError, r"pairs: expected batches \(clips_a, clips_b, factor\[, source\]\), got Tensor"),
        ([(CLIP, CLIP, 0, 0.5)], TypeError, "source: expected an integer number, got 0.5"),
        ([(CLIP, CLIP, 0, None)], TypeError, "source: expected an integer number, got None"),
        ([(CLIP, CLIP, 0, -1)], ValueError, "source: expected numbers from 0 on, got -1"),
        ([(CLIP, CLIP, 0, 0), (CLIP, CLIP, 1)], ValueError, MIXED),
        (iter([batch_of(1, 3), batch_of(1)]), ValueError, MIXED),
        (iter([batch_of(1), batch_of(1, 3)]), ValueError, MIXED),
        (
            iter([(*batch_of(2), torch.zeros(3).long())]),
            ValueError,
            r"source: expected shape \(2,\), one number",
        ),
        (iter([(*batch_of(2), torch.zeros(2))]), TypeError, "source: expected integer numbers, got torch.float32"),
    ],
    ids=[
        "empty",
        "none",
        "int",
        "two-items",
        "five-items",
        "shapes",
        "batch-shapes",
        "dtypes",
        "high",
        "low",
        "half",
        "labels",
        "float",
        "no-pair",
        "tensor",
        "half-source",
        "none-source",
        "negative-source",
        "mixed-batch",
        "then-without",
        "then-with",
        "sources",
        "float-sources",
    ],
)
def test_bad_pairs(pairs, error, message):
    with pytest.raises(error, match=message):
        measure(Points(), ["conv"], pairs)


@pytest.mark.parametrize("sourced", [False, True])
def test_an_iterable_of_pairs_is_batched(sourced):
    pairs = [(a, b, f, i // 2) if sourced else (a, b, f) for i, (a, b, f) in enumerate(make_pairs(10))]
    wanted = list(Batches(pairs, batch_size=4).load(range(3)))
    for rank in range(2):
        found = list(Batches(iter(pairs), batch_size=4).load(range(rank, 99, 2)))
        assert len(found) == len(wanted[rank::2])
        for one, other in zip(found, wanted[rank::2], strict=True):
            assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_an_iterable_of_pairs_and_of_batches_is_refused():
    a, b, factor = make_pairs(1)[0]
    mixed = [(a, b, factor), (a[None], b[None], torch.tensor([factor]))]
    with pytest.raises(TypeError, match="pairs: expected pairs or batches of them, got both"):
        list(Batches(iter(mixed), batch_size=4).load(range(99)))
