"""This tree against another revision of it: both built the same way, and timed in turn in one run.

Each has a process of its own, as no process can import two of them. Only one is at work at a time.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

import torch

from benchmarks.build import ROOT, install
from benchmarks.device import Device
from benchmarks.outcome import columns, machine_line
from sdfast.bench import OPERATIONS, SECONDS, interleave

THIS = "this tree"
BAD_REVISION = 2
_NOISE = 0.25  # of the median, between the quartiles


class Tree:
    """A process that has imported the tree installed in a folder, and answers each line of JSON with one."""

    def __init__(self, site: Path):
        # Without site-packages' hooks (-S): an editable install would come before any path.
        paths = [site, Path(torch.__file__).parents[1], sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(map(str, paths)))}
        script, pipes = Path(__file__).with_name("compare_worker.py"), dict.fromkeys(("stdin", "stdout"), PIPE)
        command = [sys.executable, "-S", str(script), str(ROOT / "sdfast" / "bench"), str(site)]
        self._process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def ask(self, **question) -> dict:
        """Return the answer to a question; see `compare_worker` for both."""
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of a tree has ended with {self._process.wait()}")
        return json.loads(line)

    def sample(self, calls: int = 1) -> float:
        """Return the seconds of each of some calls in a row."""
        return self.ask(sample=calls)["seconds"]

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.communicate()


def compare(revision: str, only: str = "") -> int:
    """Print how a revision fares at the operations that have a text in their name, and return an exit code."""
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "--verify", f"{revision}^{{commit}}"]
    found = subprocess.run(asked, capture_output=True, text=True)
    if found.returncode:
        print(f"--compare: {revision!r} is no revision of {ROOT}", file=sys.stderr)
        return BAD_REVISION
    commit, trees = found.stdout.strip(), {}
    with tempfile.TemporaryDirectory(prefix="sdfast-compare-") as folder, ExitStack() as stack:
        tree, archive = Path(folder) / "tree", f"{folder}/tree.tar"
        subprocess.run(["git", "-C", str(ROOT), "archive", "-o", archive, commit], check=True)
        shutil.unpack_archive(archive, tree)
        for name, source in ((THIS, ROOT), (commit, tree)):
            print(f"building {name}", file=sys.stderr)
            site = Path(folder) / f"site-{len(trees)}"
            if fault := install(source, site, SDFAST_CUDA="OFF"):
                raise RuntimeError(f"{name} cannot be built: {fault}")
            trees[name] = Tree(site)
            stack.callback(trees[name].close)
        rows = [("operation", f"its time / {THIS}", "half of the rounds", "min to max", "rounds", "")]
        for name in filter(lambda name: only in name, OPERATIONS):
            print(name, file=sys.stderr)
            rows.append((name, *judge(trees, name, commit)))
    machine = machine_line({"machine": Device().describe()})
    print(*columns(rows), machine, f"{commit} against {THIS}: above 1, {THIS} is faster", sep="\n")
    return 0


def judge(trees: Mapping[str, Tree], name: str, commit: str, seconds: float = SECONDS) -> tuple[str, ...]:
    """Check an operation in both trees, time it in turn and return the cells of its row."""
    ready = {tree: process.ask(prepare=name).get("fault") for tree, process in trees.items()}
    if any(ready.values()):
        return "", "", "", "", "; ".join(f"{tree}: {fault}" for tree, fault in ready.items() if fault)
    samples = {tree: process.sample for tree, process in trees.items()}
    ratio = interleave(samples, clock=lambda sample, calls: sample(calls), seconds=seconds).ratio(commit, THIS)
    low, high = ratio.quartiles
    told = "" if low <= 1 <= high else "faster" if low > 1 else "SLOWER"
    told = "noise" if high - low > _NOISE * ratio.median else told
    ends = f"{min(ratio.values):.2f} to {max(ratio.values):.2f}"
    return f"{ratio.median:.3f}x", f"{low:.3f} to {high:.3f}", ends, str(len(ratio.values)), told
