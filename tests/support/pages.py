"""The pages of the documentation and the blocks of code in them."""

import re
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")  # stands in the line above a block, and says why
SHOWN = {"bibtex", "rooms", "text"}  # languages of blocks that are no code


class Block(NamedTuple):
    """A block of code: where it begins, and why it is not run, if it is not."""

    language: str
    code: str
    line: int
    not_run: str | None

    @property
    def file(self) -> str | None:
        """The name of the file that a block of Python shows, from its first line."""
        named = re.match(r"# (\w+\.py)\n", self.code)
        return named[1] if named else None

    @property
    def commands(self) -> list[str]:
        """The lines of a block of bash, without comments; those that end in a backslash with what follows."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [text for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]


def pages() -> list[Path]:
    """Return the pages that people have written, and that have code: all but the reference."""
    own = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/NOTES.md")]
    return own + sorted(path for path in (ROOT / "docs").rglob("*.md") if "reference" not in path.parts)


def name_of(page: Path) -> str:
    """Return the path of a page from the root of the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the blocks of code of a page in order, directives left out."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    opened = None
    for number, line in enumerate(lines):
        if opened is None and line.startswith("```"):
            opened = number
        elif opened is not None and line == "```":
            language, above = lines[opened][3:], NOT_RUN.fullmatch(lines[opened - 1]) if opened else None
            code = "".join(f"{text}\n" for text in lines[opened + 1 : number])
            if not language.startswith("{"):
                found.append(Block(language, code, opened + 1, above and above[1]))
            opened = None
    assert opened is None, f"{page}: the block of line {opened + 1} does not end"
    return found
