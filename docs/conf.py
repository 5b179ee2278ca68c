"""How the pages are built: `make docs`, with warnings as errors."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers

import sdfast

project = "sdfast"
author = copyright = "the authors of sdfast"
version = release = sdfast.__version__
html_title = f"sdfast {version}"

# Pages in Markdown, as the README and all else here is; the reference comes from the docstrings.
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "command_help",
    "made_pictures",
    "public_names",
]
myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!sdfast\b).*"),  # types of other packages
    ("py:class", r"sdfast\.\w+\.\w+\.\w+"),  # types of a file that its room does not export: nobody makes them by name
]
lexers["rooms"] = TextLexer()  # the plan of the rooms in CONTRIBUTING
default_role = "code"  # docstrings quote code in single backticks
smartquotes = False  # what is quoted is often code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # a field that is described in its class is not listed again

# What is loaded comes with the pages: nothing from a server of others, and so no typefaces either.
html_theme = "furo"
html_static_path = ["_static"]
html_favicon = html_logo = "_static/sdfast.svg"
html_css_files = ["pages.css"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#24699d", "color-brand-content": "#24699d"},
    "dark_css_variables": {"color-brand-primary": "#6db3e3", "color-brand-content": "#6db3e3"},
}
