"""The edge of what kernels take: odd addresses, dimensions, sizes, bytes of masks, and threads that are new."""

import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import sdfast
from sdfast.backends import load
from tests.support.dropout import SEED, features, true_dropout

_C = load("cpu")


def at_an_odd_address(values):
    """Return the values in memory that starts one byte off."""
    whole = np.full(values.numel() * values.element_size() + 1, 0xFF, dtype=np.uint8)
    odd = torch.from_numpy(whole[1:]).view(values.dtype).view(values.shape)
    return odd.copy_(values)


def test_anything_may_lie_at_an_odd_address(isa):
    """As what is read from a file by its offset."""
    x, weight, mask = features((6, 40, 9)), torch.rand(40), torch.rand(6, 9)
    settings = {"mask": at_an_odd_address(mask), "channel_weight": at_an_odd_address(weight)}
    dropped = sdfast.static_dropout(at_an_odd_address(x), 0.5, seed=at_an_odd_address(torch.tensor(SEED)), **settings)
    assert torch.equal(dropped, true_dropout(x, SEED, 0.5, mask, weight, "region"))
    labels = torch.arange(6) % 2
    plain = sdfast.channel_bias(x, x.flip(0), labels)
    odd = sdfast.channel_bias(*(at_an_odd_address(t) for t in (x, x.flip(0), labels)))
    assert all(torch.equal(p, o) for p, o in zip(plain, odd, strict=True))
    samples = features((30, 5), torch.float64)
    assert torch.equal(sdfast.ops.normal_scores(at_an_odd_address(samples)), sdfast.ops.normal_scores(samples))


def test_seventeen_dimensions_are_refused_with_a_reason():
    x = torch.randn(2, 3, *[1] * 15)
    assert sdfast.channel_bias(x[..., 0], x[..., 0]).count == 2
    for call in (lambda: sdfast.channel_bias(x, x), lambda: sdfast.static_dropout(x)):
        with pytest.raises(ValueError, match="expected at most 16 dimensions, got 17"):
            call()


def test_more_sums_than_there_could_be_memory_for_are_refused():
    """Their number, 6 * 2^71, would not even fit into 64 bits."""
    x = torch.ones(1, 1, dtype=torch.bfloat16).expand(1, 2**40)
    with pytest.raises(ValueError, match="num_factors: expected at most 2\\*\\*40 sums"):
        sdfast.channel_bias(x, x, torch.zeros(1, dtype=torch.int64), num_factors=2**31 - 1)


@pytest.mark.parametrize("byte", [1, 2, 255])
def test_any_byte_but_zero_of_a_bool_mask_is_true(byte):
    x = features((3, 4, 50))
    mask = torch.rand(3, 50) > 0.5
    wild = (mask.to(torch.uint8) * byte).view(torch.bool)
    for granularity in ("element", "region"):
        expected = sdfast.static_dropout(x, 0.4, mask=mask, seed=SEED, granularity=granularity, rescale=True)
        found = sdfast.static_dropout(x, 0.4, mask=wild, seed=SEED, granularity=granularity, rescale=True)
        assert torch.equal(found, expected)


@pytest.mark.parametrize("p", [1 + 1e-12, -1e-300])
def test_a_probability_next_to_one_is_none_with_or_without_a_mask(p):
    for mask in (None, torch.ones(2, 4)):
        with pytest.raises(ValueError, match="p: expected a probability from 0 to 1"):
            sdfast.static_dropout(torch.ones(2, 3, 4), p, mask=mask)


def test_masked_arrays_are_refused_as_their_mask_would_be_lost():
    masked = np.ma.masked_array(np.ones((4, 2)), mask=[[0, 1]] * 4)
    for call in (sdfast.channel_bias, sdfast.pairwise_correlation):
        with pytest.raises(TypeError, match="feats_a: expected an array without a mask"):
            call(masked, masked)


def test_one_label_turned_around_is_taken():
    """NumPy calls an array of one contiguous whatever its stride."""
    a = np.ones((1, 3))
    assert sdfast.channel_bias(a, a, np.array([1])[::-1]).count.tolist() == [0, 1]


def test_a_new_thread_of_python_uses_as_many_threads_as_torch_was_told():
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        thread = threading.Thread(target=lambda: found.append(_C.max_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [3]


def test_the_kernel_refuses_weights_of_another_number_of_channels():
    x, seed = features((2, 4, 5)), torch.tensor(SEED)
    for weight in (torch.ones(3), torch.ones(5), torch.ones(4, 1), torch.ones(4).double(), torch.ones(8)[::2]):
        with pytest.raises(ValueError, match="arguments refused"):
            _C.static_dropout(x, x.clone(), seed, 0.5, None, weight, 1, False, 1)


KEPT = """
import torch
from sdfast import _C

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

torch.set_num_threads(1)
a = torch.zeros(1, 2**22)
_C.comoments(a[:, :8], a[:, :8], None, 1, 1, True)
before = resident()
for i in range(3):
    _C.channel_bias(a, a, None, 1, 1, True, True)
print((resident() - before) // 2**20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_call_keeps_no_memory_of_many_channels():
    """48 bytes a channel were 200 MB here; the allocator itself may keep some of 32 MB."""
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
