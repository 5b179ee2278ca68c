"""What the house knows of torch's inside: when a kernel may be called straight, and what autograd is doing."""

import contextlib
import sys
import threading

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from sdfast import backends
from sdfast.backends import is_direct, is_eager, is_transformed

X = torch.ones(4, 3)
LABELS = torch.zeros(4, dtype=torch.int64)
NEGATED = torch.ones(4, 3, dtype=torch.complex64).conj().imag


class Passes(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_plain_tensors_are_handed_over():
    for labels in (None, LABELS):
        assert is_eager(X, X, labels) and is_direct(X, X, labels)
    assert is_eager(X, None, None)


@pytest.mark.parametrize(
    "strange", [torch.nn.Parameter(X, requires_grad=False), NEGATED, X.numpy()], ids=["subclass", "negated", "array"]
)
def test_anything_else_is_not_wherever_it_stands(strange):
    for at in range(3):
        tensors = [strange if i == at else X for i in range(3)]
        assert not is_eager(*tensors) and not is_direct(*tensors)


def test_two_features_are_needed_for_the_direct_way():
    assert not is_direct(X, None, None) and not is_direct(X, [1.0], None)


def test_the_direct_way_is_for_devices_with_kernels():
    x = torch.ones(4, 3, device="meta")
    assert is_eager(x, x, None) and not is_direct(x, x, None)


@pytest.mark.parametrize("at", [0, 1])
def test_the_direct_way_keeps_nothing_for_a_backward_pass(at):
    tensors = [X, X]
    tensors[at] = X.clone().requires_grad_()
    assert is_eager(*tensors, None) and not is_direct(*tensors, None)
    with torch.no_grad():
        assert is_direct(*tensors, None)
    assert not is_direct(*(x * 2 for x in tensors), None), "what comes of a leaf has a graph, too"


def under_vmap(function):
    seen = []
    torch.func.vmap(lambda x: seen.append(function(x)) or x)(X)
    return seen[0]


def under_grad(function):
    seen = []
    torch.func.grad(lambda x: seen.append(function(x)) or x.sum())(X)
    return seen[0]


def under_jvp(function):
    seen = []
    torch.func.jvp(lambda x: seen.append(function(x)) or x, (X,), (X,))
    return seen[0]


def under_a_dual_level(function):
    with forward_ad.dual_level():
        return function(forward_ad.make_dual(X, X))


def under_a_mode(function):
    with Passes():
        return function(X)


def under_fakes(function):
    with FakeTensorMode() as mode:
        return function(mode.from_tensor(X))


def under_compile(function):
    compiled = torch.compile(lambda x: x + (1.0 if function(x) else 0.0), fullgraph=True, backend="eager")
    return bool((compiled(X) == X + 1).all())


TRANSFORMS = (under_vmap, under_grad, under_jvp, under_a_dual_level)
OTHERS = (under_a_mode, under_fakes, under_compile)


@pytest.mark.parametrize("under", [*TRANSFORMS, *OTHERS])
def test_where_torch_looks_on_no_kernel_is_called_straight(under):
    assert not under(lambda x: is_eager(x, None, None))
    assert not under(lambda x: is_eager(X, None, None)), "even of a tensor from outside"
    assert not under(lambda x: is_direct(x, x, None))
    assert is_eager(X, None, None) and is_direct(X, X, None), "only while it does"


@pytest.mark.parametrize("under", [*TRANSFORMS, *OTHERS])
def test_only_transforms_are_transforms(under):
    assert under(lambda x: is_transformed()) == (under in TRANSFORMS)
    assert not is_transformed()


def test_a_backward_pass_is_known_in_its_own_thread_only():
    elsewhere = []

    def look(grad):
        seen.append(backends.in_backward())
        thread = threading.Thread(target=lambda: elsewhere.append(backends.in_backward()))
        thread.start()
        thread.join()

    seen, x = [], X.clone().requires_grad_()
    x.register_hook(look)
    (x * 2).sum().backward()
    assert seen == [True] and elsewhere == [False] and not backends.in_backward()


@pytest.mark.parametrize(
    ("x", "overlaps"),
    [
        (X, False),
        (X.T, False),
        (X[::2], False),
        (X[:, :1].expand(4, 1), False),
        (X[:1, :1].expand(4, 3), True),
        (X[:, :1].expand(4, 9), True),
    ],
    ids=["plain", "transposed", "strided", "expanded by nothing", "expanded", "expanded along one"],
)
def test_expanded_views_overlap_themselves(x, overlaps):
    assert backends.overlaps_itself(x) == overlaps
    compiled = torch.compile(
        lambda x: x + (1.0 if backends.overlaps_itself(x) else 0.0), fullgraph=True, backend="eager", dynamic=False
    )
    assert bool((compiled(x) == x + 1).all()) == overlaps, "traced it is decided by the strides"


def test_views_of_leaves_that_are_trained_are_told_apart():
    leaf = X.clone().requires_grad_()
    assert backends.is_view_of_trained_leaf(leaf[1:])
    assert backends.is_view_of_trained_leaf(leaf.T[1:])
    with torch.no_grad():
        assert backends.is_view_of_trained_leaf(leaf[1:])
    for other in (leaf, leaf * 2, (leaf * 2)[1:], X[1:], leaf.detach()[1:]):
        assert not backends.is_view_of_trained_leaf(other)


def test_below_autograd_nothing_is_recorded():
    x = X.clone().requires_grad_()
    with backends.below_autograd():
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


@pytest.mark.parametrize("imported", [False, True])
def test_forgetting_what_was_compiled_imports_no_compiler(monkeypatch, imported):
    resets = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    with contextlib.suppress(KeyError):
        monkeypatch.delitem(sys.modules, "torch._dynamo")
    if imported:
        monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    backends.forget_compiled()
    assert len(resets) == imported
