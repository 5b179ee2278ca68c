"""Keeps the figures of a session and prints them at its end."""

from pathlib import Path

import pytest
import torch

from benchmarks.scoreboard import Scoreboard, columns, machine_line
from sdfast.bench import QUICK

RESULTS = Path(__file__).parent / "results"
_SCOREBOARD = pytest.StashKey[Scoreboard]()


def pytest_configure(config):
    """Have pytest-benchmark keep its JSON too; its table of seconds gives way to the ratios."""
    config.stash[_SCOREBOARD] = Scoreboard()
    option = config.option
    if not option.benchmark_save and not option.benchmark_autosave:
        option.benchmark_autosave = "bench"
        option.benchmark_storage = RESULTS.as_uri()
    option.benchmark_quiet = True
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script_method`:DeprecationWarning")


def pytest_collection_modifyitems(config, items):
    """Leave out of a quick run what it need not have."""
    if not QUICK:
        return
    left_out = [item for item in items if item.get_closest_marker("thorough")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def scoreboard(pytestconfig) -> Scoreboard:
    """Collects what the session measures."""
    machine_line()  # asks how busy the machine is before this session makes it so
    return pytestconfig.stash[_SCOREBOARD]


@pytest.fixture(autouse=True)
def _compile_afresh():
    """Compiled functions of other tests count against the limit of recompilations."""
    torch.compiler.reset()


def pytest_terminal_summary(terminalreporter, config):
    """Print the tables and write them to `benchmarks/results`."""
    scoreboard = config.stash[_SCOREBOARD]
    if not scoreboard:
        return
    write = terminalreporter.write_line
    if scoreboard.beside:
        terminalreporter.section("beside its peers")
        for line in columns(scoreboard.beside_table()):
            write(line)
    if scoreboard.curves:
        terminalreporter.section("growth")
        for line in columns(scoreboard.curves_table()):
            write(line)
    terminalreporter.section("reach / aim / measured")
    for line in columns(scoreboard.judged_table()):
        write(line)
    write(machine_line())
    scoreboard.save(RESULTS)
    write(f"kept in {RESULTS}")
