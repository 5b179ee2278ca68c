"""`sdfast completion`: a script that completes commands, options and files in a shell."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import Any

from sdfast.commands.arguments import Subparsers
from sdfast.foundation import require

_SHELLS = ("bash", "zsh")
_FILES = ("FILE", "PATH", "REPORT", "VIDEO", "A", "B")


def register(subparsers: Subparsers) -> None:
    """Add `completion` to the subcommands."""
    command = subparsers.add_parser(
        "completion",
        help="print a script for the shell that completes commands, options and files",
        description="Print a script for the shell that completes the commands, options and files of sdfast. bash: "
        '`eval "$(sdfast completion bash)"` in ~/.bashrc. zsh: `sdfast completion zsh > DIR/_sdfast`, where DIR is in '
        "$fpath.",
    )
    command.set_defaults(run=run)
    command.add_argument("shell", choices=_SHELLS, help="which shell it is for")


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    shtab = require("shtab")
    _complete_files(args.parser, shtab)
    print(shtab.complete(args.parser, args.shell))


def _complete_files(parser: argparse.ArgumentParser, shtab: ModuleType) -> None:
    """Mark the arguments of a command, and of those below it, that are files or folders."""
    action: Any  # shtab reads an attribute that argparse knows nothing of
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                _complete_files(below, shtab)
        elif action.metavar == "FOLDER":
            action.complete = shtab.DIRECTORY
        elif action.metavar in _FILES or action.type is Path:
            action.complete = shtab.FILE
