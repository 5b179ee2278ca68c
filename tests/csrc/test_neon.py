"""The CPU kernels as built for 64-bit ARM, under an emulator: they pass the tests of those built for this machine."""

import shutil
import struct
import subprocess

import numpy as np
import pytest
import torch

from sdfast.backends import table as backends
from sdfast.ops import kraskov, normal_scores
from tests import truth
from tests.support import laws
from tests.support.cpu_kernels import (
    COMOMENTS_SHAPES,
    DROPOUT_SHAPES,
    assert_a_bad_value_stays_in_its_channel,
    assert_an_outlier_does_not_spoil_halves,
    assert_comoments_of_all_layouts,
    assert_constant_channels_have_no_variance,
    assert_dropout_depends_on_no_number_of_threads,
    assert_dropout_keeps_what_is_not_finite_or_makes_it_zero,
    assert_dropout_of_all_layouts,
    assert_equal_features_correlate_exactly,
    assert_large_means_lose_nothing,
    assert_what_a_mask_leaves_out_stays,
)
from tests.support.cuda_modes import CSRC, ROOT, compile_all
from tests.support.features import transposed

pytestmark = pytest.mark.slow  # everything is built, and run under an emulator

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
MASK_DTYPES = [*DTYPES, torch.uint8, torch.bool]


def numbers(*values: int) -> bytes:
    return np.array(values, dtype=np.int64).tobytes()


def memory(x: torch.Tensor) -> torch.Tensor:
    """Return the bytes from the first element to the last, gaps included."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x.as_strided((span,), (1,)).view(torch.uint8)


def tensor(x: torch.Tensor | None) -> bytes:
    content = b"" if x is None else memory(x).numpy().tobytes()
    return numbers(len(content)) + content


def layout(a: torch.Tensor, b: torch.Tensor, channel_dim: int) -> bytes:
    """Return the dtype and the sizes and strides in bytes of batch, channels and positions."""
    strides = [(s, i * a.itemsize, j * a.itemsize) for s, i, j in zip(a.shape, a.stride(), b.stride(), strict=True)]
    batch, channel, positions = strides[0], strides.pop(channel_dim), strides[1:]
    return numbers(DTYPES.index(a.dtype), *batch, *channel, len(positions), *(n for dim in positions for n in dim))


class Neon:
    """The functions of sdfast._C that a program for ARM computes."""

    def __init__(self, command: list[str]):
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, question: bytes, size: int) -> bytearray:
        self.program.stdin.write(question)
        self.program.stdin.flush()
        return bytearray(self.program.stdout.read(size))

    def comoments(self, a, b, factor, num_factors, channel_dim, pool):
        question = [numbers(0), tensor(a), tensor(b), tensor(factor), layout(a, b, channel_dim)]
        shape = (6, num_factors, a.shape[channel_dim])
        answer = self.ask(b"".join([*question, numbers(num_factors, pool)]), 8 * np.prod(shape))
        return torch.frombuffer(answer, dtype=torch.float64).view(shape)

    def static_dropout(self, x, out, seed, p, mask, weight, granularity, rescale, channel_dim):
        in_place = out.data_ptr() == x.data_ptr()
        question = [numbers(1), tensor(x), tensor(None if in_place else out), tensor(mask), tensor(weight)]
        bits = struct.unpack("i", struct.pack("f", p))
        question += [layout(x, out, channel_dim), numbers(seed.item(), *bits, granularity, rescale)]
        if mask is not None:
            kind = min(MASK_DTYPES.index(mask.dtype), len(DTYPES))
            grid = mask.squeeze(1) if mask.ndim == x.ndim else mask
            batch, *strides = (stride * mask.itemsize for stride in grid.stride())
            pairs = zip(grid.shape[1:], strides, strict=True)
            question.append(numbers(kind, batch, *(n for pair in pairs for n in pair)))
        to = memory(out)
        to.copy_(torch.frombuffer(self.ask(b"".join(question), len(to)), dtype=torch.uint8))

    def normal_scores(self, samples):
        answer = self.ask(numbers(2) + tensor(samples) + numbers(samples.shape[1]), samples.nbytes)
        return torch.frombuffer(answer, dtype=torch.float64).view(samples.shape)

    def kraskov(self, a, b, neighbors, seed):
        question = numbers(3) + tensor(a) + tensor(b) + numbers(a.shape[1], neighbors, seed)
        return torch.frombuffer(self.ask(question, 8 * a.shape[1]), dtype=torch.float64)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("aarch64-linux-gnu-g++") or pytest.skip("needs a compiler for 64-bit ARM")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static") or pytest.skip("needs qemu-aarch64")
    folder = tmp_path_factory.mktemp("neon")
    flags = "-std=c++17 -O2 -march=armv8-a -fopenmp -Wno-psabi -DSDFAST_ISA_NAME=neon"
    command = [compiler, *flags.split(), f"-I{CSRC}", "-c"]
    sources = [*CSRC.glob("core/*.cpp"), *CSRC.glob("cpu/*.cpp"), ROOT / "tests" / "csrc" / "neon_kernels.cpp"]
    for unfused in (True, False):  # as in CMakeLists.txt
        as_written = ("kraskov", "static_dropout", "static_dropout_lanes")
        chosen = [source for source in sources if (source.stem in as_written) == unfused]
        compile_all([*command, "-ffp-contract=off"] if unfused else command, chosen, folder, ".o")
    linked = folder / "kernels"
    subprocess.run([compiler, "-static", "-fopenmp", *folder.glob("*.o"), "-o", linked], check=True)
    return [emulator, str(linked)]


@pytest.fixture
def neon(program, monkeypatch):
    made = Neon(program)
    monkeypatch.setattr(backends, "load", lambda name: made)
    backends._cpu_kernel.cache_clear()  # which keeps what was loaded
    yield made
    backends._cpu_kernel.cache_clear()
    made.program.stdin.close()
    assert made.program.wait() == 0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_comoments_agree_with_numpy(neon, dtype):
    for shape in COMOMENTS_SHAPES[:11]:
        assert_comoments_of_all_layouts(shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_static_dropout_equals_numpy_bit_by_bit(neon, dtype):
    for shape in DROPOUT_SHAPES[4:]:
        assert_dropout_of_all_layouts(shape, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_a_mask_leaves_out_stays_as_it_is(neon, dtype):
    for kind in ("spots", "frames", "fractions"):
        assert_what_a_mask_leaves_out_stays(dtype, kind)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hard_cases_are_no_harder(neon, dtype):
    """Large means, values that are not finite, channels that never vary; large inputs, which threads share."""
    assert_constant_channels_have_no_variance(dtype)
    assert_equal_features_correlate_exactly(dtype)
    assert_a_bad_value_stays_in_its_channel(dtype, torch.nan)
    if dtype.itemsize > 2:
        assert_large_means_lose_nothing(dtype, outlier_first=True)
    else:
        assert_an_outlier_does_not_spoil_halves(dtype, transposed)
    assert_dropout_keeps_what_is_not_finite_or_makes_it_zero(dtype)
    assert_dropout_depends_on_no_number_of_threads()


@pytest.mark.parametrize("law", [laws.normal_pair, laws.relu_pair, laws.sparse_pair])
def test_estimators_agree_with_numpy(neon, law):
    for size in (5, 300):
        a, b = law(np.random.default_rng(size), (size, 9))
        scores = normal_scores(torch.from_numpy(a))
        np.testing.assert_allclose(scores, truth.normal_scores(a), rtol=1e-12, atol=1e-15)
        for neighbors in (3, 4, min(size - 1, 20)):
            found = kraskov(torch.from_numpy(a), torch.from_numpy(b), neighbors, 2)
            np.testing.assert_allclose(found, truth.kraskov(a, b, neighbors, 2), rtol=0, atol=1e-12)
