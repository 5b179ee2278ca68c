"""The command `sdfast`: subcommands, and how each way to fail ends."""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from sdfast.backends import BackendError
from sdfast.commands import ablate, bench, compare, completion, dataset, info, layers, masks, measure, ood
from sdfast.commands.errors import RunError
from sdfast.commands.like import as_before

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
COMMANDS = (measure, layers, compare, ablate, dataset, masks, ood, bench, info, completion)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and where to read more."""
        print(f"sdfast: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(BAD_INPUT)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command and all its subcommands."""
    from sdfast import __version__

    top = Parser(prog="sdfast", description="Static and dynamic information of video networks.")
    top.add_argument("--version", action="version", version=f"sdfast {__version__}")
    subparsers = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(subparsers)
    top.set_defaults(parser=top)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: done. 1: the run failed. 2: bad arguments or input. 130: interrupted. Errors are one line on stderr;
    SDFAST_DEBUG=1 shows the traceback, too.

    >>> main(["measure", "--videos", "no/such/folder"])
    2
    """
    args = parser().parse_args(argv)
    try:
        args = as_before(args, argv)
    except (ValueError, OSError) as error:
        return _fail(one_line(error), BAD_INPUT)
    return run_command(args.run, args)


def run_command(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Run a command with its arguments and return the exit code; an error is one line on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            run(args)
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED)
        except RunError as error:
            return _fail(one_line(error), FAILED)
        except (ValueError, TypeError, ImportError, OSError, BackendError) as error:
            return _fail(one_line(error), BAD_INPUT)
        except Exception as error:
            return _fail(f"{type(error).__name__}: {one_line(error)}", FAILED)
    return OK


def one_line(error: BaseException) -> str:
    """Return what an error says as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str, code: int) -> int:
    if os.environ.get("SDFAST_DEBUG") == "1":
        traceback.print_exc()
    print(f"sdfast: error: {message}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"sdfast: warning: {message}", file=sys.stderr)
