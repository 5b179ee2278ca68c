"""The command line: a file a subcommand, whose `register(subparsers)` adds it and sets `run(args)`."""

from sdfast.commands.arguments import not_negative, positive
from sdfast.commands.errors import RunError
from sdfast.commands.machine import cores, try_writing
from sdfast.commands.main import Parser, main, run_command

__all__ = [
    "Parser",
    "RunError",
    "cores",
    "main",
    "not_negative",
    "positive",
    "run_command",
    "try_writing",
]
