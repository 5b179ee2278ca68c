"""static_dropout: the same bits as NumPy in every backend, dtype and layout, and errors that name what does not fit."""

import contextlib
import itertools

import pytest
import torch

import sdfast
from sdfast.backends import table as backends
from sdfast.backends.reference.static_dropout import philox
from sdfast.ops.static_dropout import GRANULARITIES
from tests import truth
from tests.support.cpu_kernels import (
    DROPOUT_SHAPES,
    assert_dropout_depends_on_no_number_of_threads,
    assert_dropout_keeps_what_is_not_finite_or_makes_it_zero,
    assert_dropout_of_all_layouts,
    assert_what_a_mask_leaves_out_stays,
    drop,
)
from tests.support.dropout import DTYPES, SEED, features, grid_mask, true_dropout
from tests.support.features import contiguous

_C = backends.load("cpu")
BACKENDS = ["reference", *(f"cpu-{name}" for name in _C.available_isas())]


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Force the reference backend, or the compiled one with one of its instruction sets."""
    name, _, isa = request.param.partition("-")
    before = _C.isa()
    if isa:
        _C.set_isa(isa)
    with sdfast.use_backend(name):
        yield name
    _C.set_isa(before)


@pytest.mark.parametrize(
    ("seed", "offset", "words"),
    [
        (42, 2**33 + 1, "8ab9f45d dedf59ec bef71618 033ae300"),
        (0x123456789ABCDEF, 5, "5765db8a d104608f c658b7d8 e9aa137f"),
        (2**64 - 1, 0, "72a47709 15474739 9f41b01f 22799a5a"),
    ],
)
def test_philox_known_answers(seed, offset, words):
    signed = torch.tensor(seed - 2**64 if seed >= 2**63 else seed)
    found = truth.philox(seed, offset), philox(signed, torch.tensor([offset]))[0].tolist()
    for answer in found:
        assert " ".join(f"{word:08x}" for word in answer) == words


def test_draws_are_the_halves_of_the_words_low_half_first():
    x = torch.arange(1, 9.0).view(1, 1, 8)
    words = truth.philox(SEED, 0)
    halves = [int(word) >> shift & 0xFFFF for word in words for shift in (0, 16)]
    for p in (0.2, 0.5, 0.8):
        kept = [0.0 if half < round(p * 65536) else i + 1 for i, half in enumerate(halves)]
        assert drop(x, p=p, rescale=False).flatten().tolist() == kept


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", DROPOUT_SHAPES, ids=str)
def test_all_layouts_equal_numpy_bit_by_bit(backend, shape, dtype):
    assert_dropout_of_all_layouts(shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["spots", "frames", "fractions"])
def test_what_a_mask_leaves_out_stays_as_it_is(backend, dtype, kind):
    assert_what_a_mask_leaves_out_stays(dtype, kind)


@pytest.mark.parametrize("gap", [32, 64, 96, 128, 160])
def test_gaps_between_ones_that_are_worked_on_with_them_stay_as_they_are(backend, gap):
    """Whole words of zeros: short gaps are cheaper to go through than to leave out."""
    x = features((2, 3, 1024))
    mask = torch.ones(2, 1024)
    mask[:, 256 : 256 + gap] = mask[1, 800 : 800 + gap] = 0
    for p in (0.5, 1.0):
        expected = true_dropout(x, SEED, p, mask, rescale=True)
        assert torch.equal(drop(x, p=p, mask=mask, granularity="element", rescale=True), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("isa", _C.available_isas())
def test_an_output_beyond_the_caches_is_that_in_place(isa, dtype, offset):
    """Large outputs are written another way."""
    before = _C.isa()
    _C.set_isa(isa)
    elements = (33 << 20) // dtype.itemsize
    memory = torch.full((elements + 2 * offset,), torch.nan, dtype=dtype)
    rows = elements // 8192
    x = features((rows, 8192), dtype).view(1, rows, 8192)
    out = memory[offset : offset + rows * 8192].view(1, rows, 8192)
    seed = torch.tensor(SEED)
    _C.static_dropout(x, out, seed, 0.5, None, None, 0, True, 1)
    _C.static_dropout(x, x, seed, 0.5, None, None, 0, True, 1)
    _C.set_isa(before)
    assert torch.equal(out, x)


@pytest.mark.parametrize("shape", [(3, 50, 6), (2, 4, 5, 7)], ids=str)
def test_channels_may_be_last(backend, shape):
    x = features(shape)
    weight = torch.rand(shape[-1], generator=torch.Generator().manual_seed(1))
    for granularity, kind in itertools.product(GRANULARITIES, (None, "coarse", "fine")):
        mask = None if kind is None else grid_mask(shape, kind, channel_dim=-1)
        first = drop(x.movedim(-1, 1), mask=mask, channel_weight=weight, granularity=granularity)
        for dim in (-1, x.ndim - 1):
            last = drop(x, mask=mask, channel_weight=weight, granularity=granularity, channel_dim=dim)
            assert torch.equal(last.movedim(-1, 1), first)


def test_what_is_dropped_depends_on_no_number_of_threads(backend):
    assert_dropout_depends_on_no_number_of_threads()


def test_the_backends_agree_on_any_seed():
    x = features((2, 3, 40))
    for seed in (0, 1, 2**32, -1, 2**63 - 1, -(2**63)):
        compiled = sdfast.static_dropout(x, seed=seed)
        with sdfast.use_backend("reference"):
            assert torch.equal(sdfast.static_dropout(x, seed=torch.tensor(seed)), compiled)
        assert torch.equal(compiled, true_dropout(x, seed, 0.5, rescale=True))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kept_values_stay_and_dropped_ones_are_zero_whatever_they_were(backend, dtype):
    assert_dropout_keeps_what_is_not_finite_or_makes_it_zero(dtype)


def test_certain_cases_are_exact(backend):
    x = features((4, 6, 50))
    assert torch.equal(drop(x, p=0.0), x) and drop(x, p=0) is not x
    assert (drop(x, p=1.0) == 0).all() and (drop(x, p=1) == 0).all()
    assert torch.equal(drop(x, mask=torch.zeros(4, 5), granularity="element", rescale=True), x)
    half = torch.zeros(4, 2)
    half[:, 0] = 1
    for granularity in GRANULARITIES:  # q is 1 on the left, 0 on the right
        y = drop(x, p=1.0, mask=half, granularity=granularity, rescale=True)
        assert (y[..., :25] == 0).all() and torch.equal(y[..., 25:], x[..., 25:])
    weight = torch.tensor([1.0, 0, 0, 1, 0, 0])
    y = drop(x, p=1.0, channel_weight=weight, rescale=True)
    assert (y[:, [0, 3]] == 0).all() and torch.equal(y[:, [1, 2, 4, 5]], x[:, [1, 2, 4, 5]])


def test_granularities_share_their_draws(backend):
    x = torch.ones(60, 5, 4, 6)
    assert not drop(x, granularity="element").flatten(2).std(2).eq(0).any()
    channel = drop(x, granularity="channel").flatten(2)
    assert (channel == channel[..., :1]).all() and not (channel == channel[:, :1]).all()
    region = drop(x, granularity="region").flatten(1)
    assert (region == region[:, :1]).all() and not (region == region[:1]).all()


def test_the_output_keeps_layout_and_an_expanded_input_is_read():
    x = features((2, 3, 4, 5)).contiguous(memory_format=torch.channels_last)
    assert drop(x).is_contiguous(memory_format=torch.channels_last)
    wide = features((2, 1, 5)).expand(2, 7, 5)
    assert torch.equal(drop(wide), drop(wide.contiguous()))


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (0, 4)], ids=str)
def test_an_empty_batch_stays_empty(backend, shape):
    x = torch.empty(shape, requires_grad=True)
    assert drop(x).shape == shape
    assert drop(x.detach(), inplace=True).shape == shape
    assert drop(x, mask=torch.ones(shape[0], *[2] * (len(shape) - 2))).shape == shape
    drop(x).sum().backward()
    assert x.grad.shape == shape


X = torch.ones(4, 6, 3, 5)
# What is refused, with which error, in which words.
REFUSED = [
    (dict(p=1.5), ValueError, "p: expected a probability from 0 to 1, got 1.5"),
    (dict(p=-0.1), ValueError, "p: .* got -0.1"),
    (dict(p=float("nan")), ValueError, "p: .* got nan"),
    (dict(p="half"), TypeError, "p: expected a number from 0 to 1, got str"),
    (dict(mask=torch.full((4, 3, 5), 1.5)), ValueError, "mask: expected values from 0 to 1, got 1.5"),
    (dict(mask=torch.full((4, 3, 5), -0.5)), ValueError, "mask: .* got -0.5"),
    (dict(mask=torch.full((4, 3, 5), torch.nan)), ValueError, "mask: .* got nan"),
    (dict(mask=torch.full((4, 3, 5), 255, dtype=torch.uint8)), ValueError, "mask: .* got 255"),
    (dict(mask=torch.ones(3, 3, 5)), ValueError, "mask: expected a batch of 4 like x, got 3"),
    (dict(mask=torch.ones(1, 3, 5)), ValueError, "mask: expected a batch of 4 like x, got 1"),
    (
        dict(mask=torch.ones(4, 3)),
        ValueError,
        r"mask: expected shape \(N, \*grid\) .* 2 grid dimensions .* got \(4, 3\)",
    ),
    (dict(mask=torch.ones(4, 2, 3, 5)), ValueError, r"mask: expected shape .* got \(4, 2, 3, 5\)"),
    (dict(mask=torch.ones(4, 3, 0)), ValueError, "mask: expected no empty dimension"),
    (dict(mask=torch.ones(4, 3, 5).int()), TypeError, "mask: expected bool, uint8 or floating-point.*int32"),
    (dict(mask=[1, 0, 1, 0]), TypeError, "mask: expected a torch.Tensor, got list"),
    (dict(mask=torch.ones(4, 3, 5, device="meta")), ValueError, "mask: expected device cpu like x, got meta"),
    (
        dict(channel_weight=torch.ones(5)),
        ValueError,
        r"channel_weight: expected shape \(6,\), one a channel, got \(5,\)",
    ),
    (dict(channel_weight=torch.ones(6, 1)), ValueError, r"channel_weight: expected shape \(6,\)"),
    (dict(channel_weight=torch.full((6,), 1.5)), ValueError, "channel_weight: expected values from 0 to 1, got 1.5"),
    (dict(channel_weight=torch.ones(6).int()), TypeError, "channel_weight: expected floating-point"),
    (dict(channel_weight=torch.ones(6, device="meta")), ValueError, "channel_weight: expected device cpu like x"),
    (dict(channel_weight=[1.0] * 6), TypeError, "channel_weight: expected a torch.Tensor, got list"),
    (dict(x=X.int()), TypeError, "x: expected float64, float32, float16 or bfloat16 features, got torch.int32"),
    (dict(x=X.to(torch.complex64)), TypeError, "x: expected float64"),
    (dict(x=X[0, 0, 0]), ValueError, r"x: expected shape \(N, C\)"),
    (dict(channel_dim=0), ValueError, "channel_dim: expected a dimension of x other than the batch"),
    (dict(channel_dim=4), ValueError, "channel_dim: .* got 4"),
    (dict(channel_dim=5), ValueError, "channel_dim: .* got 5"),
    (dict(channel_dim=-5), ValueError, "channel_dim: .* got -5"),
    (dict(seed=torch.tensor(1.0)), ValueError, r"seed: expected an int64 tensor of shape \(\) on cpu"),
    (dict(seed=torch.tensor([1, 2])), ValueError, "seed: expected an int64 tensor"),
]


def under_autograd(x, **arguments):
    return sdfast.static_dropout(x.clone().requires_grad_() if x.is_floating_point() else x, **arguments)


def through_the_dispatcher(x, **arguments):
    """A subclass takes it."""
    return sdfast.static_dropout(torch.nn.Parameter(x, requires_grad=False), **arguments)


def in_place(x, **arguments):
    return sdfast.static_dropout(x, inplace=True, **arguments)


ROUTES = (sdfast.static_dropout, in_place, under_autograd, through_the_dispatcher)


@pytest.mark.parametrize(
    ("change", "error", "message"), REFUSED, ids=[f"{i}-{next(iter(row[0]))}" for i, row in enumerate(REFUSED)]
)
def test_what_does_not_fit_is_refused_by_name_on_every_route(change, error, message):
    for backend, route in itertools.product(("cpu", "reference"), ROUTES):
        arguments = {"x": X.clone(), **change}
        before = arguments["x"].clone()
        with sdfast.use_backend(backend), pytest.raises(error, match=message):
            route(**arguments)
            pytest.fail(f"{route.__name__} on {backend} takes it")
        assert torch.equal(arguments["x"], before), f"{route.__name__} on {backend} writes before the error"


def test_bad_values_are_found_inside_a_compiled_function():
    compiled = torch.compile(lambda x, m: sdfast.static_dropout(x, mask=m), fullgraph=True, backend="aot_eager")
    compiled(X, torch.ones(4, 3, 5))
    with pytest.raises(ValueError, match="mask: expected values from 0 to 1, got 2"):
        compiled(X, torch.full((4, 3, 5), 2.0))


def test_a_device_without_kernels_is_an_error():
    with pytest.raises(sdfast.BackendError, match="no kernels"):
        sdfast.static_dropout(torch.ones(2, 3, device="meta"))


def test_values_are_not_read_where_that_would_wait_for_the_device():
    x, mask = torch.ones(4, 6, 3, device="meta"), torch.full((4, 3), 5.0, device="meta")
    with sdfast.use_backend("reference"), contextlib.ExitStack() as stack:
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(torch.Tensor, "item", None)
        assert sdfast.static_dropout(x, mask=mask, channel_weight=torch.ones(6, device="meta")).shape == x.shape


def test_strided_and_half_weights_are_taken():
    x, weight = features((5, 6, 9)), torch.rand(6, generator=torch.Generator().manual_seed(0)).half()
    spread = torch.zeros(12)
    spread[::2] = weight
    expected = true_dropout(x, SEED, 0.5, weight=weight, granularity="channel")
    for w in (weight, spread[::2], weight.double()):
        assert torch.equal(drop(contiguous(x), channel_weight=w), expected)
