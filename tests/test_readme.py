"""The README is read in two minutes and leads everywhere; its blocks are run with those of all pages."""

import re

import pytest

from tests.support.pages import blocks
from tests.support.paths import ROOT, is_unpacked

PAGE = ROOT / "README.md"
README = PAGE.read_text(encoding="utf-8")
LINKS = {link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")}


def test_it_is_short():
    assert README.count("\n") <= 120


def test_it_has_what_it_promises():
    found = blocks(PAGE)
    commands = [command for block in found if block.language == "bash" for command in block.commands]
    assert {"make demo", "make test"} <= set(commands)
    assert [block for block in found if block.language == "python" and not block.not_run]
    assert [command for command in commands if command.startswith("sdfast measure ")]
    assert "10.1109/TPAMI.2024.3462291" in README
    assert "On a GPU" in README and "as sure as its videos" in README


def test_links_lead_to_files():
    missing = {link for link in LINKS if not (ROOT / link).is_file()}
    assert LINKS and not {link for link in missing if not link.endswith(".png")}
    if missing and is_unpacked():
        pytest.skip(f"the source distribution leaves out {', '.join(sorted(missing))}")
    assert not missing


def test_it_leads_to_every_guide_and_page():
    folder = ROOT / "docs"
    pages = [path for path in [*folder.glob("*.md"), *folder.glob("guides/*.md")] if path.name != "index.md"]
    # Pages that include what the README links, and where.
    included = {"benchmarks.md": "benchmarks/RESULTS.md", "changelog.md": "CHANGELOG.md"}
    included |= {"contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md"}
    wanted = {included.get(path.name, path.relative_to(ROOT).as_posix()) for path in pages}
    assert wanted - LINKS == {"docs/gpu_notes.md"}, "which docs/gpu.md leads to"
