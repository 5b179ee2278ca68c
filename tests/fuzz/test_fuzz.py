"""Five thousand cases, and whether the fuzzer notices what is wrong."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.fuzz import cases, dropout, moments
from tests.fuzz.drawing import Draw
from tests.support.paths import ROOT

ISAS = cases._C.available_isas()


@pytest.fixture(autouse=True)
def _as_before():
    isa, threads = cases._C.isa(), torch.get_num_threads()
    yield
    cases._C.set_isa(isa)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_cases(seed):
    for number in range(1000):
        wrong = cases.run(seed, number, ISAS)
        assert wrong is None, f"{wrong}\n    python -m tests.fuzz --seed {seed} --first {number} --cases 1"


def found(operation, count=60):
    """Return what is said of the cases of one operation."""
    with np.errstate(all="ignore"):
        return [said for number in range(count) if (said := operation(Draw(7, number), iter(ISAS[-1:])))]


def without_a_sample(a, b, labels=None, **settings):
    last = slice(None, max(len(a) - 1, 1))
    return comoments(a[last], b[last], None if labels is None else labels[last], **settings)


def off_by_a_billionth(*args, **settings):
    return comoments(*args, **settings) * (1 + 1e-9)


def kept_in_place(*args):
    return args[0]


comoments = moments.comoments
static_dropout = dropout.sdfast.static_dropout


@pytest.mark.parametrize("wrong", [without_a_sample, off_by_a_billionth])
def test_wrong_sums_are_noticed(monkeypatch, wrong):
    monkeypatch.setattr(moments, "comoments", wrong)
    assert len(found(moments.at_once)) > 20


def test_updates_that_are_lost_are_noticed(monkeypatch):
    monkeypatch.setattr(moments, "update_comoments", kept_in_place)
    assert len(found(moments.in_batches)) > 50


def test_wrong_bits_and_bytes_are_noticed(monkeypatch):
    def with_another_seed(x, *args, seed, **settings):
        return static_dropout(x, *args, seed=seed ^ 1, **settings)

    def beyond(x, out, *args):
        dropped(x, out, *args)
        whole = out.as_strided((out.untyped_storage().nbytes() // out.element_size(),), (1,), 0)
        whole[-1:] = 0

    dropped = dropout._C.static_dropout
    monkeypatch.setattr(dropout.sdfast, "static_dropout", with_another_seed)
    assert len(found(dropout.dropped)) > 10
    monkeypatch.undo()
    monkeypatch.setattr(dropout._C, "static_dropout", beyond)
    assert any("a byte beside the output" in said for said in found(dropout.dropped, 200))


def test_a_crash_is_told_with_the_case_that_it_was_in(tmp_path):
    """The child dies; its parent says of what."""
    code = (
        "import os, sys; from tests.fuzz import __main__ as fuzz, cases\n"
        "cases.run = lambda seed, number, isas: os.abort() if number == 12 else None\n"
        "sys.exit(fuzz.main(['--cases', '20', '--seed', '3', '--first', '10']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "CRASH (-6) in case 12 of seed 3\n    python -m tests.fuzz --seed 3 --first 12 --cases 1" in done.stdout
