"""Make the gallery's pictures by running the blocks of Python that stand beside them."""

import contextlib
import io
import re
from pathlib import Path

from sphinx.application import Sphinx

FOLDER = "_made"


def _make(app: Sphinx) -> None:
    page, folder = Path(app.srcdir, "gallery.md"), Path(app.srcdir, FOLDER)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    kept = folder / "made.py"
    if kept.exists() and kept.read_text(encoding="utf-8") == code:
        return
    folder.mkdir(exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(code, str(page), "exec"), {"__name__": "gallery"})
    kept.write_text(code, encoding="utf-8")  # last: pictures are whole or made again


def setup(app: Sphinx) -> dict[str, bool]:
    """Make them before pages are read."""
    app.connect("builder-inited", _make)
    return {"parallel_read_safe": True}
