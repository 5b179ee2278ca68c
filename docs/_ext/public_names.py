"""The directive `public-names`: what a module exports, each name described once, on the first page that has it."""

import importlib
import inspect
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# From what most users need to what few do. The rooms that are left out, `foundation`, `bench`, `commands` and
# `kernels`, have nothing that is called from outside of the package.
MODULES = (
    "sdfast",
    "sdfast.masks",
    "sdfast.flow",
    "sdfast.training",
    "sdfast.dropout",
    "sdfast.pairs",
    "sdfast.pairs.ood",
    "sdfast.models",
    "sdfast.measurement",
    "sdfast.report",
    "sdfast.statistics",
    "sdfast.ops",
    "sdfast.backends",
)
LONGEST = 100  # characters of a constant's value that are shown


def home(name: str, thing: Any) -> str:
    """Return the first public module that exports an object by a name."""
    modules = map(importlib.import_module, MODULES)
    return next(x.__name__ for x in modules if name in x.__all__ and getattr(x, name) is thing)


class PublicNames(SphinxDirective):
    """Describe what `__all__` of a module has; the content has a line `NAME: sentence` for each constant.

    Names that another page describes are named at the end. The option `and` has names beside those of `__all__`.
    """

    required_arguments = 1
    has_content = True
    option_spec = {"and": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return what autodoc says of each name, functions and classes in the order of their names."""
        module = importlib.import_module(self.arguments[0])
        said = dict(line.split(": ", 1) for line in self.content if line.strip())
        lines, elsewhere = [f".. py:module:: {module.__name__}", ""], []
        for name in [*module.__all__, *self.options.get("and", "").split()]:
            thing = getattr(module, name)
            if name in module.__all__ and home(name, thing) != module.__name__:
                elsewhere.append(f":py:obj:`{name} <{home(name, thing)}.{name}>`")
            elif inspect.ismodule(thing):
                elsewhere.append(f":py:mod:`{thing.__name__}`")
            elif not inspect.isclass(thing) and not inspect.isroutine(thing) and name not in said:
                raise self.error(f"{module.__name__}.{name}: expected a line here, `{name}: what it is`, got none")
            else:
                lines += _described(f"{module.__name__}.{name}", thing, said)
        if elsewhere:
            lines += ["", f"Also here, and described on pages of their own: {', '.join(elsewhere)}."]
        if said:
            raise self.error(f"{module.__name__} has no constants {sorted(said)}")
        return self.parse_text_to_nodes("\n".join(lines))


def _described(path: str, thing: Any, said: dict[str, str]) -> list[str]:
    name = path.rpartition(".")[2]
    if inspect.isclass(thing):
        kind = "exception" if issubclass(thing, Exception) else "class"
        # What it has from rooms of this package is its own; what torch and Python give it is not described again.
        others = ", ".join(x.__name__ for x in inspect.getmro(thing) if not x.__module__.startswith("sdfast"))
        return [f".. auto{kind}:: {path}", "   :members:", f"   :inherited-members: {others}", ""]
    if inspect.isroutine(thing):
        return [f".. autofunction:: {path}", ""]
    value = repr(thing)
    shown = [f"   :value: {value}"] if len(value) <= LONGEST and not value.startswith("~") else []
    return [f".. py:data:: {name}", *shown, "", f"   {said.pop(name)}", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True}
