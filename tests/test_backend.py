"""Which backend runs, and what is said when one is missing."""

import os
import subprocess
import sys

import pytest
import torch

import sdfast
from sdfast import _backend


def run(code, **env):
    command, environment = [sys.executable, "-c", code], {**os.environ, **env}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_forced_backend_nests_and_ends():
    assert _backend.chosen("cpu") == "cpu"
    with sdfast.use_backend("reference"):
        assert _backend.chosen("cpu") == "reference"
        with sdfast.use_backend("cpu"):
            assert _backend.chosen("cpu") == "cpu"
        assert _backend.chosen("cpu") == "reference"
    assert _backend.chosen("cpu") == "cpu"


def test_unknown_backend_is_an_error():
    with (
        pytest.raises(sdfast.BackendError, match="expected one of cpu, triton, reference, got 'cuda9'"),
        sdfast.use_backend("cuda9"),
    ):
        pass


def test_environment_forces_a_backend():
    code = "import sdfast._backend as b; print(b.chosen('cpu'))"
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
        _backend.select("comoments", x.device)


@pytest.mark.parametrize("isa", _backend.load("cpu").available_isas())
def test_environment_forces_an_instruction_set(isa):
    assert run("import sdfast._backend as b; print(b.load('cpu').isa())", SDFAST_ISA=isa).stdout.strip() == isa


def test_unknown_instruction_set_is_an_error():
    result = run("import sdfast._backend as b; b.load('cpu')", SDFAST_ISA="mmx")
    assert result.returncode != 0 and "cannot be loaded: SDFAST_ISA: expected one of" in result.stderr
