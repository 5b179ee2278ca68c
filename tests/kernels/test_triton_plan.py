"""Calls that are planned once: what a further call launches, and what it saves the host."""

import shutil

import pytest
import torch

from tests.support.features import channels_last
from tests.support.stub_driver import seconds
from tests.support.triton_modes import recording

F32, BF16 = torch.float32, torch.bfloat16


def bias(shape, dtype, labelled, same=False):
    """Return a function that makes the arguments of a call anew, and the call."""
    from sdfast import kernels

    def tensors():
        a, labels = torch.empty(shape, dtype=dtype), torch.zeros(shape[0], dtype=torch.int64)
        return a, a if same else torch.empty(shape, dtype=dtype), labels if labelled else None

    return tensors, lambda a, b, labels: kernels.channel_bias(a, b, labels, 1 + labelled, 1, True, True)


def dropout(shape, grid, dtype, weighted=False):
    from sdfast import kernels

    def tensors():
        x, weight = torch.empty(shape, dtype=F32), torch.ones(shape[1]) if weighted else None
        mask = None if grid is None else torch.ones(shape[0], *grid).to(dtype)
        return x, torch.empty_like(x), torch.tensor(0), mask, weight

    return tensors, lambda x, out, seed, mask, weight: kernels.static_dropout(
        x, out, seed, 0.5, mask, weight, 0, False, 1
    )


def update(shape):
    from sdfast import kernels

    def tensors():
        state, labels = torch.zeros(6, 3, 2, shape[1], dtype=torch.float64), torch.zeros(shape[0], dtype=torch.int64)
        return state, torch.empty(shape), torch.empty(shape), labels, labels.clone()

    def call(*tensors):
        kernels.update_comoments(*tensors, 1, True)

    return tensors, call


def pairwise(shape):
    from sdfast import kernels

    return lambda: (torch.empty(shape), torch.empty(shape)), lambda a, b: (kernels.pairwise_correlation(a, b),)


CALLS = {
    "one launch": lambda: bias((32, 64, 9), F32, False),
    "one tensor": lambda: bias((32, 64, 9), F32, False, True),
    "pooled first, labelled": lambda: bias((600, 64, 9, 4, 4), BF16, True),
    "stretches": lambda: bias((3, 2, 300, 300), F32, True),
    "merged": lambda: bias((40000, 96), F32, False),
    "dropout": lambda: dropout((4, 6, 5, 7), None, F32, True),
    "a mask of bool": lambda: dropout((4, 6, 5, 7), (2, 2), torch.bool),
    "the middle of a mask": lambda: dropout((4, 6, 1, 1), (5, 3), torch.uint8),
    "pairwise": lambda: pairwise((5000, 40)),
    "update": lambda: update((32, 64, 9)),
    "update in two launches": lambda: update((600, 64, 144)),
}


def pointers(launches, tensors):
    """Return launches with all pointers named: by the tensor that they are in, or as a workspace."""
    starts = {x.data_ptr(): i for i, x in reversed(list(enumerate(tensors))) if x is not None}

    def named(value):
        if isinstance(value, tuple):
            return tuple(map(named, value))
        address = value.data_ptr() if isinstance(value, torch.Tensor) else value
        if not isinstance(address, int) or address < 1 << 24:  # no address, but a size
            return address
        at = max((start for start in starts if start <= address < start + 256), default=None)
        return "workspace" if at is None else (starts[at], address - at)

    return [(name, programs, named(tuple(arguments))) for name, programs, arguments in launches]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_repeats_what_the_first_launched_on_its_own_tensors(name):
    tensors, call = CALLS[name]()
    with recording() as launches:
        held, found = [], []
        for _ in range(3):
            launches.clear()
            inputs = tensors()
            outputs = call(*inputs) or ()
            held.append((inputs, outputs))  # so that no address is given away twice
            found.append(pointers(launches, (*inputs, *outputs)))
        assert found[0] and found[0] == found[1] == found[2]
        assert all(not isinstance(x, torch.Tensor) for _, _, arguments in launches for x in arguments), "planned"


@pytest.mark.slow
def test_another_form_is_planned_anew():
    from sdfast.kernels import channel_bias, plan

    a, b = torch.empty(8, 64, 7), torch.empty(8, 64, 7)
    buffer, labels = torch.empty(8 * 64 * 7 + 1), torch.zeros(16, dtype=torch.int64)
    calls = [
        (a, b, None, 1, True, True),
        (a, a, None, 1, True, True),
        (a, b, None, 1, False, True),
        (a, b, None, 1, True, False),
        (channels_last(a), channels_last(b), None, 1, True, True),
        (buffer[1:].view(8, 64, 7), b, None, 1, True, True),
        (a.bfloat16(), b.bfloat16(), None, 1, True, True),
        (a, b, labels[:8], 2, True, True),
        (a, b, labels[::2], 2, True, True),
        (a, b, labels[:8], 3, True, True),
        (a[:7], b[:7], None, 1, True, True),
    ]
    with recording():
        for i, (x, y, factor, num_factors, pool, pearson) in enumerate(calls):
            for _ in range(2):
                channel_bias(x, y, factor, num_factors, 1, pool, pearson)
            assert len(plan._plans) == i + 1, calls[i][2:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="Triton's launcher needs gcc")
def test_a_planned_call_takes_the_host_less_than_half(tmp_path):
    for name, found in seconds(tmp_path).items():
        assert found["ratio"] > 2, (name, found)
