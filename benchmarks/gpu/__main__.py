"""`python -m benchmarks.gpu --out FILE`: build, check and time the GPU kernels, and end with what was reached."""

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.build import ROOT, Found, build, environment_of, probe, stage
from benchmarks.gpu.journal import Journal
from benchmarks.outcome import NOT_SHOWN

BUDGET = 420.0  # seconds after which nothing new is begun
_NEWS_EVERY = 10.0


def main(argv: list[str] | None = None) -> int:
    """Run as the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Build, check and time the GPU kernels beside their peers and the copy bandwidth of the device.",
        epilog="Exit code: 0 every reach is met, 1 one is missed or an answer was wrong, 3 none is missed, but for one "
        "the rounds do not agree (noise) or it was not run. With --device cpu: 0 all has run and was right.",
    )
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="the JSON to write; a page of tables goes beside it")
    add("--quick", action="store_true", help="fewer checks and rounds, and only what has a target")
    add("--device", default="cuda", help="cuda, cuda:1, ..., or cpu for a rehearsal that judges nothing")
    add("--only", default="", metavar="TEXT", help="only what has this text in its name, such as bfloat16")
    add("--seconds", type=float, default=BUDGET, help=f"begin nothing new after this time (default: {BUDGET:.0f})")
    add("--seed", type=int, help="of the features (default: a fresh one, which is kept)")
    args = parser.parse_args(argv)
    if args.out.suffix == ".md":
        parser.error(f"--out: expected a name for the JSON, got {args.out}; the page beside it ends in .md")
    begin = time.time()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NOT_SHOWN))  # and so not without ending what measures
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    rehearsal = args.device == "cpu"
    with tempfile.TemporaryDirectory(prefix="sdfast-gpu-") as place:
        folder, journal = Path(place), Journal(Path(place, "journal"))
        found = probe(ROOT, environment_of(ROOT))
        if fault := _cannot_run(found, rehearsal):
            print(fault, file=sys.stderr)
            return NOT_SHOWN
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.touch()  # what cannot be written is known before anything is measured
        where, environment = _provide(found, rehearsal, folder / "site", journal)
        settings = {"rehearsal": rehearsal, "device": args.device, "quick": args.quick, "only": args.only, "seed": seed}
        return _measure(settings, begin, args, journal, where, environment)


def _cannot_run(found: Found, rehearsal: bool) -> str | None:
    if found.faults["torch"]:
        return f"torch cannot be imported: {found.faults['torch']}"
    lacks = found.faults["sdfast"]
    if lacks and not _is_ours(lacks):
        return f"sdfast cannot be imported: {lacks}"
    if found.card is None and not rehearsal:
        return (
            "there is no GPU here that torch can use, so nothing is measured; "
            "--device cpu rehearses the script without one"
        )
    return None


def _is_ours(fault: str | None) -> bool:
    """Tell whether a part of sdfast itself is missing, and not something that it needs."""
    return (fault or "").startswith("ModuleNotFoundError: No module named 'sdfast")


def _provide(found: Found, rehearsal: bool, site: Path, journal: Journal) -> tuple[Path, dict[str, str]]:
    """Return where to run and in which environment: as things are, or with what is missing built in a folder."""
    wanted = ["sdfast", "sdfast.kernels"]
    if not rehearsal and found.card != [0, 0]:
        wanted.append("sdfast._cuda")
    lacking = [name for name in wanted if _is_ours(found.faults[name])]
    if not lacking:
        print(f"sdfast is used as it is found: {found.where}", flush=True)
        return ROOT, _environment(environment_of(ROOT), rehearsal)
    print(f"no {', '.join(lacking)}: building from the source tree", flush=True)
    site.mkdir()
    stage(site)
    if not rehearsal:
        _build(site, found, journal)
    environment = environment_of(site)
    again = probe(site, environment)
    if again.where is not None and not Path(again.where).is_relative_to(site):
        fault = f"another installation comes first: {again.where}; uninstall it, or install it with SDFAST_CUDA=ON"
        journal.add("build", name="sdfast", fault=fault)
    return site, _environment(environment, rehearsal)


def _build(site: Path, found: Found, journal: Journal) -> None:
    """Build with CUDA; where that fails, without, and Triton is measured all the same."""
    for cuda in (True, False) if found.card != [0, 0] else (False,):
        begin = time.time()
        fault = build(site, found.card, cuda)
        name = "with CUDA" if cuda else "without CUDA"
        journal.add("build", name=name, fault=fault, seconds=round(time.time() - begin, 1))
        print(f"built {name}" if fault is None else f"the build {name} failed: {fault}", flush=True)
        if fault is None:
            return


def _environment(environment: dict[str, str], rehearsal: bool) -> dict[str, str]:
    environment.pop("SDFAST_BACKEND", None)
    return {**environment, "TRITON_INTERPRET": "1"} if rehearsal else environment


def _measure(settings: dict, begin: float, args, journal: Journal, where: Path, environment: dict[str, str]) -> int:
    """Run the processes that measure, keep what they find while they do, and print the end of it."""
    # Only here, as they import torch: who has none was told so.
    from benchmarks.gpu.page import gather, short, write
    from benchmarks.gpu.run import measure

    written = [0.0]

    def news() -> None:
        if time.time() - written[0] > _NEWS_EVERY:
            written[0] = time.time()
            write(gather(journal, settings, time.time() - begin), args.out)

    asked = {**settings, "journal": str(journal.path), "deadline": begin + args.seconds}
    measure(asked, journal, where, environment, news)
    kept = gather(journal, settings, time.time() - begin)
    paths = write(kept, args.out)
    print("", *short(kept), *(f"wrote {path}" for path in paths), sep="\n")
    return kept["status"]


if __name__ == "__main__":
    sys.exit(main())
