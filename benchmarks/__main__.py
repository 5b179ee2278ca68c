"""`python -m benchmarks`: measure, and end with whether every reach is met."""

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.build import ROOT, environment_of, provide
from benchmarks.compare import compare
from benchmarks.counters import count
from benchmarks.logbook import Logbook
from benchmarks.outcome import MISSED, NOT_SHOWN, gather
from benchmarks.page import terminal, write, write_page
from benchmarks.supervise import measure
from benchmarks.warm_up import warm_up

FOLDER = Path(__file__).parent
BUDGET = {"cuda": 420.0, "cpu": 3600.0}  # seconds after which nothing new is begun
_LEAST = 30.0  # seconds that Nsight Compute is given at least
# Has glibc take large blocks from the heap, and never give it back.
_WARM = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}


def main(argv: list[str] | None = None) -> int:
    """Run as the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure every operation beside its peers and what the device can do.",
        epilog="Exit code: 0 every reach is met, 1 one is missed or an answer was wrong, 3 none is missed, but for one "
        "the rounds do not agree (noise) or it was not run. With --rehearse: 0 all has run and was right.",
    )
    add = parser.add_argument
    add("--device", default="cpu", help="cpu (default), cuda, cuda:1, ...")
    add("--rehearse", action="store_true", help="do on the CPU what a GPU would be asked, tiny, and judge nothing")
    add("--quick", action="store_true", help="fewer rounds and checks, and only what has a target")
    add("-k", "--only", default="", metavar="TEXT", help="only what has this text in its name, such as bfloat16")
    add("--seconds", type=float, help="begin nothing new after this time (default: an hour; on a GPU 7 minutes)")
    add("--seed", type=int, help="of the features (default: a fresh one, which is kept)")
    add("--out", type=Path, metavar="FILE", help="the JSON to write (default: in results); a page and a log lie beside")
    add("--last", action="store_true", help="do not measure; take the figures that the last run has kept")
    add("--page", action="store_true", help="write benchmarks/RESULTS.md and its plots")
    add("--site", type=Path, metavar="DIR", help="on a GPU: measure the package that is installed in a folder")
    add("--compare", metavar="REV", help="instead, time this tree against another revision of it, in turn, on the CPU")
    args = parser.parse_args(argv)
    if args.compare is not None:
        return compare(args.compare, args.only)
    kind, which = ("cpu", "") if args.device == "cpu" and not args.rehearse else ("cuda", "-gpu")
    out = args.out or FOLDER / "results" / f"{'rehearsal' if args.rehearse else f'latest{which}'}.json"
    if out.suffix == ".md":
        parser.error(f"--out: expected a name for the JSON, got {out}; the page beside it ends in .md")
    log = Logbook(out.with_suffix(".log"))
    if not args.last:
        settings = {"kind": kind, "device": args.device, "rehearsal": args.rehearse, "quick": args.quick}
        settings |= {"only": args.only, "seed": secrets.randbelow(2**31) if args.seed is None else args.seed}
        if fault := _run(settings, args.seconds or BUDGET[kind], log, args.site):
            print(fault, file=sys.stderr)
            return NOT_SHOWN
    if not log.events:
        print(f"there are no figures in {log.path}: run without --last", file=sys.stderr)
        return MISSED
    kept = gather(log)
    write(kept, out)
    print(*terminal(kept), f"kept in {out}", sep="\n")
    if args.page:
        written = write_page(kept, FOLDER / f"RESULTS{which}.md", FOLDER / f"plots{which}")
        print(*(f"wrote {path}" for path in written), sep="\n")
    return kept["status"]


def _run(settings: dict, seconds: float, log: Logbook, site: Path | None = None) -> str | None:
    """Measure, with a logbook begun afresh; return why nothing can be."""
    if site is not None and not (site / "sdfast" / "__init__.py").is_file():
        return f"--site: expected a folder with the package sdfast in it, got {site}"
    gpu, deadline = settings["kind"] == "cuda" and not settings["rehearsal"], time.time() + seconds
    if gpu and not torch.cuda.is_available():
        return "there is no GPU here that torch can use, so nothing is measured; --rehearse does all but that"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NOT_SHOWN))  # and so not without ending what measures
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.path.write_text("", encoding="utf-8")
    log.reload()
    log.add("settings", **settings)
    with tempfile.TemporaryDirectory(prefix="sdfast-benchmarks-") as place:
        where = ROOT
        if site is not None:
            where = site.resolve()
        elif settings["kind"] == "cuda":
            where = provide(gpu and bool(torch.version.cuda), settings["rehearsal"], Path(place), log)
        environment = environment_of(where)
        if settings["kind"] == "cuda":
            environment.pop("SDFAST_BACKEND", None)
        if settings["rehearsal"]:
            environment["TRITON_INTERPRET"] = "1"
        asked = {**settings, "where": str(where), "logbook": str(log.path.resolve()), "deadline": deadline}
        if gpu:
            log.add("warmed_up", seconds=warm_up({**asked, "warm": False}, where, environment, Path(place)))
        measure({**asked, "warm": False}, log, where, environment)
        left = deadline - time.time()
        if gpu and not settings["only"] and left > _LEAST:
            kernels, fault = count(where, environment, left)
            log.add("counters", kernels=kernels, fault=fault)
        if settings["kind"] == "cpu":
            measure({**asked, "warm": True}, log, where, environment | _WARM)
    return None


if __name__ == "__main__":
    sys.exit(main())
