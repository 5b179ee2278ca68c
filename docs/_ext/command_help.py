"""The directive `command-help`: what `sdfast --help` and `sdfast COMMAND --help` print, a section each."""

import argparse

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sdfast.commands.main import parser

WIDTH = 88  # of the lines, in characters


class CommandHelp(SphinxDirective):
    """Show the help of all subcommands, as the parser has it."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each subcommand."""
        top = parser()
        (commands,) = (x for x in top._actions if isinstance(x, argparse._SubParsersAction))
        return [self._section(name, each) for name, each in commands.choices.items()]

    def _section(self, name: str, command: argparse.ArgumentParser) -> nodes.section:
        command.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=WIDTH)
        text = command.format_help()
        title, shown = nodes.title(text=f"sdfast {name}"), nodes.literal_block(text, text, language="text")
        return nodes.section("", title, shown, ids=[f"sdfast-{name}"], names=[f"sdfast {name}"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
