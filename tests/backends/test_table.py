"""Which backend runs, and what is said when one is missing."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import sdfast
from sdfast import ops
from sdfast.backends import table as backends
from sdfast.backends.selection import ALL, CHOICES, SMALL


def in_a_process(code, **env):
    command, environment = [sys.executable, "-c", code], {**os.environ, **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_forced_backend_nests_and_ends():
    assert backends.chosen("comoments", "cpu") == "cpu"
    with sdfast.use_backend("reference"):
        assert backends.chosen("comoments", "cpu") == "reference"
        with sdfast.use_backend("cpu"):
            assert backends.chosen("comoments", "cpu") == "cpu"
        assert backends.chosen("comoments", "cpu") == "reference"
    assert backends.chosen("comoments", "cpu") == "cpu"


def test_each_operation_has_a_backend_on_each_device():
    of_samples = {"pairwise_correlation", "normal_scores", "kraskov", "standard_scores"}
    of_sums = {"comoments", "channel_bias", "update_comoments"}
    of_groups = {"leave_one_out", "correlations_without", "deviation_sums", "resampled_correlations"}
    assert set(backends.TABLE) == of_samples | of_sums | of_groups | {"static_dropout"}
    for served in backends.TABLE.values():
        assert set(served) == {"cpu", "cuda"}
        rows = [served["cuda"]] if isinstance(served["cuda"], str) else [choice.backend for choice in served["cuda"]]
        assert {served["cpu"], *rows} <= set(backends.names())
    assert backends.chosen("static_dropout", "cuda") == "triton"


@pytest.fixture
def installed(monkeypatch):
    """Return a function that leaves only some GPU backends installed."""

    def only(*names):
        def load(name):
            if name not in names:
                raise sdfast.BackendError(name)

        monkeypatch.setattr(backends, "load", load)
        backends._can_be_loaded.cache_clear()

    yield only
    backends._can_be_loaded.cache_clear()


def test_each_row_of_the_selection_says_why_and_the_last_serves_all_that_is_left():
    for choices in CHOICES.values():
        assert all(choice.why and choice.backend in ("triton", "cuda") for choice in choices)
        assert choices[-1].backend == "triton", "it serves GPUs of AMD, too"
        assert set(choices[-1].dtypes) == set(ALL) and choices[-1].most is None


def test_dtype_and_size_choose_among_gpu_backends_that_are_there(installed):
    def chosen(operation, dtype, size):
        return backends.chosen(operation, "cuda", dtype, size)

    installed("triton", "cuda")
    for operation in ("comoments", "channel_bias", "static_dropout"):
        assert chosen(operation, torch.float32, SMALL) == chosen(operation, torch.bfloat16, 1) == "cuda"
        assert chosen(operation, torch.float32, SMALL + 1) == chosen(operation, torch.float16, 10**9) == "triton"
    for size in (1, 10**9):
        assert chosen("pairwise_correlation", torch.float32, size) == "cuda"
        assert chosen("pairwise_correlation", torch.float64, size) == "triton"
        assert chosen("update_comoments", torch.float64, size) == "triton"
    installed("triton")
    for operation in CHOICES:
        assert chosen(operation, torch.float32, 1) == "triton", "the extension is optional"
    installed("cuda")
    assert chosen("channel_bias", torch.float32, 1) == "cuda"
    assert chosen("channel_bias", torch.float32, 10**9) == "triton", "which is then said to be missing"


def test_the_route_chooses_by_the_features(monkeypatch, installed):
    installed("triton", "cuda")
    seen = []

    def load(name):
        return SimpleNamespace(channel_bias=lambda x, n: seen.append(name))

    monkeypatch.setattr(backends, "load", load)
    for shape, dtype in (((8, 64), torch.float32), ((1024, 1024), torch.float32), ((2, 10**6), torch.bfloat16)):
        x = SimpleNamespace(is_cpu=False, device=SimpleNamespace(type="cuda"), dtype=dtype)
        x.numel, x.element_size = torch.Size(shape).numel, lambda dtype=dtype: dtype.itemsize
        backends.run("channel_bias", lambda *_: None, (x, 1))
    assert seen == ["cuda", "triton", "triton"]


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_a_gpu_backend_refuses_the_cpu(monkeypatch, name):
    monkeypatch.setattr(backends, "load", lambda name: None)
    x = torch.ones(3, 2)
    calls = (
        lambda: sdfast.channel_bias(x, x),
        lambda: sdfast.channel_bias(x.requires_grad_(), x),
        lambda: sdfast.pairwise_correlation(x.detach(), x.detach()),
        lambda: sdfast.static_dropout(x.detach()),
    )
    with sdfast.use_backend(name):
        for call in calls:
            with pytest.raises(sdfast.BackendError, match=f"'{name}': its kernels run on GPUs, got tensors on the CPU"):
                call()
        assert backends.chosen("comoments", "cuda") == name


def test_what_a_forced_backend_has_no_kernel_of_plain_torch_does(monkeypatch):
    monkeypatch.setattr(backends, "_fits", lambda *_: True)  # as on a GPU
    grouped = 1 + torch.rand(6, 4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    operations = (
        lambda: ops.leave_one_out(grouped),
        lambda: ops.deviation_sums(grouped[0]),
        lambda: ops.normal_scores(grouped[0, :, 0]),
        lambda: ops.kraskov(grouped[0, :, 0], grouped[1, :, 0], neighbors=2),
    )
    for operation in operations:
        expected = operation()
        with sdfast.use_backend("triton"):
            torch.testing.assert_close(operation(), expected, rtol=1e-12, atol=1e-12)


def test_the_cpu_backend_refuses_a_gpu():
    with sdfast.use_backend("cpu"), pytest.raises(sdfast.BackendError, match="run on the CPU, got tensors on cuda"):
        backends.chosen("comoments", "cuda")


def test_gpus_of_amd_are_served_by_triton(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setitem(backends.TABLE, "comoments", {"cuda": "cuda"})
    monkeypatch.setattr(backends, "load", lambda name: None)
    assert backends.chosen("comoments", "cuda") == "triton"
    with sdfast.use_backend("cuda"), pytest.raises(sdfast.BackendError, match="NVIDIA GPUs; 'triton' runs on those of"):
        backends.chosen("comoments", "cuda")


def test_missing_cuda_kernels_say_how_to_get_them():
    code = "import sys, sdfast\nsys.modules['sdfast._cuda'] = None\nwith sdfast.use_backend('cuda'):\n    pass"
    result = in_a_process(code)
    assert result.returncode != 0 and "from source with a CUDA toolkit and SDFAST_CUDA=ON" in result.stderr


def test_unknown_backend_is_an_error():
    with (
        pytest.raises(sdfast.BackendError, match="expected one of cpu, triton, cuda, reference, got 'cuda9'"),
        sdfast.use_backend("cuda9"),
    ):
        pass


def test_environment_forces_a_backend():
    code = "import sdfast.backends as b; print(b.chosen('comoments', 'cpu'))"
    assert in_a_process(code, SDFAST_BACKEND="reference").stdout.strip() == "reference"


def test_a_missing_extension_is_an_error_and_never_a_slow_path():
    code = (
        "import sys, torch, sdfast\n"
        "sys.modules['sdfast._C'] = None\n"
        "sdfast.channel_bias(torch.randn(3, 2), torch.randn(3, 2))"
    )
    result = in_a_process(code)
    assert result.returncode != 0 and "reinstall sdfast" in result.stderr


def test_a_device_without_kernels_is_an_error():
    x = torch.empty(3, 2, device="meta")
    with pytest.raises(sdfast.BackendError, match="SDFAST_BACKEND=reference"):
        backends.run("comoments", lambda *_: None, (x,))


@pytest.mark.parametrize("isa", backends.load("cpu").available_isas())
def test_environment_forces_an_instruction_set(isa):
    assert in_a_process("import sdfast.backends as b; print(b.load('cpu').isa())", SDFAST_ISA=isa).stdout.strip() == isa


def test_unknown_instruction_set_is_an_error():
    result = in_a_process("import sdfast.backends as b; b.load('cpu')", SDFAST_ISA="mmx")
    assert result.returncode != 0 and "cannot be loaded: SDFAST_ISA: expected one of" in result.stderr


@pytest.fixture
def route(monkeypatch):
    """Return a function that takes the route to a kernel made up; what happened is in `route.calls`, in order."""
    x = torch.ones(3, 2)

    def take(backend, kernel, check=lambda *_: None):
        def noted(name, function):
            def call(*args):
                take.calls.append(name)
                assert args == (x, 7), "each is handed all arguments"
                return function(*args)

            return call

        take.calls = []
        kernels = SimpleNamespace() if kernel is None else SimpleNamespace(comoments=noted("kernel", kernel))
        monkeypatch.setattr(backends, "load", lambda name: kernels)
        backends._cpu_kernel.cache_clear()  # which keeps what was loaded
        with backends.as_forced(backend):
            return backends.run("comoments", noted("check", check), (x, 7))

    yield take
    backends._cpu_kernel.cache_clear()


def raising(error):
    def function(*_):
        raise error

    return function


def test_a_kernel_of_the_cpu_that_takes_its_arguments_is_asked_alone(route):
    assert route("cpu", lambda x, n: n + 1, check=raising(AssertionError())) == 8
    assert route.calls == ["kernel"]


@pytest.mark.parametrize("refusal", [TypeError("incompatible function arguments"), ValueError("arguments refused")])
def test_what_a_kernel_of_the_cpu_refuses_the_check_explains(route, refusal):
    with pytest.raises(ValueError, match="x: expected something else"):
        route("cpu", raising(refusal), check=raising(ValueError("x: expected something else")))
    assert route.calls == ["kernel", "check"]


@pytest.mark.parametrize("refusal", [TypeError("incompatible function arguments"), ValueError("arguments refused")])
def test_a_refusal_that_the_check_cannot_explain_stays(route, refusal):
    with pytest.raises(type(refusal), match=str(refusal)):
        route("cpu", raising(refusal))
    assert route.calls == ["kernel", "check"]


def test_a_failure_that_is_no_refusal_stays_as_it_is(route):
    with pytest.raises(MemoryError):
        route("cpu", raising(MemoryError()), check=raising(AssertionError()))
    assert route.calls == ["kernel"]


def test_other_backends_see_only_what_the_check_lets_through(route):
    assert route("reference", lambda x, n: n + 1) == 8 and route.calls == ["check", "kernel"]
    with pytest.raises(ValueError, match="no"):
        route("reference", lambda x, n: n, check=raising(ValueError("no")))
    assert route.calls == ["check"]
    with pytest.raises(ValueError, match="its own"):
        route("reference", raising(ValueError("its own")))
    assert route.calls == ["check", "kernel"]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_what_a_backend_has_not_is_left_to_be_composed(route, backend):
    assert route(backend, None, check=raising(AssertionError())) is None and route.calls == []


def test_operations_are_composed_where_a_backend_has_them_not():
    a, b = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    assert backends.run("pairwise_correlation", lambda *_: None, (a, b)) is None
    assert not hasattr(backends.load("reference"), "channel_bias")
    expected = sdfast.channel_bias(a, b).corr
    with sdfast.use_backend("reference"):
        torch.testing.assert_close(sdfast.channel_bias(a, b).corr, expected)
        assert sdfast.pairwise_correlation(a, b).shape == (4, 4)
