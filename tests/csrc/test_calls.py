"""What may happen while a CPU kernel runs: other threads write to its labels, memory runs out. Each in a process."""

import os
import subprocess
import sys

import pytest

PREPARE = """
import resource, threading, time
import torch
from sdfast import _C

torch.set_num_threads(2)
labels = torch.arange(200) % 2

def starve(spare):
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + spare
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def must_not_fit(call):
    try:
        call()
    except MemoryError:
        x = torch.randn(4, 3)
        assert _C.comoments(x, x, None, 1, 1, True)[0].eq(4).all()
        print("went on")
"""

REWRITTEN = """
x = torch.randn(1, 64, 5000).expand(200, -1, -1)
finished = 0
for attempt in range(100):
    labels.copy_(torch.arange(200) % 2)
    writer = threading.Timer(0.002, lambda: labels.fill_(2**40))
    writer.start()
    try:
        assert _C.comoments(x, x, labels, 2, 1, False)[0].eq(100 * 5000).all()
        finished += bool((labels == 2**40).all())
    except ValueError:  # they were rewritten before they were looked at
        pass
    writer.join()
    if finished == 3:
        break
assert finished == 3, "nothing was rewritten meanwhile"
print("went on")
"""

MANY_SUMS = """
x, labels = torch.randn(4, 2**20), torch.arange(4)
_C.comoments(x, x, None, 1, 1, True)  # starts the threads
starve(2**28)
must_not_fit(lambda: _C.comoments(x, x, labels, 4, 1, True))
"""

LARGE_MASK = """
x, mask, seed = torch.zeros(2, 1, 2**23, dtype=torch.bfloat16), torch.ones(2, 7), torch.tensor(0)
_C.static_dropout(x, x, seed, 0.5, None, None, 0, False, 1)
starve(2**25)
must_not_fit(lambda: _C.static_dropout(x, x, seed, 0.5, mask, None, 0, False, 1))
"""


def went_on(code: str) -> bool:
    done = subprocess.run([sys.executable, "-c", PREPARE + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout == "went on\n"


def test_labels_that_another_thread_rewrites_are_those_that_were_checked():
    assert went_on(REWRITTEN)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by the address space")
@pytest.mark.parametrize("code", [MANY_SUMS, LARGE_MASK], ids=["many sums", "a large mask"])
def test_memory_that_runs_out_in_a_thread_is_an_error_of_the_call(code):
    """And not the end of the process."""
    assert went_on(code)


FORKED = """
import os, signal
x = torch.randn(64, 256, 200)
mask = torch.rand(64, 200)

def work():
    assert _C.comoments(x, x, None, 1, 1, True)[0].eq(64).all()
    _C.static_dropout(x, torch.empty_like(x), torch.tensor(0), 0.5, mask, None, 0, False, 1)
    _C.kraskov(x[:, :, 0].double(), x[:, :, 1].double(), 3, 0)

work()  # starts the threads, which stay with the parent
assert _C.max_threads() == 2
child = os.fork()
if child == 0:
    signal.alarm(60)
    assert _C.max_threads() == 1
    work()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert _C.max_threads() == 2
work()
print("went on")
"""

MANY_THREADS = """
x, labels = torch.randn(32, 64, 50), torch.arange(32) % 2
expected = _C.comoments(x, x.flip(0), labels, 2, 1, True)
kept = _C.channel_bias(x, x.flip(0), labels, 2, 1, True, True)[1]
dropped = torch.empty_like(x)
_C.static_dropout(x, dropped, torch.tensor(3), 0.5, None, None, 0, True, 1)
wrong = []

def work():
    for _ in range(50):
        out = torch.empty_like(x)
        _C.static_dropout(x, out, torch.tensor(3), 0.5, None, None, 0, True, 1)
        moments = _C.comoments(x, x.flip(0), labels, 2, 1, True)
        corr = _C.channel_bias(x, x.flip(0), labels, 2, 1, True, True)[1]
        if not (torch.equal(out, dropped) and moments.allclose(expected) and corr.allclose(kept)):
            wrong.append(1)

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong
print("went on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_wait_for_threads_that_stayed_behind():
    """As workers of a loader and of multiprocessing are."""
    assert went_on(FORKED)


def test_many_threads_of_python_may_call_at_once():
    assert went_on(MANY_THREADS)
