"""Eager torch where freed memory is kept and used again.

By default glibc gives large temporaries back and gets them anew, so that every call pays for page faults. How it
behaves is read from the environment when a process starts, hence another process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import sdfast
from benchmarks.features import draw
from benchmarks.peers import centred
from benchmarks.timing import Spread, interleave

_KEEP = {
    "MALLOC_MMAP_MAX_": "0",  # large blocks from the heap
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),  # which is never given back
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def warm_ratio(shape: tuple[int, ...], dtype: torch.dtype, channel_dim: int, pool: bool) -> Spread:
    """Return how many times the seconds of `channel_bias` eager torch takes in a process that keeps its memory."""
    request = {"shape": shape, "dtype": str(dtype).removeprefix("torch."), "channel_dim": channel_dim, "pool": pool}
    paths = [str(Path(__file__).parents[1]), str(Path(sdfast.__file__).parents[1]), os.environ.get("PYTHONPATH")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.allocator", json.dumps(request)],
        env={**os.environ, **_KEEP, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"eager torch with a warm allocator: {done.stderr.strip().splitlines()[-1]}")
    return Spread(tuple(json.loads(done.stdout)))


def _main() -> None:
    request = json.loads(sys.argv[1])
    feats = draw(tuple(request["shape"]), getattr(torch, request["dtype"]), channel_dim=request["channel_dim"])
    args = (feats.feats_a, feats.feats_b)
    settings = {"channel_dim": request["channel_dim"], "pool": request["pool"]}
    with torch.no_grad():
        rounds = interleave(
            {"eager": lambda: centred(*args, **settings), "ours": lambda: sdfast.channel_bias(*args, **settings)},
            settle=feats.read,
        )
    print(json.dumps(rounds.ratio("eager", "ours").values))


if __name__ == "__main__":
    _main()
