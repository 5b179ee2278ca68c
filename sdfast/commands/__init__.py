"""Subcommands of `sdfast`: a module each, whose `register(subparsers)` adds it and sets `run(args)`."""
