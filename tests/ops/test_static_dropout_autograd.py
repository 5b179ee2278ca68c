"""static_dropout under everything that torch does with an operation: autograd, compile, checkpoints, vmap, autocast."""

import threading

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import sdfast
from sdfast.backends import reference as torch_reference
from tests import truth

SEED = torch.tensor(987654321)
MASK = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.rand(6, generator=torch.Generator().manual_seed(1))
OPERATORS = torch.ops.sdfast

backends = pytest.mark.parametrize("backend", ["cpu", "reference"])


@pytest.fixture(autouse=True)
def forced(request):
    with sdfast.use_backend(request.getfixturevalue("backend") if "backend" in request.fixturenames else "cpu"):
        yield


def features(grad=False, dtype=torch.float32):
    x = torch.randn(4, 6, 2, 3, generator=torch.Generator().manual_seed(2)).to(dtype)
    return x.requires_grad_() if grad else x


def drop(x, inplace=False, **kwargs):
    settings = dict(mask=MASK, channel_weight=WEIGHT, seed=SEED, rescale=True, granularity="element", p=0.9, **kwargs)
    return sdfast.static_dropout(x, inplace=inplace, **settings)


def expected_gradient():
    """Return the derivative of the sum of the output: 0 where dropped, else the factor of rescaling."""
    gone, factor = truth.dropped((4, 6, 2, 3), int(SEED), 0.9, MASK.numpy(), WEIGHT.numpy())
    return torch.from_numpy(factor * ~gone)


@backends
@pytest.mark.parametrize("inplace", [False, True])
def test_gradient_is_the_same_operation(backend, inplace):
    x = features(grad=True)
    y = drop(x * 1, inplace=inplace)
    torch.testing.assert_close(y, drop(x.detach()))
    y.sum().backward()
    assert torch.equal(x.grad, expected_gradient())


@pytest.mark.parametrize("route", ["eager", "in place", "operator", "in-place operator", "func"])
def test_backward_runs_where_forward_did_in_any_thread(route, monkeypatch):
    """On GPUs autograd runs in threads of its own, which know nothing of `use_backend`."""
    calls, kernel = [], torch_reference.static_dropout
    monkeypatch.setattr(torch_reference, "static_dropout", lambda *args: calls.append(0) or kernel(*args))
    x = features(grad=True)
    args = (SEED, 0.9, MASK, WEIGHT, 0, True, 1)
    with sdfast.use_backend("reference"):
        if route == "func":
            y, backward = torch.func.vjp(drop, x.detach())
        else:
            y = x * 1
            if route == "in-place operator":
                OPERATORS.static_dropout_(y, *args)
            else:
                y = OPERATORS.static_dropout(y, *args) if route == "operator" else drop(y, inplace=route == "in place")
            backward = y.backward
    calls.clear()
    thread = threading.Thread(target=backward, args=(torch.ones_like(y),))
    thread.start()
    thread.join()
    assert len(calls) == 1


@backends
def test_gradgradcheck(backend):
    x = features(dtype=torch.float64).requires_grad_()
    for route in (drop, lambda x: OPERATORS.static_dropout(x, SEED, 0.9, MASK, WEIGHT, 0, True, 1)):
        assert torch.autograd.gradcheck(route, (x,))
        assert torch.autograd.gradgradcheck(route, (x,))


@backends
@pytest.mark.parametrize("requires_grad", [False, True])
def test_operators_pass_opcheck(backend, requires_grad):
    for x in (features(), features(dtype=torch.bfloat16)):
        x = x.requires_grad_(requires_grad)
        for args in [(MASK, WEIGHT, 0, True, 1), (None, None, 2, False, -1), (MASK[:, None] > 0.5, None, 2, False, 1)]:
            torch.library.opcheck(OPERATORS.static_dropout, (x, SEED, 0.5, *args))
            torch.library.opcheck(OPERATORS.static_dropout_, (x * 1, SEED, 0.5, *args))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_backward_keeps_nothing_but_the_seed(inplace, dtype):
    kept = []
    mask, weight = MASK.half(), WEIGHT.half()
    pack = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t)
    x = features(dtype=dtype).requires_grad_() * 1
    with pack:
        sdfast.static_dropout(x, mask=mask, channel_weight=weight, rescale=True, inplace=inplace)
    owned = {mask.data_ptr(), weight.data_ptr()}
    own = [t for t in kept if t.data_ptr() not in owned]
    assert [(t.dtype, t.shape) for t in own] == [(torch.int64, ())], "0 bytes besides the seed"
    kept.clear()
    with pack:
        sdfast.static_dropout(x, inplace=inplace)
    assert [(t.dtype, t.shape) for t in kept] == [(torch.int64, ())]


def test_a_mask_changed_before_backward_is_an_error():
    x, mask = features(grad=True), MASK.clone()
    y = sdfast.static_dropout(x, mask=mask)
    mask.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# In place, as torch's own operations behave.


@pytest.mark.parametrize("operator", [False, True])
def test_in_place_counts_versions(operator):
    x = features() * 1
    before = x._version
    if operator:
        OPERATORS.static_dropout_(x, SEED, 0.5, None, None, 0, True, 1)
    else:
        drop(x, inplace=True)
    assert x._version > before
    base = features(grad=True)
    saved = base.exp()  # keeps its output
    if operator:
        OPERATORS.static_dropout_(saved, SEED, 0.5, None, None, 0, True, 1)
    else:
        drop(saved, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        saved.sum().backward()


@backends
def test_in_place_on_a_leaf_that_requires_grad_is_an_error(backend):
    for x in (features(grad=True), torch.nn.Parameter(features())):
        before = x.detach().clone()
        for target in (x, x[1:]):
            with pytest.raises(RuntimeError, match="leaf that requires grad"):
                sdfast.static_dropout(target, inplace=True)
        with pytest.raises(RuntimeError, match="leaf"):
            OPERATORS.static_dropout_(x, SEED, 0.5, None, None, 0, True, 1)
        assert torch.equal(x, before)
        with torch.no_grad():
            assert (sdfast.static_dropout(x, inplace=True) == 0).any()


@backends
def test_in_place_on_an_expanded_view_is_an_error(backend):
    x = torch.ones(4, 1, 2, 3)
    with pytest.raises(RuntimeError, match="expanded view of shape"):
        drop(x.expand(4, 6, 2, 3), inplace=True)
    with pytest.raises(RuntimeError, match="expanded view"):
        OPERATORS.static_dropout_(x.expand(4, 6, 2, 3), SEED, 0.5, None, None, 0, True, 1)
    assert (x == 1).all()


def test_in_place_on_a_view_reaches_its_base():
    x = features(grad=True)
    base = x * 1
    sdfast.static_dropout(base[:2], p=1.0, inplace=True)
    assert (base[:2] == 0).all() and torch.equal(base[2:], x[2:])
    base.sum().backward()
    assert (x.grad[:2] == 0).all() and (x.grad[2:] == 1).all()


def test_inference_mode():
    with torch.inference_mode():
        x = features()
        assert (drop(x, inplace=True) == 0).any()
        assert drop(x).is_inference()
    with pytest.raises(RuntimeError, match="inference"):
        drop(x, inplace=True)


# Compiled.


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_compiles_in_one_graph(inplace, grad):
    def function(x, mask):
        return sdfast.static_dropout(x * 3, 0.9, mask=mask, seed=SEED, rescale=True, inplace=inplace) * 2

    compiled = torch.compile(function, fullgraph=True)
    for mask in (MASK, 1 - MASK):
        x = features(grad)
        assert torch.equal(compiled(x, mask), function(x, mask))
        if grad:
            gradients = [torch.autograd.grad(f(x, mask).square().sum(), x)[0] for f in (compiled, function)]
            torch.testing.assert_close(*gradients)


def test_compiled_calls_drop_anew_and_follow_manual_seed():
    compiled = torch.compile(lambda x: sdfast.static_dropout(x), fullgraph=True)
    x = torch.ones(40, 50, 16)
    torch.manual_seed(0)
    calls = [compiled(x) == 0 for _ in range(3)]
    for i in range(3):
        assert abs(calls[i].double().mean() - 0.5) < 4 * 0.5 / x.numel() ** 0.5
        assert not torch.equal(calls[i], calls[i - 1])
    torch.manual_seed(0)
    assert torch.equal(compiled(x) == 0, calls[0])


def test_compiled_in_place_changes_the_input():
    compiled = torch.compile(lambda x: sdfast.static_dropout(x, seed=SEED, inplace=True), fullgraph=True)
    x = features()
    result = compiled(x)
    assert torch.equal(x, sdfast.static_dropout(features(), seed=SEED)) and torch.equal(result, x)


@pytest.mark.parametrize(
    "x", [features(grad=True), torch.ones(4, 1, 2, 3).expand(4, 6, 2, 3)], ids=["leaf", "expanded"]
)
def test_compiled_in_place_refuses_what_eager_refuses(x):
    compiled = torch.compile(lambda x: sdfast.static_dropout(x, inplace=True), fullgraph=True, backend="aot_eager")
    with pytest.raises(RuntimeError):
        compiled(x)


# Recomputed.


@backends
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_recomputes_the_same(backend, reentrant):
    def block(x):
        return sdfast.static_dropout(x.exp()).square()

    gradients = []
    for run in (block, lambda x: checkpoint(block, x, use_reentrant=reentrant)):
        torch.manual_seed(3)
        x = features(grad=True)
        y = run(x)
        torch.rand(7)  # moves the generator on before the recomputation
        y.sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients) and (gradients[0] == 0).any()


def test_compiled_checkpoint_recomputes_the_same():
    def function(x):
        return checkpoint(lambda x: sdfast.static_dropout(x.exp()).square(), x, use_reentrant=False)

    x = features(grad=True)
    y = torch.compile(function, fullgraph=True)(x)
    y.sum().backward()
    # d/dx of (2 e^x)^2 is twice itself; a mask drawn anew would put zeros elsewhere.
    torch.testing.assert_close(x.grad, 2 * y.detach())
    assert (y == 0).any()


# Transformed.


@pytest.mark.parametrize("inplace", [False, True])
def test_vmap_draws_for_each_example(inplace):
    def function(x):
        return sdfast.static_dropout(x * 1, inplace=inplace)

    x = torch.ones(5, 4, 6, 50)
    torch.manual_seed(0)
    y = torch.func.vmap(function, randomness="different")(x)
    assert all(not torch.equal(y[i], y[j]) for i in range(5) for j in range(i))
    y = torch.func.vmap(function, randomness="same")(x)
    assert all(torch.equal(y[i], y[0]) for i in range(5)) and (y == 0).any()
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(sdfast.static_dropout)(x)


def test_vmap_equals_a_loop_with_every_argument_batched():
    x = torch.randn(4, 6, 5, 8, generator=torch.Generator().manual_seed(0))  # examples at dimension 2
    seeds, masks = torch.arange(5), torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(1))

    def function(x, seed, mask):
        return sdfast.static_dropout(x, seed=seed, mask=mask, channel_weight=WEIGHT, granularity="element")

    mapped = torch.func.vmap(function, in_dims=(2, 0, 0), out_dims=2)(x, seeds, masks)
    loop = torch.stack([function(x[:, :, i], seeds[i], masks[i]) for i in range(5)], dim=2)
    assert torch.equal(mapped, loop)
    mapped = torch.func.vmap(function, in_dims=(None, 0, None), out_dims=2)(x[:, :, 0], seeds, masks[0])
    assert torch.equal(mapped, torch.stack([function(x[:, :, 0], seed, masks[0]) for seed in seeds], dim=2))


def test_functional_gradients_and_per_sample_gradients():
    x = features()
    assert torch.equal(torch.func.grad(lambda x: drop(x).sum())(x), expected_gradient())
    seeds = torch.arange(4)

    def loss(w, x, seed):
        return (sdfast.static_dropout(x[None] * w, seed=seed)).square().sum()

    w = torch.tensor(3.0)
    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(w, x, seeds)
    torch.testing.assert_close(mapped, torch.stack([torch.func.grad(loss)(w, x[i], seeds[i]) for i in range(4)]))


@pytest.mark.parametrize("inplace", [False, True])
def test_forward_mode_carries_tangents(inplace):
    x, tangent = features(), torch.full((4, 6, 2, 3), 2.0)
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(drop(forward_ad.make_dual(x, tangent) * 1, inplace=inplace))
        assert torch.equal(dual.primal, drop(x)) and torch.equal(dual.tangent, drop(tangent))
    primal, out = torch.func.jvp(lambda x: drop(x * 1, inplace=inplace), (x,), (tangent,))
    assert torch.equal(primal, drop(x)) and torch.equal(out, drop(tangent))


@pytest.mark.parametrize("inplace", [False, True])
def test_autocast_keeps_the_dtype_that_it_is_given(inplace):
    with torch.autocast("cpu", torch.bfloat16):
        hidden = torch.nn.functional.linear(features(grad=True), torch.ones(5, 3))
        y = sdfast.static_dropout(hidden, inplace=inplace)
        assert y.dtype == hidden.dtype == torch.bfloat16
        assert drop(features()).dtype == torch.float32
    y.float().sum().backward()


def test_negative_views_are_read_with_their_sign():
    x = torch.complex(torch.zeros(4, 6), torch.ones(4, 6)).conj().imag
    assert x.is_neg()
    y = sdfast.static_dropout(x, seed=SEED, rescale=False)
    assert torch.equal(y, sdfast.static_dropout(x.clone().resolve_neg(), seed=SEED, rescale=False))
    assert set(y.unique().tolist()) == {-1.0, 0.0}


def test_fakes_know_shape_dtype_and_strides():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(2, 3, 4, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        y = sdfast.static_dropout(x)
        assert y.shape == x.shape and y.dtype == x.dtype and y.stride() == x.stride()
        assert sdfast.static_dropout(x, inplace=True) is x
