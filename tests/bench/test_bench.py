"""`sdfast bench`: each operation is right and can be found wrong, and the table says how fast it is."""

import dataclasses
import itertools
from functools import partial

import pytest
import torch

from sdfast.bench import timing
from sdfast.bench.operations import OPERATIONS
from sdfast.bench.timing import MIN_ROUNDS, Rounds, interleave
from sdfast.commands import bench, main

CPU = torch.device("cpu")


def small(name):
    """The operation of that name on features of a few kilobytes."""
    make = OPERATIONS[name]
    sizes = {2: (40, 6), 4: (8, 6, 4, 6), 5: (4, 6, 3, 4, 6)}
    return make.func(CPU, **{**make.keywords, "shape": sizes[len(make.keywords["shape"])]})


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(timing, "MAX_ROUNDS", MIN_ROUNDS)
    operations = {name: lambda device, name=name: small(name) for name in ("co-moments, pooled", "static dropout")}
    monkeypatch.setattr(bench, "OPERATIONS", operations)
    return operations


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_right_and_can_be_wrong(name):
    operation = small(name)
    if operation.settle is not None:
        operation.settle()
    answer = operation.ours()
    assert operation.error(answer) <= operation.tolerance
    changed = answer._replace(corr=answer.corr + 1e-3) if isinstance(answer, tuple) else answer + 1e-3
    assert operation.error(changed) > operation.tolerance
    operation.eager()
    if operation.limit is not None:
        operation.limit()


@pytest.mark.parametrize("name", ["co-moments, pooled", "static dropout", "pairwise correlation"])
def test_operations_have_a_limit(name):
    make = OPERATIONS[name]
    sizes = {2: (3000, 200), 5: (8, 16, 4, 28, 28)}
    operation = make.func(CPU, **{**make.keywords, "shape": sizes[len(make.keywords["shape"])]})
    assert operation.limit_name
    operation.limit()


def test_a_table_is_printed(few, capsys):
    assert main(["bench", "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    header, *rows, machine = captured.out.splitlines()
    assert header.split()[:3] == ["operation", "features", "time"]
    assert [row.split("  ")[0] for row in rows] == list(few)
    assert all(" ms " in row and "x " in row for row in rows)
    assert machine.startswith("on cpu: ") and torch.__version__ in machine


def test_a_wrong_answer_is_not_timed_and_fails(few, capsys):
    right = small("static dropout")
    few["static dropout"] = lambda device: dataclasses.replace(right, ours=lambda: right.ours() + 1)
    assert main(["bench", "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert "WRONG" in captured.out and "wrong answers: static dropout" in captured.err


def test_threads_are_given_back(few):
    before = torch.get_num_threads()
    assert main(["bench", "--device", "cpu", "--threads", "1"]) == 0
    assert torch.get_num_threads() == before


def test_devices_are_waited_for_within_what_is_timed(monkeypatch):
    monkeypatch.setattr(timing, "MAX_ROUNDS", MIN_ROUNDS)
    calls = []
    interleave({"A": lambda: calls.append("A")}, wait=lambda: calls.append("wait"), seconds=0.0)
    assert calls[-1] == "wait" and calls.count("wait") == 2 * (MIN_ROUNDS + 1)


def test_candidates_are_timed_in_turn_and_ratios_taken_round_by_round(few):
    calls = []
    candidates = {name: partial(calls.append, name) for name in "AB"}
    interleave(candidates, settle=lambda: calls.append("settle"), seconds=0.0)
    turns = [name for name, _ in itertools.groupby(calls[calls.index("settle") :])]
    assert turns == ["settle", "A", "settle", "B"] * MIN_ROUNDS
    ratio = Rounds({"slow": (2.0, 30.0, 400.0), "fast": (1.0, 10.0, 100.0)}).ratio("slow", "fast")
    assert ratio.values == (2.0, 3.0, 4.0) and ratio.median == 3.0
