"""`python -m tests.fuzz --cases N --seed S`: random calls until one is wrong, and how to see it again."""

import argparse
import importlib.util
import mmap
import os
import struct
import sys
import time


def parsed(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Try the operations with random calls.")
    parser.add_argument("--cases", type=int, default=5000, metavar="N", help="how many (5000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="what they are drawn from (0)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case (0)")
    parser.add_argument("--isa", action="append", help="an instruction set to try them on (all that run here)")
    parser.add_argument("--wrong", type=int, default=5, metavar="N", help="stop after so many wrong ones (5)")
    parser.add_argument("--threads", action="store_true", help="use several threads in all cases, not in a few")
    parser.add_argument("--extension", metavar="FILE", help="a build of sdfast._C to try instead of the installed one")
    return parser.parse_args(argv)


def use_extension(path: str) -> None:
    """Have `import sdfast._C` find another build."""
    spec = importlib.util.spec_from_file_location("sdfast._C", path)
    sys.modules["sdfast._C"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def again(args: argparse.Namespace, number: int) -> str:
    """Return the command that runs one case once more."""
    isas = "".join(f" --isa {isa}" for isa in args.isa or ())
    threads = " --threads" if args.threads else ""
    extension = f" --extension {args.extension}" if args.extension else ""
    return f"python -m tests.fuzz --seed {args.seed} --first {number} --cases 1{isas}{threads}{extension}"


def work(args: argparse.Namespace, progress: mmap.mmap) -> int:
    """Run the cases that are left, noting each before it starts; return how many are wrong."""
    if args.extension:
        use_extension(args.extension)
    from tests.fuzz.cases import _C, run
    from tests.fuzz.drawing import Draw

    Draw.always_threads = args.threads
    isas, wrong = args.isa or _C.available_isas(), 0
    for number in range(progress_of(progress), args.first + args.cases):
        progress[:8] = struct.pack("q", number)
        if said := run(args.seed, number, isas):
            wrong += 1
            print(f"WRONG case {number} of seed {args.seed}: {said}\n    {again(args, number)}", flush=True)
            if wrong == args.wrong:
                return wrong
    progress[:8] = struct.pack("q", args.first + args.cases)
    return wrong


def progress_of(progress: mmap.mmap) -> int:
    """Return the number of the case at hand."""
    return struct.unpack("q", progress[:8])[0]


def main(argv: list[str] | None = None) -> int:
    """Fuzz in a process of its own, so that a crash can be told; return 1 where something is wrong."""
    args = parsed(argv)
    began = time.perf_counter()
    progress = mmap.mmap(-1, 8)  # shared with the child
    progress[:8] = struct.pack("q", args.first)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        wrong = 125
        try:
            wrong = min(work(args, progress), 124)
        finally:
            sys.stdout.flush()
            os._exit(wrong)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done = progress_of(progress) - args.first
    if status < 0 or status == 125:
        number = progress_of(progress)
        print(f"CRASH ({status}) in case {number} of seed {args.seed}\n    {again(args, number)}")
    print(f"{done} cases of seed {args.seed} from {args.first}, wrong: {status}, {time.perf_counter() - began:.0f} s")
    return int(status != 0)


if __name__ == "__main__":
    sys.exit(main())
