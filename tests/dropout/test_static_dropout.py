"""static_dropout as a function: the defaults, the seed, and what it refuses before any operation sees it."""

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import sdfast
from tests.support.cpu_kernels import drop
from tests.support.dropout import features, grid_mask


def test_defaults_follow_the_guidance():
    x, mask, weight = features((8, 6, 4, 4)), grid_mask((8, 6, 4, 4), "double"), torch.linspace(0, 1, 6)
    assert torch.equal(drop(x), drop(x, granularity="element", rescale=True))
    for guide, granularity in (
        (dict(mask=mask), "region"),
        (dict(channel_weight=weight), "channel"),
        (dict(mask=mask, channel_weight=weight), "region"),
    ):
        assert torch.equal(drop(x, **guide), drop(x, granularity=granularity, rescale=False, **guide))
    assert torch.equal(drop(x, granularity="channel"), drop(x, granularity="channel", rescale=True))


def test_not_training_returns_the_input():
    x = features((3, 4))
    assert sdfast.static_dropout(x, training=False) is x


def test_a_seed_is_drawn_from_the_generator_of_torch():
    x = features((6, 50))
    torch.manual_seed(5)
    first, second = sdfast.static_dropout(x), sdfast.static_dropout(x)
    torch.manual_seed(5)
    assert torch.equal(sdfast.static_dropout(x), first) and not torch.equal(first, second)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (dict(x=np.ones((4, 6))), TypeError, "x: expected a torch.Tensor, got ndarray"),
        (dict(granularity="pixel"), ValueError, "granularity: expected one of element, channel, region, got 'pixel'"),
        (dict(seed=1.5), ValueError, r"seed: expected an integer from -\d+ to \d+, got 1.5"),
        (dict(seed=2**63), ValueError, "seed: expected an integer .* got 9223372036854775808"),
        (dict(seed="abc"), ValueError, "seed: expected an integer .* got 'abc'"),
    ],
    ids=["x", "granularity", "half", "large", "text"],
)
def test_what_does_not_fit_is_refused_by_name(change, error, message):
    for inplace in (False, True):
        arguments = {"x": torch.ones(4, 6), **change}
        with pytest.raises(error, match=message):
            sdfast.static_dropout(inplace=inplace, **arguments)
        assert (arguments["x"] == 1).all(), "nothing may be written before the error"


class _Devices(TorchDispatchMode):
    """Keeps the names of the operators that are called, and the devices of all tensors that they make or take."""

    def __init__(self):
        super().__init__()
        self.operators, self.devices = [], set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.operators.append(str(function))
        self.devices.update(x.device.type for x in (*args, out) if isinstance(x, torch.Tensor))
        return out


@pytest.mark.parametrize("seed", [7, -(2**63), None])
def test_on_a_gpu_a_seed_does_not_come_from_the_host(seed):
    """A copy would have the host wait for the device, and could be in no graph."""
    with FakeTensorMode():
        x = torch.empty(4, 3, 5, device="cuda")
        with _Devices() as seen:
            sdfast.static_dropout(x, seed=seed)
    assert "sdfast.static_dropout.default" in seen.operators
    assert seen.devices == {"cuda"}, seen.operators
