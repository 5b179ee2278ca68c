"""This tree against another revision of it: both built the same way, and timed in turn in one run.

Each has a process of its own, as no process can import two of them. Only one is at work at a time.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from benchmarks.scoreboard import columns, machine_line
from sdfast.bench import MAX_ROUNDS, MIN_ROUNDS, OPERATIONS, SECONDS, Rounds

ROOT = Path(__file__).parents[1]
THIS = "this tree"
BAD_REVISION = 2
_NOISE = 0.25  # of the median, between the quartiles


class Worker:
    """A process that has imported one of the trees and answers one line of JSON for each it is sent.

    Args:
        site: the folder into which the tree has been installed.
    """

    def __init__(self, site: Path):
        # Without site-packages' hooks (-S): an editable install would come before any path.
        paths = [site, Path(torch.__file__).parents[1], sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, paths)))}
        script = Path(__file__).with_name("compare_worker.py")
        self._process = subprocess.Popen(
            [sys.executable, "-S", str(script), str(ROOT / "sdfast" / "bench"), str(site)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **question) -> dict:
        """Return the answer to a question; see `compare_worker` for both."""
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of a tree has ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def compare(revision: str, names: Iterable[str] = tuple(OPERATIONS)) -> int:
    """Print how many times the seconds of this tree those of a revision are; return an exit code.

    Args:
        revision: anything that git can resolve.
        names: the operations to time.
    """
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "--verify", f"{revision}^{{commit}}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        print(f"--compare: {revision!r} is no revision of {ROOT}", file=sys.stderr)
        return BAD_REVISION
    commit = found.stdout.strip()
    with tempfile.TemporaryDirectory(prefix="sdfast-compare-") as folder, ExitStack() as stack:
        tree = stack.enter_context(checked_out(commit, Path(folder)))
        workers = {}
        for name, source in ((THIS, ROOT), (commit, tree)):
            print(f"building {name}", file=sys.stderr)
            site = install(source, Path(folder) / f"site-{len(workers)}")
            workers[name] = Worker(site)
            stack.callback(workers[name].close)
        rows = [("operation", f"its time / {THIS}", "half of the rounds", "min to max", "rounds", "")]
        for name in names:
            print(name, file=sys.stderr)
            rows.append((name, *judge(workers, name, commit)))
    print(*columns(rows), machine_line(), f"{commit} against {THIS}: above 1, {THIS} is faster", sep="\n")
    return 0


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out beside the repository for a while."""
    tree = folder / "tree"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def install(source: Path, site: Path) -> Path:
    """Build a tree with the tools of this environment, from nothing, and install it into a folder of its own."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    built = f"--config-settings=build-dir={site}-build"
    subprocess.run([*pip, "--no-build-isolation", built, "--target", str(site), str(source)], check=True)
    return site


def judge(workers: dict[str, Worker], name: str, commit: str) -> tuple[str, ...]:
    """Check an operation in both trees, time it in turn and return the cells of its row."""
    ready = {tree: worker.ask(prepare=name) for tree, worker in workers.items()}
    faults = [f"{tree}: {answer['fault']}" for tree, answer in ready.items() if answer.get("fault")]
    if faults:
        return "", "", "", "", "; ".join(faults)
    calls = max(answer["calls"] for answer in ready.values())
    ratio = interleaved(workers, calls).ratio(commit, THIS)
    low, high = ratio.quartiles
    told = (
        "noise" if high - low > _NOISE * ratio.median else "" if low <= 1 <= high else "faster" if low > 1 else "SLOWER"
    )
    ends = f"{min(ratio.values):.2f} to {max(ratio.values):.2f}"
    return f"{ratio.median:.3f}x", f"{low:.3f} to {high:.3f}", ends, str(len(ratio.values)), told


def interleaved(workers: dict[str, Worker], calls: int, seconds: float = SECONDS) -> Rounds:
    """Take samples in turn; who is first changes with every round."""
    taken: dict[str, list[float]] = {tree: [] for tree in workers}
    spent, rounds = 0.0, 0
    while rounds < MIN_ROUNDS or (spent < seconds and rounds < MAX_ROUNDS):
        order = list(workers) if rounds % 2 else list(reversed(workers))
        for tree in order:
            sample = workers[tree].ask(sample=calls)["seconds"]
            taken[tree].append(sample)
            spent += sample * calls
        rounds += 1
    return Rounds({tree: tuple(values) for tree, values in taken.items()})
