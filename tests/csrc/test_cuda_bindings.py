"""What the bindings of the CUDA kernels take: tensors of one GPU, any of them, however far apart in memory."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.cuda_modes import emulated
from tests.support.dropout import SEED, true_dropout
from tests.support.moments import assert_moments, true_moments
from tests.support.tolerances import MOMENTS

pytestmark = pytest.mark.slow  # the emulator is built first

# Strides that 32 bits do not hold, as a number of elements and as one of bytes.
FAR, FARTHER = 2**30 + 32, 2**31 + 2**20 + 16


def on_gpu(index, x):
    """Return a copy that the emulated torch has on a GPU."""
    x = x.clone()
    x.gpu = index
    return x


def calls():
    """Return {name: (function, tensors, other arguments)} of all that takes tensors."""
    module = emulated()
    x, labels = torch.randn(300, 8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 2
    flat = x[..., 0].contiguous()
    dropout = (x, torch.empty_like(x), torch.tensor(SEED), torch.rand(300, 6), torch.rand(8))
    return {
        "comoments": (module.comoments, (x, x + 1, labels), (2, 1, True)),
        "channel_bias": (module.channel_bias, (x, x + 1, labels), (2, 1, False, True)),
        "static_dropout": (
            lambda x, out, seed, mask, weight, *rest: module.static_dropout(x, out, seed, 0.5, mask, weight, *rest),
            dropout,
            (0, True, 1),
        ),
        "pairwise_correlation": (module.pairwise_correlation, (flat, flat + 1), ()),
    }


@pytest.mark.parametrize("name", ["comoments", "channel_bias", "static_dropout", "pairwise_correlation"])
def test_work_is_done_on_the_gpu_of_the_tensors_whichever_is_the_current_one(name):
    """On its stream and in its memory, which the emulator sees to; and the current one stays what it was."""
    function, tensors, rest = calls()[name]
    before = emulated().launches()
    function(*(on_gpu(1, x) for x in tensors), *rest)
    assert emulated().launches() > before and emulated().current_gpu() == 0


class _Made(TorchDispatchMode):
    """Keeps the tensors that torch makes."""

    def __init__(self):
        super().__init__()
        self.tensors = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.tensors.append(function(*args, **(kwargs or {})))
        return self.tensors[-1]


@pytest.mark.parametrize(("name", "outputs"), [("comoments", 1), ("channel_bias", 3), ("pairwise_correlation", 1)])
def test_results_are_in_memory_that_torch_has_made(name, outputs):
    """Only such memory do streams and graphs of torch look after."""
    function, tensors, rest = calls()[name]
    with _Made() as made:
        results = function(*tensors, *rest)
    results = [results] if isinstance(results, torch.Tensor) else results
    assert len(results) == outputs < len(made.tensors), "and a workspace"
    assert {x.data_ptr() for x in results} <= {x.data_ptr() for x in made.tensors}


@pytest.mark.parametrize("name", ["comoments", "channel_bias", "static_dropout", "pairwise_correlation"])
def test_tensors_on_several_gpus_are_refused(name):
    function, tensors, rest = calls()[name]
    before = emulated().launches()
    for strange in range(len(tensors)):
        with pytest.raises(ValueError, match="expected tensors on one CUDA device"):
            function(*(on_gpu(int(i == strange), x) for i, x in enumerate(tensors)), *rest)
    assert emulated().launches() == before and emulated().current_gpu() == 0


def test_a_number_of_factors_that_no_memory_holds_is_refused():
    """Before blocks are counted."""
    x, labels = torch.ones(4, 512), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match="arguments refused"):
        emulated().channel_bias(x, x, labels, 2**62, 1, True, True)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def memory(request, tmp_path_factory):
    """Return two tensors with 7 * 2**30 elements each, of which only those that are written take space."""
    folder = tmp_path_factory.mktemp("memory")
    return [torch.from_file(str(folder / name), shared=True, size=7 * 2**30, dtype=request.param) for name in "ab"]


def spread(memory, shape, strides):
    """Return views that are far apart in memory, with random values."""
    views = [x.as_strided(shape, strides) for x in memory]
    for i, view in enumerate(views):
        view.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(i)))
    return views


@pytest.mark.parametrize(
    ("shape", "strides"),
    [
        ((3, 2, 40), (FARTHER, FAR, 1)),
        ((3, 3, 40), (FAR, FARTHER, 1)),
        ((2, 3, 3, 16), (48, FAR, FARTHER, 1)),
        ((3, 40, 2), (FARTHER, 1, FAR)),
        ((2, 16, 3), (FAR, 1, FARTHER)),
        ((2, 3, 3), (1, FAR, FARTHER)),
    ],
)
def test_offsets_have_64_bits(memory, shape, strides):
    a, b = spread(memory, shape, strides)
    labels = torch.arange(shape[0]) % 2
    for pool, factor in itertools.product((True, False), (None, labels)):
        moments = emulated().comoments(a, b, factor, 1 if factor is None else 2, 1, pool)
        assert_moments(moments, true_moments(a, b, factor, pool=pool), MOMENTS[a.dtype])
    mask, weight = torch.rand(shape[0], *shape[2:]), torch.rand(shape[1])
    expected = true_dropout(a.contiguous(), SEED, 0.5, mask, weight, "element", True)
    for out in (b, a):
        emulated().static_dropout(a, out, torch.tensor(SEED), 0.5, mask, weight, 0, True, 1)
        assert torch.equal(out, expected)


@pytest.mark.parametrize("strides", [(FARTHER, 1), (1, FARTHER)])
def test_offsets_of_sample_matrices_have_64_bits(memory, strides):
    a, b = spread(memory, (3, 3), strides)
    if a.dtype == torch.float32:
        near = [x.contiguous() for x in (a, b)]
        assert torch.equal(emulated().pairwise_correlation(a, b), emulated().pairwise_correlation(*near))


def test_the_nearest_value_of_a_mask_is_found_however_large_both_are():
    nearest = emulated().nearest
    for size, grid in [(7, 3), (3, 7), (5, 5), (2**31 + 1, 2**29), (2**33, 2**33)]:
        for i in (0, 1, size // 2, size - 1):
            assert nearest(i, grid, size) == (2 * i + 1) * grid // (2 * size)
