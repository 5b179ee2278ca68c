"""How the pages are built: `make docs`, with warnings as errors."""

from typing import Any

import sdfast

project = "sdfast"
author = "the authors of sdfast"
version = release = sdfast.__version__
html_title = f"sdfast {version}"

# Pages in Markdown, as the README and all else here is; the reference comes from the docstrings.
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages; whether pages and pictures are there is checked
default_role = "code"  # docstrings quote code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # a field that is described in its class is not listed again

html_theme = "furo"
html_static_path = ["_static"]
html_favicon = html_logo = "_static/sdfast.svg"
html_show_sphinx = False


def _documented_above(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leave a name that `sdfast` itself has to its page."""
    above = app.env.docname != "reference/sdfast" and name in sdfast.__all__ and member is getattr(sdfast, name)
    return True if above else None


def setup(app: Any) -> None:
    """Connect what Sphinx asks while it reads the docstrings."""
    app.connect("autodoc-skip-member", _documented_above)
