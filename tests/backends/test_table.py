"""Which backend runs, and what is said when one is missing."""

import os
import subprocess
import sys

import pytest
import torch

import sdfast
from sdfast.backends import table as backends


def run(code, **env):
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
    of_samples = {"pairwise_correlation", "normal_scores", "kraskov"}
    of_sums = {"comoments", "channel_bias", "update_comoments"}
    assert set(backends.TABLE) == of_samples | of_sums | {"static_dropout"}
    for served in backends.TABLE.values():
        assert set(served) == {"cpu", "cuda"} and set(served.values()) <= set(backends.names())
    assert backends.chosen("static_dropout", "cuda") == "triton"


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
    result = run(code)
    assert result.returncode != 0 and "from source with a CUDA toolkit and SDFAST_CUDA=ON" in result.stderr


def test_unknown_backend_is_an_error():
    with (
        pytest.raises(sdfast.BackendError, match="expected one of cpu, triton, cuda, reference, got 'cuda9'"),
        sdfast.use_backend("cuda9"),
    ):
        pass


def test_environment_forces_a_backend():
    code = "import sdfast.backends as b; print(b.chosen('comoments', 'cpu'))"
    assert run(code, SDFAST_BACKEND="reference").stdout.strip() == "reference"


def test_a_missing_extension_is_an_error_and_never_a_slow_path():
    code = (
        "import sys, torch, sdfast\n"
        "sys.modules['sdfast._C'] = None\n"
        "sdfast.channel_bias(torch.randn(3, 2), torch.randn(3, 2))"
    )
    result = run(code)
    assert result.returncode != 0 and "reinstall sdfast" in result.stderr


def test_a_device_without_kernels_is_an_error():
    x = torch.empty(3, 2, device="meta")
    with pytest.raises(sdfast.BackendError, match="SDFAST_BACKEND=reference"):
        backends.run("comoments", lambda *_: None, (x,))


@pytest.mark.parametrize("isa", backends.load("cpu").available_isas())
def test_environment_forces_an_instruction_set(isa):
    assert run("import sdfast.backends as b; print(b.load('cpu').isa())", SDFAST_ISA=isa).stdout.strip() == isa


def test_unknown_instruction_set_is_an_error():
    result = run("import sdfast.backends as b; b.load('cpu')", SDFAST_ISA="mmx")
    assert result.returncode != 0 and "cannot be loaded: SDFAST_ISA: expected one of" in result.stderr
