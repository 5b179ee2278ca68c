"""Clips of any kind: what is stacked, joined and picked, how models are called with it, and what is refused."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn

from sdfast.models import call_model, frames_as_batch, join_clips, map_clips, pick_clips, stack_clips, tensors_of

Views = namedtuple("Views", "near far")


def clip(number):
    """A clip of every kind of container, with what is no tensor among it."""
    near, far = torch.full((2, 3), number), np.full((4,), number, np.float32)
    return {
        "views": Views(near, far),
        "paths": [near + 1, (far, "name")],
        "number": np.int64(number),
        "scale": 2,
        "no": None,
    }


def test_clips_are_stacked_joined_and_picked_leaf_by_leaf():
    a, b = stack_clips([clip(0), clip(1)]), stack_clips([clip(2), clip(3)])
    assert (
        isinstance(a["views"], Views) and a["views"].near.shape == (2, 2, 3) and a["views"].far.dtype == torch.float32
    )
    assert (a["scale"], a["no"], a["paths"][1][1]) == (2, None, "name") and type(a["paths"][1]) is tuple
    assert a["number"].tolist() == [0, 1]
    both = join_clips(a, b)
    assert both["number"].tolist() == [0, 1, 2, 3]
    assert both["views"].near[:, 0, 0].tolist() == [0, 1, 2, 3] and both["paths"][0][:, 0, 0].tolist() == [1, 2, 3, 4]
    few = pick_clips(both, [0, 2], 4)
    assert few["number"].tolist() == [0, 2] and few["paths"][1][0][:, 0].tolist() == [0, 2]
    assert len(tensors_of(both)) == 5


def test_what_a_processor_of_transformers_returns_is_a_batch_of_one():
    transformers = pytest.importorskip("transformers")
    one, two = (
        transformers.BatchFeature({"patches": np.full((3, 5), number), "grid": [[1, 1, 3]]}) for number in range(2)
    )
    both = stack_clips([one, two])
    assert type(both) is dict and both["patches"].shape == (6, 5) and both["grid"].tolist() == [[1, 1, 3]] * 2
    assert pick_clips(both, [1], 2)["patches"].unique().tolist() == [1]
    assert one["grid"] == [[1, 1, 3]], "what was given is left as it was"


class Records(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


def test_how_a_model_is_called():
    x, y = torch.ones(2, 3), torch.zeros(2, 3)
    model = Records()
    assert call_model(model, x) == ((x,), {})
    assert call_model(model, (x, y)) == ((x, y), {})
    assert call_model(model, [x, y]) == (([x, y],), {}), "as SlowFast takes them"
    assert call_model(model, {"pixels": x, "grid": y}) == ((), {"pixels": x, "grid": y})


def test_frames_become_the_batch_clip_by_clip():
    clips = torch.arange(6).view(2, 3, 1)
    args, _ = frames_as_batch(Records(), (clips, clips + 1))
    assert [x.flatten().tolist() for x in args] == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("first", "other", "error", "message"),
    [
        (
            {"x": torch.ones(1)},
            {"y": torch.ones(1)},
            ValueError,
            "clips: expected a dict of x in all clips, got a dict of x and a dict of y",
        ),
        (
            (torch.ones(1),) * 2,
            (torch.ones(1),),
            ValueError,
            "clips: expected a tuple of 2 in all clips, got a tuple of 2 and a tuple of 1",
        ),
        (
            [torch.ones(1)],
            (torch.ones(1),),
            ValueError,
            "expected a list of 1 in all clips, got a list of 1 and a tuple of 1",
        ),
        (
            {"x": torch.ones(1)},
            {"x": 3},
            ValueError,
            r"clips\['x'\]: expected a tensor in all clips, got a Tensor and 3",
        ),
        (
            [torch.ones(1), 2.0],
            [torch.ones(1), 3.0],
            ValueError,
            r"clips\[1\]: expected a tensor, or the same in all clips, got 2.0 and 3.0",
        ),
        (
            {"x": [torch.ones(2)]},
            {"x": [torch.ones(3)]},
            ValueError,
            r"clips\['x'\]\[0\]: expected shape \(2,\) like the first of its batch, got \(3,\)",
        ),
        (
            "video.mp4",
            "video.mp4",
            TypeError,
            "clips: expected a tensor or an array, or a tuple, list or dict with one, got str",
        ),
        ({"path": "video.mp4"}, {"path": "video.mp4"}, TypeError, "with one, got dict"),
    ],
)
def test_clips_that_are_not_alike_are_refused(first, other, error, message):
    with pytest.raises(error, match=message):
        stack_clips([first, other])


def test_the_function_is_told_where_a_tensor_is():
    seen = []
    map_clips(lambda where, x: seen.append(where) or x, {"a": [torch.ones(1)]}, where="pairs: clip_a")
    assert seen == ["pairs: clip_a['a'][0]"]
