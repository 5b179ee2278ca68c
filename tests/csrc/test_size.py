"""Sizes beyond 32 bits, a million channels, one pair; and how much memory operations take beside their arguments."""

import json
import os
import subprocess
import sys

import pytest
import torch

import sdfast
from sdfast.ops import comoments
from sdfast.statistics import merge


@pytest.mark.slow
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("kind", ["rows", "columns"])
def test_more_elements_than_32_bits_can_count(kind, pool):
    """In 7 MB: what a pair has begins 7 elements after what the pair before has."""
    torch.manual_seed(0)
    shape, strides = ((2**19 + 1, 2, 2048), (7, 2048, 1)) if kind == "rows" else ((2**19 + 1, 64, 64), (7, 1, 64))
    a, b = (x.as_strided(shape, strides) for x in torch.randn(2, 7 * 2**19 + 4096).bfloat16())
    assert a.numel() > 2**31
    halves = [comoments(a[part], b[part], pool=pool) for part in (slice(2**18), slice(2**18, None))]
    found, expected = comoments(a, b, pool=pool), merge(torch.stack(halves))
    assert torch.equal(found[0], expected[0]) and found[0, 0, 0] == len(a) * (1 if pool else shape[2])
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-6, atol=1e-6 * float(expected[3:5].max()))


def test_a_million_channels_of_one_pair_and_of_two():
    a = torch.randn(2, 10**6)
    one = sdfast.channel_bias(a[:1], a[1:])
    assert one.count == 1 and one.corr.isnan().all() and one.corr.shape == (10**6,)
    two = sdfast.channel_bias(a, a.flip(1)).corr
    a, b = a.double(), a.flip(1).double()
    torch.testing.assert_close(two, ((a[0] - a[1]) * (b[0] - b[1])).sign())
    assert comoments(a, b, torch.arange(2), 2)[0].eq(1).all()


MEASURE = """
import json, torch, sdfast
from sdfast import ops

def status(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1]) * 1024

def beside(call):
    call()
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    before = status("VmRSS")
    call()
    return status("VmHWM") - before

torch.set_num_threads(1)
C, N, P = 2**19, 2**19, 2**21
channels, labels = torch.ones(2, C), torch.arange(2)
halves = torch.randn(2, C).bfloat16()
runs, spread = torch.ones(2, C // 4, 16), torch.ones(2, 2 * C)[:, ::2]
moments = torch.zeros(6, 2, C, dtype=torch.float64)
few = torch.ones(1, 4, P)
samples = torch.rand(N, 2, dtype=torch.float64)
print(json.dumps({
    "columns": beside(lambda: ops.comoments(channels, channels)) / C,
    "columns of two factors": beside(lambda: ops.comoments(channels, channels, labels)) / C,
    "bfloat16": beside(lambda: ops.comoments(halves, halves)) / C,
    "rows": beside(lambda: ops.comoments(runs, runs, pool=False)) / (C // 4),
    "pooled rows": beside(lambda: ops.comoments(runs, runs)) / (C // 4),
    "columns apart": beside(lambda: ops.comoments(spread, spread)) / C,
    "update": beside(lambda: ops.update_comoments(moments, channels, channels, labels)) / C,
    "long runs": beside(lambda: ops.comoments(few, few, pool=False)) / P,
    "dropout": beside(lambda: sdfast.static_dropout(few)) / P,
    "dropout in place": beside(lambda: sdfast.static_dropout(few, inplace=True)) / P,
    "dropout by a mask": beside(lambda: sdfast.static_dropout(few, mask=torch.ones(1, 7), inplace=True)) / P,
    "normal scores": beside(lambda: ops.normal_scores(samples)) / N,
    "kraskov": beside(lambda: ops.kraskov(samples[: N // 8], samples[: N // 8])) / (N // 8),
}))
"""
ENVIRONMENT = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back at once
# Bytes a channel, a position or a sample, with what docs/guides/concurrency.md says of them.
MOST = {
    "columns": 48 + 60,
    "columns of two factors": 2 * (48 + 60),
    "bfloat16": 48 + 60 + 48,
    "rows": 48 + 270,
    "pooled rows": 48 + 80,
    "columns apart": 48 + 60 + 2 * 16 * 4,
    "update": 2 * (48 + 60),
    "long runs": 0,
    "dropout": 4 * 4,
    "dropout in place": 0,
    "dropout by a mask": 12 + 0.25,
    "normal scores": 2 * 8 + 70,
    "kraskov": 130,
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_operations_need_no_more_memory_than_is_said():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    slack = 2 * 2**20 / 2**19  # bytes: pages that the allocator keeps
    too_much = {name: (bytes, MOST[name]) for name, bytes in found.items() if bytes > MOST[name] * 1.05 + slack}
    assert not too_much, f"{too_much}, of {found}"
    assert found.keys() == MOST.keys()
