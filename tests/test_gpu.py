"""Everything on a GPU, by every backend that serves one. Without a GPU the same bodies run dry, on the CPU.

What is dry says nothing about a GPU: it keeps these tests from rotting where there is none.
"""

import functools
import itertools
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

import sdfast
from sdfast.backends import table as backends
from sdfast.ops import GRANULARITIES
from sdfast.ops.comoments import comoments
from sdfast.statistics import KINDS, GroupedCoMoments
from tests import truth
from tests.support.dropout import SEED, features, grid_mask
from tests.support.features import LAYOUTS, feature_pair
from tests.support.gpu_modes import PLACES, at, name_of
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import CORRELATION, MOMENTS, PRODUCT

_C = backends.load("cpu")
MASKS = (None, "coarse", "fine", "bool", "uint8", "double")


@pytest.fixture(params=PLACES, ids=name_of)
def place(request):
    with at(*request.param) as place:
        yield place


@pytest.fixture(params=[p for p in PLACES if p[1] != "reference"], ids=name_of)
def kernel_place(request):
    """Where kernels of our own run."""
    with at(*request.param) as place:
        yield place


def shapes(place, small, large):
    return small if place.dry else large


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("pool", [True, False])
def test_comoments_equal_numpy(place, dtype, pool):
    for shape in shapes(place, [(5, 6), (3, 2, 20)], [(32, 512), (64, 70, 4, 7, 7), (3, 2, 300000), (9, 8, 49)]):
        a, b, labels = feature_pair(shape, dtype)
        for layout, factor in itertools.product(LAYOUTS, (None, labels)):
            with place.poisoned():
                moments = comoments(*place.put(layout(a), layout(b), factor), pool=pool)
            assert_moments(moments.cpu(), true_moments(a, b, factor, pool=pool), MOMENTS[dtype])


@pytest.mark.parametrize("dtype", CORRELATION, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_channel_bias_equals_numpy(place, dtype, kind):
    for shape in shapes(place, [(9, 6)], [(32, 512), (40, 19, 4, 5), (4000, 33)]):
        a, b, labels = feature_pair(shape, dtype)
        expected = truth.correlation(true_moments(a, b, labels), kind)
        with place.poisoned():
            bias = sdfast.channel_bias(*place.put(a, b, labels), kind=kind)
        np.testing.assert_allclose(bias.corr.cpu(), expected, rtol=0, atol=CORRELATION[dtype])
        np.testing.assert_allclose(
            bias.mi.cpu(), truth.mutual_information(expected), rtol=0, atol=4 * CORRELATION[dtype]
        )
        assert bias.count.tolist() == labels.bincount(minlength=2).tolist() and bias.count.dtype == torch.int64


@pytest.mark.parametrize("dtype", PRODUCT, ids=str)
def test_pairwise_correlation_equals_numpy(place, dtype):
    for samples, channels in shapes(place, [(20, 9)], [(50, 19), (5000, 300)]):
        a, b, _ = feature_pair((samples, channels, 3), dtype)
        b = b[:, : channels // 2] + a[:, 5:6]
        sampled = [truth.pooled_samples(x.double().numpy(), pool=False) for x in (a, b)]
        expected = truth.pairwise_correlation(*sampled)
        with place.poisoned():
            actual = sdfast.pairwise_correlation(*place.put(a, b), pool=False)
        np.testing.assert_allclose(actual.cpu(), expected, rtol=0, atol=PRODUCT[dtype])


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_static_dropout_has_the_bits_of_the_cpu(place, dtype, granularity):
    kind = GRANULARITIES.index(granularity)
    for shape in shapes(place, [(2, 3, 10)], [(5, 37), (2, 70, 4, 7, 7), (3, 64, 5000)]):
        for i, (mask, weighted, layout) in enumerate(itertools.product(MASKS, (False, True), LAYOUTS)):
            if place.dry and i % 7 != kind:
                continue
            x, rescale = layout(features(shape, dtype)), i % 3 != 0
            weight = torch.rand(shape[1]) if weighted else None
            mask = None if mask is None else grid_mask(shape, mask)
            expected = torch.empty_like(x)
            _C.static_dropout(x, expected, torch.tensor(SEED), 0.7, mask, weight, kind, rescale, 1)
            y, mask, weight, seed = place.put(x, mask, weight, torch.tensor(SEED))
            with place.poisoned():
                out = sdfast.static_dropout(
                    y,
                    0.7,
                    mask=mask,
                    channel_weight=weight,
                    granularity=granularity,
                    rescale=rescale,
                    seed=seed,
                    inplace=i % 2 == 0,
                )
            assert (out is y) == (i % 2 == 0) and torch.equal(out.cpu(), expected)


def test_bad_values_constants_and_foreign_labels(place):
    a, b, _ = feature_pair((12, 5, 4), torch.float32)
    a[0, 1, 2], a[:, 2], b[:, 3] = torch.nan, 0.1, -4 * a[:, 3]
    labels = torch.arange(12) % 3
    if not place.dry:  # the CPU, dry or not, refuses labels of no factor
        labels[4], labels[5] = 5, -7
    known = (labels >= 0) & (labels < 3)
    expected = truth.correlation(true_moments(a[known], b[known], labels[known], num_factors=3))
    bias = sdfast.channel_bias(*place.put(a, b, labels), num_factors=3)
    np.testing.assert_allclose(bias.corr.cpu(), expected, rtol=0, atol=1e-12)
    assert (bias.corr[:, 2] == 0).all() and (bias.corr[:, 3] == -1).all() and torch.isposinf(bias.mi[:, 3]).all()


def test_gradients_are_those_of_the_cpu(place):
    a, b, labels = feature_pair((10, 4, 6), torch.float64)

    def gradients(a, b, labels):
        a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
        sdfast.channel_bias(a, b, labels).mi.sum().backward()
        return a.grad.cpu(), b.grad.cpu()

    with sdfast.use_backend("cpu"):
        expected = gradients(a, b, labels)
    for x, y in zip(gradients(*place.put(a, b, labels)), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)
    if not place.dry:
        labels[3] = 9
        grad_a, _ = gradients(*place.put(a, b, labels))
        assert (grad_a[3] == 0).all() and grad_a.isfinite().all()


def test_metric_gives_the_report_of_the_cpu(place):
    a, b, labels = feature_pair((20, 4, 6), torch.float32)
    metric, on_cpu = (sdfast.BiasMetric(num_channels=4, groups=3) for _ in range(2))
    metric.to(place.device)
    for rows in (slice(0, 7), slice(7, 20)):
        metric.update(*place.put(a[rows], b[rows], labels[rows]))
        with sdfast.use_backend("cpu"):
            on_cpu.update(a[rows], b[rows], labels[rows])
    assert metric.moments.device.type == place.device
    torch.testing.assert_close(metric.compute().corr, on_cpu.compute().corr, rtol=0, atol=1e-12)


def test_measure_gives_the_report_of_the_cpu(place, monkeypatch):
    if place.dry:  # a group is a program to interpret
        few = functools.partial(GroupedCoMoments, groups=3)
        monkeypatch.setattr("sdfast.measurement.job.GroupedCoMoments", few)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU()).double()
    clips = torch.randn(10, 2, 4, dtype=torch.float64)
    pairs = [(a, a + b, i % 2) for i, (a, b) in enumerate(clips)]
    with sdfast.use_backend("cpu"):
        expected = sdfast.measure(model, pairs, ["*"], progress=False)
    reports = sdfast.measure(model, pairs, ["*"], batch_size=4, device=place.device, progress=False)
    for name, report in expected.items():
        torch.testing.assert_close(reports[name].corr, report.corr, rtol=0, atol=1e-10)


def test_module_drops_by_the_mask_forward_and_backward(place):
    layer = sdfast.StaticDropout(p=1.0, channel_weight=torch.tensor([1.0, 0.0, 1.0]), granularity="element")
    layer.to(place.device)
    x = place.put(features((2, 3, 4, 4))).requires_grad_()
    mask = place.put(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]] * 2))
    with sdfast.static_mask(mask):
        y = layer(x)
    y.sum().backward()
    dropped = torch.zeros(2, 3, 4, 4, dtype=torch.bool)
    dropped[:, ::2, :2, :2] = True
    assert torch.equal(y.detach().cpu() == 0, dropped) and torch.equal(x.grad.cpu() == 0, dropped)


def test_compiled_functions_give_what_eager_ones_do(place):
    backend = "aot_eager" if place.dry else "inductor"
    a, b, labels, mask, seed = place.put(*feature_pair((8, 4, 6), torch.float32), torch.rand(8, 3), torch.tensor(SEED))

    def both(a, b, labels, mask, seed):
        kept = sdfast.static_dropout(a, mask=mask, seed=seed)
        return sdfast.channel_bias(kept, b, labels).corr, kept

    compiled = torch.compile(both, backend=backend, fullgraph=True)
    for x, y in zip(compiled(a, b, labels, mask, seed), both(a, b, labels, mask, seed), strict=True):
        torch.testing.assert_close(x, y, equal_nan=True)


def test_graphs_replay_with_fresh_inputs(place):
    """Everything in one graph: the inputs of the replay are not those of the capture, nor is the seed."""
    if not place.dry and place.backend == "reference":
        pytest.skip("only kernels are captured")
    shape = (8, 5, 20) if place.dry else (64, 70, 500)
    a, b, labels, seed, mask = place.put(*feature_pair(shape, torch.float32), torch.tensor(1), torch.rand(shape[0], 3))

    def everything():
        kept = sdfast.static_dropout(a, mask=mask, seed=seed, granularity="element")
        return *sdfast.channel_bias(a, b, labels), kept, sdfast.pairwise_correlation(a, b), comoments(a, b, pool=False)

    replay, results = place.captured(everything)
    for i in (2, 3):
        fresh = feature_pair(shape, torch.float32, seed=i)
        for x, y in zip((a, b, labels, seed, mask), (*fresh, torch.tensor(i), torch.rand(shape[0], 3)), strict=True):
            x.copy_(y)
        replay()
        for x, y in zip(results, everything(), strict=True):
            assert torch.equal(x, y)


def test_a_gpu_is_not_waited_for(place):
    if not place.dry and place.backend == "reference":
        pytest.skip("only kernels promise it")
    x, a, b, labels, mask, seed = place.put(
        features((4, 6, 5)), *feature_pair((4, 6, 5), torch.float32), torch.ones(4, 3), torch.tensor(3)
    )
    x.requires_grad_()
    state = sdfast.CoMoments(6, device=place.device)

    def everything():
        sdfast.channel_bias(a, b, labels)
        sdfast.channel_bias(x, b, labels).corr.sum().backward()
        sdfast.pairwise_correlation(a, b)
        sdfast.static_dropout(x, mask=mask, seed=seed).sum().backward()
        sdfast.static_dropout(x, mask=mask, seed=7)
        state.update(a, b, labels)

    everything()
    with place.unwaited():
        everything()


def test_runs_repeat_bit_by_bit(kernel_place):
    a, b, labels = kernel_place.put(*feature_pair((16, 3, 40) if kernel_place.dry else (64, 3, 90000), torch.float32))
    for call in (
        lambda: comoments(a, b, labels, pool=False),
        lambda: comoments(a, b, labels),
        lambda: sdfast.pairwise_correlation(a, b, pool=False),
    ):
        assert torch.equal(call(), call())


def test_small_inputs_take_one_launch(kernel_place):
    a, b, labels = kernel_place.put(*feature_pair((32, 512), torch.float32))
    x, seed = kernel_place.put(torch.rand(4, 64), torch.tensor(1))
    assert len(kernel_place.launches(lambda: sdfast.channel_bias(a, b, labels))) == 1
    assert len(kernel_place.launches(lambda: sdfast.static_dropout(x, seed=seed, inplace=True))) == 1


def test_offsets_beyond_32_bits(kernel_place):
    """Two samples, four billion bytes apart: only the ends of that memory are ever touched."""
    apart = 2**31
    try:
        memory = torch.empty(apart + 64, dtype=torch.bfloat16, device=kernel_place.device)
    except RuntimeError:
        pytest.skip("needs 4 GB of memory")
    x = memory.as_strided((2, 2, 10), (apart, 30, 1))
    a, b, _ = feature_pair((2, 2, 10), torch.bfloat16)
    x.copy_(a)
    b = kernel_place.put(b)
    for pool in (True, False):
        expected = true_moments(a, b.cpu(), pool=pool)
        assert_moments(comoments(x, b, pool=pool).cpu(), expected, MOMENTS[torch.bfloat16])
    seed = torch.tensor(SEED)
    expected = torch.empty_like(a)
    _C.static_dropout(a, expected, seed, 0.5, None, None, 0, False, 1)
    sdfast.static_dropout(x, rescale=False, seed=kernel_place.put(seed), inplace=True)
    assert torch.equal(x.cpu(), expected)


def _reduce(rank, transport, port):
    device = f"cuda:{rank}" if transport == "nccl" else "cpu"
    dist.init_process_group(transport, init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    a, b, labels = feature_pair((20, 4, 6), torch.float32)
    share = [x[10 * rank : 10 * rank + 10].to(device) for x in (a, b, labels)]
    state = sdfast.CoMoments(4, device=device)
    state.update(*share)
    state.reduce()
    assert_moments(state.moments.cpu(), true_moments(a, b, labels), 1e-12)
    metric = sdfast.BiasMetric(4).to(device)
    metric.update(*share)
    corr = truth.correlation(true_moments(a, b, labels))
    np.testing.assert_allclose(metric.compute().corr.cpu(), corr, rtol=0, atol=1e-12)
    dist.destroy_process_group()


@pytest.mark.parametrize("transport", ["nccl", "gloo"])
def test_two_processes_merge_what_they_saw(transport):
    """A GPU each; dry on the CPU."""
    if transport == "nccl" and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_reduce, args=(transport, port), nprocs=2)
